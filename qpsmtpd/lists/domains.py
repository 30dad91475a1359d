# SPDX-License-Identifier: MIT
"""DomainList, HelloList: domains and names of HELO, in whatever spelling; see mail/domain.py.

`our_domains` are those that we accept mail for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.lines import made_of, read_each
from qpsmtpd.lists.patterns import Pattern
from qpsmtpd.mail.domain import MAX_DOMAIN, canonical_domain, domain_spellings, u_label_form
from qpsmtpd.plugin.services import Entry, Services

#: The files that `our_domains` reads, as `Plugin.files` has them.
OUR_DOMAINS = {
    "rcpthosts": "Domains to accept mail for; .example.com stands for all names below it.",
    "morercpthosts.cdb": "Domains of `rcpthosts` as a constant database.",
}

# Which labels are valid is left to the DNS: an entry with an invalid one matches nothing.
_LABEL = r"[0-9A-Za-z_\xa1-\U0010ffff-]+"
_is_domain = re.compile(rf"\.?{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Za-z:.]+\]").fullmatch
_is_pattern = re.compile(r"[{}\[\]()^$|*+?\\!]").search


class DomainList:
    """A set of domains and address literals, as in rcpthosts.

    A line with a leading dot (`.example.com`) stands for all names below that domain, but not for
    the domain itself. `also` are further domains, which are not checked; `database` has domains as
    keys, with A-labels or with U-labels. Raises ConfigError for a line that is not a domain.
    """

    __slots__ = ("_database", "_domains", "_has_suffixes")

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        also: Iterable[str] = (),
        database: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self._domains = frozenset([*read_each(entries, _domain_of), *map(canonical_domain, also)])
        self._has_suffixes = any(domain.startswith(".") for domain in self._domains)
        self._database = database or {}

    def __contains__(self, domain: str) -> bool:
        name = canonical_domain(domain)
        return name in self._domains or self._is_below(name) or self._is_in_database(name)

    def _is_below(self, name: str) -> bool:
        # A longer name does not exist, and would cost a lookup of all the rest for each dot.
        if not self._has_suffixes or len(name) > MAX_DOMAIN:
            return False
        dots = (position for position, character in enumerate(name) if character == ".")
        return any(name[position:] in self._domains for position in dots)

    def _is_in_database(self, name: str) -> bool:
        return bool(self._database) and any(
            spelling.encode("utf-8", "surrogatepass") in self._database
            for spelling in (name, u_label_form(name))
        )


async def our_domains(services: Services) -> DomainList:
    """The domains that we accept mail for from anybody.  Raises ConfigError."""
    database = await services.config.mapping("morercpthosts")
    make = partial(DomainList, also=[services.me], database=database)
    return await made_of(await services.config.entries("rcpthosts"), make)


class HelloList:
    """Names that clients give in HELO and EHLO, any text, one a line.

    With `patterns`, in a list that refuses (badhelo), a line with one of `{}[]()^$|*+?\\!` is a
    regular expression (see lists/patterns.py). One with ! in front stands for all names in which it
    is not found. Raises ConfigError for an invalid expression.
    """

    __slots__ = ("_absent", "_names", "_patterns")

    def __init__(self, entries: Iterable[Entry], *, patterns: bool = False) -> None:
        self._names: set[str] = set()
        self._patterns: list[Pattern] = []
        self._absent: list[Pattern] = []
        read_each(entries, self._add_pattern if patterns else self._add_name)

    def _add_name(self, entry: Entry) -> None:
        self._names.add(canonical_domain(entry.text))

    def _add_pattern(self, entry: Entry) -> None:
        word = entry.text
        if not _is_pattern(word):
            self._add_name(entry)
        elif word.startswith("!"):
            self._absent.append(Pattern(word[1:], entry.where))
        else:
            self._patterns.append(Pattern(word, entry.where))

    def __contains__(self, host: str) -> bool:
        if canonical_domain(host) in self._names:
            return True
        if not (self._patterns or self._absent):
            return False
        name = domain_spellings(host)
        return any(pattern.refuses(name) for pattern in self._patterns) or not all(
            pattern.admits(name) for pattern in self._absent
        )


def _domain_of(entry: Entry) -> str:
    if not _is_domain(entry.text.removesuffix(".")):
        raise ConfigError(
            entry.where,
            f"{entry.text!r} is not a domain (example.com), nor .example.com for all below it",
        )
    return canonical_domain(entry.text)
