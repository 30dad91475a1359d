# SPDX-License-Identifier: MIT
"""Answers of every kind, and what dnspython reads from them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.wire
from hypothesis import strategies as st

from qpsmtpd.dns.answers import (
    FAILURE_TTL,
    HEADER_OCTETS,
    MAX_NEGATIVE_TTL,
    MAX_TTL,
    RECORD_TYPES,
)
from qpsmtpd.dns.names import encode_name
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import DnsAnswer, RecordType
from tests.dns_wire import Record, an_answer, label, pointer

NAME = "a.b.test"
KINDS: list[RecordType] = [*RECORD_TYPES]


def question(kind: RecordType, name: str = NAME) -> bytes:
    """A question in wire format."""
    return (encode_name(name) or b"") + struct.pack(">HH", RECORD_TYPES[kind], 1)


UNKNOWN = 65280  # for private use (RFC 6895); dnspython takes any data


def by_dnspython(wire: bytes, kind: RecordType) -> tuple[DnsAnswer, int]:
    """What dnspython says, without the records that are not to be read."""
    tamed, extended_rcode = _tamed(wire, RECORD_TYPES[kind])
    try:
        message = dns.message.from_wire(tamed)
        assert isinstance(message, dns.message.QueryMessage)
        chain = message.resolve_chaining()
    except dns.exception.DNSException as error:
        raise DnsError(str(error)) from None
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or extended_rcode:
        raise DnsError("rcode")
    if chain.answer is not None:
        records = tuple(sorted(_value(kind, rdata) for rdata in chain.answer))
        return DnsAnswer(records, True), min(chain.minimum_ttl, MAX_TTL)
    if rcode == dns.rcode.NOERROR and not message.flags & (dns.flags.RA | dns.flags.AA):
        raise DnsError("referral")
    exists = rcode == dns.rcode.NOERROR or bool(chain.cnames)
    aliases = min([rrset.ttl for rrset in chain.cnames], default=MAX_TTL)
    known = any(
        rrset.rdtype == dns.rdatatype.SOA and chain.canonical_name.is_subdomain(rrset.name)
        for rrset in message.authority
    )
    ttl = chain.minimum_ttl if known else min(aliases, FAILURE_TTL)
    return DnsAnswer((), exists), min(ttl, MAX_NEGATIVE_TTL)


def _value(kind: RecordType, rdata: Any) -> Any:
    match kind:
        case "A" | "AAAA":
            return rdata.address
        case "MX":
            return rdata.preference, _host(rdata.exchange)
        case "TXT":
            if not rdata.strings:  # dnspython 2.3 takes that
                raise DnsError("no string")
            return b"".join(rdata.strings).decode("utf-8", "replace")
    return _host(rdata.target)


def _host(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True)


def _tamed(wire: bytes, kind: int) -> tuple[bytes, int]:
    """The answer, its records of other types made unknown ones; and the rcode's higher bits."""
    octets, rcode = bytearray(wire), 0
    counts = struct.unpack(">HHH", wire[6:12])
    wanted: list[set[int]] = [{kind, dns.rdatatype.CNAME}, {dns.rdatatype.SOA}, set()]
    for section, at, (type_, class_, ttl, _) in _headers(wire, counts):
        if section == 2 and type_ == dns.rdatatype.OPT:
            rcode |= ttl >> 24
        if type_ not in wanted[section] or class_ != 1:
            octets[at : at + 2] = struct.pack(">H", UNKNOWN)
    return bytes(octets), rcode


def _headers(wire: bytes, counts: tuple[int, ...]) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Section, place and header of each record, up to the first that is malformed."""
    parser = dns.wire.Parser(wire, HEADER_OCTETS + len(question("A")))
    for section, count in enumerate(counts):
        for _ in range(count):
            try:
                owner_end = _end_of_name(wire, parser.current)
                dns.name.from_wire_parser(parser)
                if parser.current != owner_end:
                    # What it points to runs into the pointer; dnspython goes on after that.
                    raise DnsError("overlap")
                at = parser.current
                header = parser.get_struct(">HHIH")
                parser.get_bytes(header[3])
            except dns.exception.DNSException:
                return
            yield section, at, header


def _end_of_name(wire: bytes, at: int) -> int:
    while at < len(wire) and 0 < wire[at] < 0xC0:
        at += 1 + wire[at]
    return at + 1 + (at < len(wire) and wire[at] > 0)


# --- answers ---------------------------------------------------------------------------------

ODD_LABEL = rb"\"().;\@$ " + bytes([0, 9, 10, 13, 0x1F, 0x7F, 0x80, 0xC0, 0xFF])
LABELS = st.sampled_from([b"a", b"A", b"b", b"test", b"x-y", b"_z", b"l" * 63]) | st.binary(
    min_size=1, max_size=5
)
NAMES = st.one_of(
    st.sampled_from(["", "test", "b.test", NAME, "A.B.test", "c.test", "d.test"]).map(encode_name),
    st.lists(LABELS | st.just(ODD_LABEL), min_size=1, max_size=4).map(
        lambda labels: b"".join(map(label, labels)) + b"\0"
    ),
    st.sampled_from([pointer(12), pointer(14), pointer(16), label(b"m") + pointer(14)]),
).map(lambda name: name or b"\0")
TTLS = st.sampled_from([0, 1, 60, 300, 901, 3601, 2**31 - 1, 2**31, 2**32 - 1])
NUMBERS = st.tuples(*[TTLS] * 5)
STRINGS = st.binary(max_size=255).map(lambda text: bytes([len(text)]) + text)
TARGETS = st.sampled_from([b"\1c\4test\0", b"\1d\4test\0", pointer(14)]) | NAMES
ADDRESSES_6 = st.one_of(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=6, max_size=6).map(bytes(10).__add__),
)
DATA: dict[int, st.SearchStrategy[bytes]] = {
    1: st.binary(min_size=4, max_size=4),
    2: NAMES,
    5: TARGETS,
    6: st.builds(lambda a, b, n: a + b + struct.pack(">5I", *n), NAMES, NAMES, NUMBERS),
    12: NAMES,
    15: st.builds(lambda p, n: struct.pack(">H", p) + n, st.integers(0, 3), NAMES),
    16: st.lists(STRINGS | st.sampled_from([b"\0", b"\1x"]), min_size=1, max_size=4).map(b"".join),
    28: ADDRESSES_6,
    39: NAMES,  # DNAME
    46: st.binary(max_size=40),  # RRSIG, mostly malformed
}  # fmt: skip
#: Most records are about the question, or about where an alias leads.
OWNERS = st.one_of(
    *[st.sampled_from([pointer(12), encode_name(NAME), encode_name("c.test"), encode_name("test")])]
    * 3,
    NAMES,
)
OPT_FLAGS = st.sampled_from([0, 1 << 15, 1 << 24])
OPT = st.builds(
    Record, st.just(b"\0"), st.just(41), OPT_FLAGS, st.binary(max_size=12), st.just(1232)
)


def records(*types: int) -> st.SearchStrategy[list[Record]]:
    """Some records of these types."""
    one = st.sampled_from(types).flatmap(
        lambda type_: st.builds(
            Record, OWNERS, st.just(type_), TTLS, DATA[type_], st.sampled_from([1, 1, 1, 1, 3, 254])
        )
    )
    return st.lists(one, max_size=5)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, RecordType]:
    """An answer in wire format, and the type that was asked for."""
    kind = draw(st.sampled_from(KINDS))
    code = RECORD_TYPES[kind]
    flags = draw(st.sampled_from([0x8180, 0x8400, 0x8580, 0x8100])) | draw(
        st.sampled_from([0] * 9 + [3] * 4 + [2, 5, 15])
    )
    sections = [
        draw(records(code, code, 5) | records(*DATA)),
        draw(records(6, 6, 2)),
        draw(records(1, 28) | st.lists(OPT, max_size=2)),
    ]
    return an_answer(question(kind), *sections, flags=flags), kind


@st.composite
def mutated_answers(draw: st.DrawFn) -> tuple[bytes, RecordType]:
    """An answer of which some octets after the question were changed, added or lost."""
    wire, kind = draw(answers())
    start = HEADER_OCTETS + len(question(kind))
    octets = bytearray(wire)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(start, len(octets)))
        replaced = draw(st.integers(0, 2))
        pointers = st.integers(0, 255).map(pointer)
        octets[at : at + replaced] = draw(st.binary(max_size=2) | pointers)
    if draw(st.booleans()):
        del octets[draw(st.integers(start, len(octets))) :]
    return bytes(octets), kind
