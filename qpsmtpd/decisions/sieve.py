# SPDX-License-Identifier: MIT
"""Sieve: tells from the octets of decisions that none of them can be selected.

To read a decision takes some fifty times as long as to search its octets.  So what is rare in a
large store is found by its octets first: those of many decisions at once, then those of each.  A
sieve lets through what it cannot judge, such as addresses that may be spelled otherwise, and loses
nothing that a selection has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from qpsmtpd.decisions.decision import UNIT
from qpsmtpd.decisions.privacy import hashed
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.mail.address import address_key
from qpsmtpd.mail.ip import IPNetwork

#: Whether these octets, of one decision or of several, may have what is wanted.
Sieve = Callable[[bytes], bool]

#: Octets of an address that has other spellings: an A-label, a quoted local part.
_SPELLED = (b"xn--", b'"@')
#: The ends of the cut networks of clients that share less than the octets we look for.
_WIDE_IPV4 = ".0.0/"
_WIDE_IPV6 = "::/"


class _Trace(NamedTuple):
    """What a selected decision has: one of these octets.

    folded: they are small letters, and other spellings are possible.
    """

    octets: tuple[bytes, ...]
    folded: bool = False


def sieve_for(selections: Sequence[Selection]) -> Sieve | None:
    """A sieve for what at least one of the selections has; None if it would let everything through.

    Times are not its business.
    """
    each = [_traces(selection) for selection in selections]
    if not all(each):
        return None
    any_folded = any(trace.folded for traces in each for trace in traces)

    def may_have(octets: bytes) -> bool:
        lowered = octets.lower() if any_folded else octets
        spelled = any_folded and (not octets.isascii() or any(sign in lowered for sign in _SPELLED))
        return any(
            all(
                (trace.folded and spelled)
                or any(sign in (lowered if trace.folded else octets) for sign in trace.octets)
                for trace in traces
            )
            for traces in each
        )

    return may_have


def _traces(selection: Selection) -> list[_Trace]:
    """What all decisions have that are selected."""
    found: list[_Trace | None] = []
    if selection.about:
        found.append(_Trace((_octets(selection.about),)))
    if selection.plugin:
        found.append(_Trace((_field(selection.plugin),)))
    if selection.outcome:
        found.append(_Trace((_field(selection.outcome),)))
    if selection.address:
        found.append(_of_address(selection.address, selection.secret))
    if selection.client is not None:
        found.append(_of_client(selection.client))
    if selection.text.isascii() and selection.text.isprintable() and selection.text:
        found.append(_Trace((selection.text.lower().encode(),), folded=True))
    return [trace for trace in found if trace is not None]


def _of_address(address: str, secret: bytes | None) -> _Trace | None:
    """Of an address, or of the domain of one; None if it has other spellings."""
    key = address_key(address)
    if not key.isascii() or "xn--" in key or "[" in key:
        return None
    spellings = [key, hashed(address, secret)] if secret else [key]
    return _Trace(tuple(each.encode() for each in spellings), folded=True)


def _of_client(network: IPNetwork) -> _Trace | None:
    """Of a client in a network, or of a network that has it, if that was kept in its place."""
    first = str(network.network_address)
    if network.version == 4:
        parts, wide, separator = network.prefixlen // 8, _WIDE_IPV4, "."
    else:
        parts, wide, separator = network.prefixlen // 16, _WIDE_IPV6, ":"
    # Behind the first parts zeros are left out of an IPv6 address.
    same = first.split("::")[0].split(separator)[: min(parts, 2)]
    if not same or same == [""]:
        return None
    return _Trace((_octets(f"{UNIT}{separator.join(same)}{separator}"), wide.encode()))


def _field(text: str) -> bytes:
    return _octets(f"{UNIT}{text}{UNIT}")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
