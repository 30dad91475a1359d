# SPDX-License-Identifier: MIT
"""SPF records: their text, read into mechanisms and modifiers (RFC 7208 sections 4.5 to 6 and 12).

A record is read to its end before anything in it counts: a mistake behind the mechanism that
matches is a mistake as well (section 4.6).
"""

from __future__ import annotations

import functools
import itertools
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.mailauth.spfmacro import (
    MacroString,
    SpfSyntaxError,
    parse_domain_spec,
    parse_macros,
)

MatchResult = Literal["pass", "fail", "softfail", "neutral"]
MechanismName = Literal["all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"]

#: Longer records are read each time: whoever owns a domain chooses what we remember.
MAX_REMEMBERED = 4096

_VERSION = "v=spf1"
_RESULTS: dict[str, MatchResult] = {
    "": "pass",
    "+": "pass",
    "-": "fail",
    "~": "softfail",
    "?": "neutral",
}
_modifier = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.DOTALL).fullmatch
_mechanism = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9]*)((?:[:/].*)?)", re.DOTALL).fullmatch
_NUMBER = "(?:0|[1-9][0-9]{0,2})"
_prefixes = re.compile(rf"(?:/({_NUMBER}))?(?://({_NUMBER}))?\Z").search


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses with the same first bits: those of `bits`, an address shifted by `shift`."""

    version: int
    shift: int
    bits: int


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One mechanism, with the result of a match.

    text: as it stands in the record.  target: its domain-spec, None without one.
    prefix4, prefix6: how many bits of an address count.  network: that of ip4 and ip6.
    """

    text: str
    name: MechanismName
    result: MatchResult
    target: MacroString | None = None
    prefix4: int = 32
    prefix6: int = 128
    network: Network | None = None


class Networks:
    """Mechanisms ip4 and ip6 that follow one another, which are looked up instead of tried in turn.

    Most records have dozens of them, with few prefix lengths.
    """

    __slots__ = ("_by_length", "_mechanisms")

    def __init__(self, mechanisms: Iterable[Mechanism]) -> None:
        self._mechanisms = tuple(mechanisms)
        #: For each version and shift the bits of the networks, and the place of the first of them.
        self._by_length: dict[tuple[int, int], dict[int, int]] = {}
        for place, mechanism in enumerate(self._mechanisms):
            network = mechanism.network
            assert network is not None
            length = self._by_length.setdefault((network.version, network.shift), {})
            length.setdefault(network.bits, place)

    def first_with(self, version: int, address: int) -> Mechanism | None:
        """The first of them whose network has an address, as a number."""
        first: int | None = None
        for (of, shift), places in self._by_length.items():
            place = places.get(address >> shift) if of == version else None
            if place is not None and (first is None or place < first):
                first = place
        return None if first is None else self._mechanisms[first]


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """A record that keeps the grammar.

    steps: its mechanisms in their order.
    """

    steps: tuple[Mechanism | Networks, ...]
    redirect: MacroString | None = None
    explanation: MacroString | None = None


def is_spf_record(text: str) -> bool:
    """Whether a TXT record is one of SPF, right or wrong (RFC 7208 section 4.5)."""
    return text[:6].lower() == _VERSION and text[6:7] in ("", " ")


def parse_record(text: str) -> SpfRecord:
    """Read a text for which `is_spf_record` holds.  Raises SpfSyntaxError."""
    return (_remembered if len(text) <= MAX_REMEMBERED else _parse)(text)


def _parse(text: str) -> SpfRecord:
    if not text.isascii():
        raise SpfSyntaxError("the record is not ASCII")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, MacroString] = {}
    for term in text[len(_VERSION) :].split(" "):
        if not term:
            continue
        if modifier := _modifier(term):
            _read_modifier(modifiers, modifier[1].lower(), modifier[2])
        else:
            mechanisms.append(_read_mechanism(term))
    return SpfRecord(_steps(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def _steps(mechanisms: Iterable[Mechanism]) -> tuple[Mechanism | Networks, ...]:
    steps: list[Mechanism | Networks] = []
    for are_networks, some in itertools.groupby(mechanisms, lambda each: each.network is not None):
        if are_networks:
            steps.append(Networks(some))
        else:
            steps += some
    return tuple(steps)


_remembered = functools.lru_cache(maxsize=4096)(_parse)


def _read_modifier(modifiers: dict[str, MacroString], name: str, value: str) -> None:
    if name not in ("redirect", "exp"):
        parse_macros(value)
        return
    if name in modifiers:
        raise SpfSyntaxError(f"{name}= occurs twice")
    modifiers[name] = parse_domain_spec(value)


def _read_mechanism(term: str) -> Mechanism:
    found = _mechanism(term)
    read = _READERS.get(found[2].lower()) if found else None
    if found is None or read is None:
        raise SpfSyntaxError(f"{term!r} is not a mechanism or modifier")
    return read(term, _RESULTS[found[1]], found[3])


def _read_all(term: str, result: MatchResult, rest: str) -> Mechanism:
    if rest:
        raise SpfSyntaxError(f"{term!r} takes nothing")
    return Mechanism(term, "all", result)


def _reader_of_name(
    name: Literal["include", "exists", "ptr"],
) -> Callable[[str, MatchResult, str], Mechanism]:
    """How mechanisms with a name and nothing else are read; ptr may be without one."""

    def read(term: str, result: MatchResult, rest: str) -> Mechanism:
        if not rest and name == "ptr":
            return Mechanism(term, name, result)
        return Mechanism(term, name, result, _read_target(term, rest))

    return read


def _reader_of_hosts(name: Literal["a", "mx"]) -> Callable[[str, MatchResult, str], Mechanism]:
    """How mechanisms with a name and prefix lengths are read; both may be left out."""

    def read(term: str, result: MatchResult, rest: str) -> Mechanism:
        prefixes = _prefixes(rest)
        assert prefixes is not None  # it matches nothing as well
        target = rest[: prefixes.start()]
        return Mechanism(
            term,
            name,
            result,
            _read_target(term, target) if target else None,
            _read_prefix(term, prefixes[1], 32),
            _read_prefix(term, prefixes[2], 128),
        )

    return read


def _reader_of_network(
    name: Literal["ip4", "ip6"], family: socket.AddressFamily, version: int, width: int
) -> Callable[[str, MatchResult, str], Mechanism]:
    """How mechanisms with an address and perhaps a prefix length are read."""

    def read(term: str, result: MatchResult, rest: str) -> Mechanism:
        address, slash, prefix = rest[1:].partition("/")
        if slash and not re.fullmatch(_NUMBER, prefix):
            raise SpfSyntaxError(f"{term!r} has a wrong prefix length")
        shift = width - _read_prefix(term, prefix, width)
        try:
            number = int.from_bytes(socket.inet_pton(family, address if rest[:1] == ":" else ""))
        except (OSError, ValueError):
            raise SpfSyntaxError(f"{term!r} has a wrong address") from None
        network = Network(version, shift, number >> shift)
        return Mechanism(term, name, result, network=network)

    return read


def _read_target(term: str, text: str) -> MacroString:
    if text[:1] != ":":
        raise SpfSyntaxError(f"{term!r} needs a domain")
    return parse_domain_spec(text[1:])


def _read_prefix(term: str, digits: str | None, width: int) -> int:
    """A prefix length; that of a single address without digits."""
    if not digits:
        return width
    if int(digits) > width:
        raise SpfSyntaxError(f"{term!r} has a wrong prefix length")
    return int(digits)


_READERS: dict[str, Callable[[str, MatchResult, str], Mechanism]] = {
    "all": _read_all,
    "include": _reader_of_name("include"),
    "exists": _reader_of_name("exists"),
    "ptr": _reader_of_name("ptr"),
    "a": _reader_of_hosts("a"),
    "mx": _reader_of_hosts("mx"),
    "ip4": _reader_of_network("ip4", socket.AF_INET, 4, 32),
    "ip6": _reader_of_network("ip6", socket.AF_INET6, 6, 128),
}
