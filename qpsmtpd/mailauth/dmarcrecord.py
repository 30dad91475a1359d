# SPDX-License-Identifier: MIT
"""DMARC records: what a domain owner wants done with mail that is not his (RFC 9989 section 4.7).

What is wrong in a record is ignored as far as that is possible; only the version has to be right.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

Policy = Literal["none", "quarantine", "reject"]
Alignment = Literal["r", "s"]
#: Whether a domain is a public suffix: yes, no, or unknown.
Psd = Literal["y", "n", "u"]

#: From the weakest to the strongest.
POLICIES: tuple[Policy, ...] = ("none", "quarantine", "reject")

#: A longer record is read again each time: a cache counts entries, not octets.
MAX_REMEMBERED = 4096
#: More tags than are defined, and more URIs than anybody has, by far.
MAX_TAGS = 64
MAX_URIS = 64

C = TypeVar("C", bound=str)

_BLANKS = " \t"
_is_version = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)").match
_is_value = re.compile(r"[ -:<-~]+").fullmatch
_is_uri = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+").fullmatch


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """What a record says.

    policy, subdomains, nonexistent: the tags p, sp and np, with what stands in for missing ones.
    dkim_alignment, spf_alignment: adkim and aspf.  testing: t=y.
    applies: False if the record is so wrong that its domain has no policy at all.
    tags: all tags as they are written, for reports; the first of each name.
    """

    policy: Policy = "none"
    subdomains: Policy = "none"
    nonexistent: Policy = "none"
    dkim_alignment: Alignment = "r"
    spf_alignment: Alignment = "r"
    psd: Psd = "u"
    testing: bool = False
    applies: bool = True
    tags: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The value of a tag as it is written, "" without it."""
        return next((value for tag, value in self.tags if tag == name), "")

    @property
    def report_uris(self) -> tuple[str, ...]:
        """Where aggregate reports are wanted (rua): strangers' text, one URI each."""
        return _uris(self.get("rua"))


def choose_record(texts: Sequence[str]) -> DmarcRecord | None:
    """The record among the TXT records of a name; None if there is none, or more than one."""
    records = [text for text in texts if is_dmarc_record(text)]
    return parse_record(records[0]) if len(records) == 1 else None


def is_dmarc_record(text: str) -> bool:
    """Whether it is a DMARC record: its version is in the first place, in this spelling."""
    return _is_version(text) is not None


def parse_record(text: str) -> DmarcRecord:
    """Read a record, of which `is_dmarc_record` is true.  Raises nothing."""
    return (_remembered if len(text) <= MAX_REMEMBERED else _parse)(text)


def _parse(text: str) -> DmarcRecord:
    tags = _tags(text)
    asked = [tags[name] for name in ("p", "sp", "np") if name in tags]
    valid = "p" in tags and all(value.lower() in POLICIES for value in asked)
    policy, subdomains, nonexistent = _policies(tags) if valid else ("none",) * 3
    return DmarcRecord(
        cast(Policy, policy),
        cast(Policy, subdomains),
        cast(Policy, nonexistent),
        dkim_alignment=_choice(tags, "adkim", ("r", "s")),
        spf_alignment=_choice(tags, "aspf", ("r", "s")),
        psd=_choice(tags, "psd", ("u", "y", "n")),
        testing=_choice(tags, "t", ("n", "y")) == "y",
        # Who wants reports at least is taken to have said p=none (section 4.10.1).
        applies=valid or bool(_uris(tags.get("rua", ""))),
        tags=tuple(tags.items()),
    )


_remembered = functools.lru_cache(maxsize=4096)(_parse)


def _tags(text: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    for part in text.split(";", MAX_TAGS)[:MAX_TAGS]:
        name, equals, value = part.partition("=")
        value = value.strip(_BLANKS)
        if equals and _is_value(value):
            tags.setdefault(name.strip(_BLANKS), value)
    return tags


def _policies(tags: Mapping[str, str]) -> tuple[str, str, str]:
    """p, sp and np; what is missing is as the one before it."""
    policy = tags["p"].lower()
    subdomains = tags.get("sp", policy).lower()
    return policy, subdomains, tags.get("np", subdomains).lower()


def _choice(tags: Mapping[str, str], name: str, choices: Sequence[C]) -> C:
    """The value of a tag; the first choice if it is missing or wrong."""
    value = tags.get(name, "").lower()
    return next((choice for choice in choices if choice == value), choices[0])


def _uris(text: str) -> tuple[str, ...]:
    """The URIs of a list, without the limit of size that RFC 7489 let follow them."""
    parts = text.split(",", MAX_URIS)[:MAX_URIS]
    uris = (uri.strip(_BLANKS).partition("!")[0] for uri in parts)
    return tuple(uri for uri in uris if _is_uri(uri))
