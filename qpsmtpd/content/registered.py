# SPDX-License-Identifier: MIT
"""DomainRules: which part of a domain somebody has registered, and which names look like one.

By a list of public suffixes; without one by what most countries do: `example.co.uk`, `example.fr`.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpsmtpd.mailauth.publicsuffix import PublicSuffixes

_COUNTRY = 2

_SECOND_LEVEL = """
    ac ad art asn asso biz co com conf csiro ed edu ens firm gc go gob gop gouv gov govt gub gv id
    ind inf info int leg lg ltd me mil mod mus muni museum name ne net nhs nic nom nome or org oz
    plc pol police press priv pro pvt rec sch school sld store tm tur tv web
"""
_TOP_LEVEL = """
    aero app art asia bar best biz blog buzz cam cat click cloud club com coop cyou date dev digital
    edu email fit fun gov icu info ink int jobs life link live loan ltd mil mobi mobile monster
    museum name net ninja one online org page pro quest rest review sale shop site space store
    stream studio support surf tech tel today tokyo top travel vip website win work works world xyz
    zone
"""

#: Second-level names of countries below which others register theirs.
_SECOND = frozenset(_SECOND_LEVEL.split())

#: Top-level domains, beside those of countries, whose names are links even without "http".
_GENERIC = frozenset(_TOP_LEVEL.split())


class DomainRules:
    """What is known of top-level domains; `suffixes` is None without a list."""

    def __init__(self, suffixes: PublicSuffixes | None = None) -> None:
        self._suffixes = suffixes

    def registered(self, domain: str) -> str:
        """What of a domain somebody has registered; domain: canonical."""
        if self._suffixes is not None:
            return self._suffixes.organizational_domain(domain)
        labels = domain.rsplit(".", 3)
        below_second = len(labels) > 2 and len(labels[-1]) == _COUNTRY and labels[-2] in _SECOND
        return ".".join(labels[-3 if below_second else -2 :])

    def one_below(self, domain: str) -> str:
        """The name one label below what somebody has registered; "" if it is not above `domain`.

        `www` does not count: it leads to the same.
        """
        registered = self.registered(domain)
        label = domain.removesuffix(registered).removesuffix(".").rpartition(".")[2]
        return f"{label}.{registered}" if label not in ("", "www") else ""

    def is_name(self, domain: str) -> bool:
        """Whether a name with dots in it can be that of a host, and is not that of a file."""
        if self._suffixes is not None:
            return self._suffixes.knows(domain)
        top = domain.rpartition(".")[2]
        return len(top) == _COUNTRY or top in _GENERIC


def with_parents(domain: str) -> Iterator[str]:
    """A domain, and those above it."""
    labels = domain.split(".")
    return (".".join(labels[place:]) for place in range(len(labels)))
