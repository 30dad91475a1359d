# SPDX-License-Identifier: MIT
"""Reads what name servers answer (RFC 1035 section 4.1), at a cost that nobody can drive up.

Whoever owns a zone says what is in an answer, and merely connecting makes us ask.  So an answer is
read in one pass whose steps are counted, and what exceeds the limits is an error before it is read
on.  A library would do more with each record than we need, and how much depends on its release.

The pass reads the records that were asked for, the aliases (CNAME) that lead to them, and the SOA
records that say for how long there is nothing; others are stepped over by their length.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from qpsmtpd.dns import names
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import DnsAnswer, RecordType

#: Octets of an answer.  Honest ones have hundreds; the longest are the TXT records of large
#: organizations, up to 8 kB.
MAX_OCTETS = 16_384
#: Records in all sections.  Honest answers have up to 40.
MAX_RECORDS = 128
#: Labels and pointers of all names, strings of TXT records, and 16 octets of a name count as one
#: each.  A host name has 5, or 3 when compressed; names of 127 labels and pointers to pointers use
#: this up before they cost much.
MAX_STEPS = 1_024
_OCTETS_PER_STEP = 16
#: Aliases that lead from the question to the answer.
MAX_ALIASES = 16

MAX_TTL = 3600
MAX_NEGATIVE_TTL = 900
#: How long it is remembered that a name server failed, or what came without any TTL.
FAILURE_TTL = 5

HEADER_OCTETS = 12
RECORD_TYPES: dict[RecordType, int] = {"A": 1, "NS": 2, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}

#: Flags of a server that can know that there is nothing: it gives recursion, or is responsible.
_MAY_SAY_SO = 0x0480
_TRUNCATED = 0x0200
_NXDOMAIN = 3
#: Response codes (RFC 1035 section 4.1.1) of an answer that is not a failure.
NO_ERROR = (0, _NXDOMAIN)
_RCODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED", 9: "NOTAUTH", 16: "BADVERS"}
_CNAME, _SOA, _OPT, _IN = 5, 6, 41, 1

#: A pointer to the name in the question.
_TO_QUESTION = b"\xc0\x0c"

#: The headers after the id of an answer with one record, alone or with an OPT record: a response
#: without an error that is not truncated, whatever other flags say.
OF_ONE = frozenset(
    bytes([0x80 | first, second]) + counts
    for first in (0, 1, 4, 5)
    for second in range(0, 0x100, 0x10)
    for counts in (b"\0\1\0\1\0\0\0\0", b"\0\1\0\1\0\0\0\1")
)
_OPT_BEGINS = b"\0\0\x29"

_counts = struct.Struct(">xxHxxHHH")
_record = struct.Struct(">HHIH")
#: A record under the name that was asked: its name, type and class; TTL; length of its data.
_single = struct.Struct(">6sIH")
_BEFORE_DATA = HEADER_OCTETS + _single.size
_preference = struct.Struct(">H")
_soa_numbers = struct.Struct(">IIIII")


class AnswerTooLargeError(DnsError):
    """The answer exceeds a limit; another name server has the same."""

    def __init__(self) -> None:
        super().__init__("the answer is too large")


class _MalformedError(Exception):
    """The octets are not an answer."""


class _RecordSet(NamedTuple):
    """The records of one name and type by what makes them equal, and their shortest TTL."""

    values: dict[Any, Any]
    ttls: list[int]


def read_any(wire: bytes, question: bytes, kind: RecordType) -> tuple[DnsAnswer, int]:
    """An answer to this question, and for how many seconds it holds.

    The answer begins with a header and the question, as `udpport.is_answer` has found out.
    Raises DnsError when the server failed, or the answer is malformed or exceeds a limit.
    """
    flags, *counts = _counts.unpack_from(wire)
    if len(wire) > MAX_OCTETS or sum(counts) > MAX_RECORDS:
        raise AnswerTooLargeError
    _check_rcode(flags & 0x0F)
    try:
        reading = _Reading(wire, question, RECORD_TYPES[kind])
        reading.read_sections(*counts)
        _check_rcode(reading.rcode | flags & 0x0F)
        return _conclude(reading, flags)
    except (_MalformedError, IndexError, struct.error):
        raise DnsError("malformed answer") from None


def read_single(wire: bytes, question: bytes, kind: RecordType) -> tuple[DnsAnswer, int] | None:
    """As `read_any`, for what most answers are: one record, under the name that was asked.

    None for any other, and for one that is malformed.  In a third of the time.
    """
    reader, begins = _SINGLES[kind]
    begin = _BEFORE_DATA + len(question)
    if wire[2:12] not in OF_ONE or len(wire) < begin:
        return None
    found, ttl, length = _single.unpack_from(wire, begin - _single.size)
    end = begin + length
    # The last count of the header: is there an OPT record?
    ends_well = _is_opt(wire[end:]) if wire[11] else len(wire) == end
    if found != begins or not ends_well or (value := reader(wire[begin:end])) is None:
        return None
    return DnsAnswer((value,), True), min(ttl, MAX_TTL) if ttl < 1 << 31 else 0


def _is_opt(octets: bytes) -> bool:
    """Whether this is an OPT record that says nothing about the answer."""
    options = int.from_bytes(octets[9:11], "big")
    return octets[:3] == _OPT_BEGINS and octets[5:6] == b"\0" and len(octets) == 11 + options


def _single_text(data: bytes) -> str | None:
    plain = data and data[0] == len(data) - 1
    return data[1:].decode("utf-8", "replace") if plain else None


def _no_single(_: bytes) -> None:
    return None


def _single_a(data: bytes) -> str | None:
    return socket.inet_ntoa(data) if len(data) == 4 else None


def _single_aaaa(data: bytes) -> str | None:
    return socket.inet_ntop(socket.AF_INET6, data) if len(data) == 16 else None


def rcode_of(wire: bytes) -> int:
    """The response code in the header; its higher bits are elsewhere (RFC 6891 section 6.1.3)."""
    return wire[3] & 0x0F


def is_truncated(wire: bytes) -> bool:
    """Whether the answer was cut off, so that TCP has to be used."""
    return bool(wire[2] & _TRUNCATED >> 8)


def _check_rcode(rcode: int) -> None:
    if rcode not in NO_ERROR:
        raise DnsError(_RCODES.get(rcode, f"RCODE {rcode}"))


def _conclude(reading: _Reading, flags: int) -> tuple[DnsAnswer, int]:
    """What the records that were read say about the question."""
    if flags & _TRUNCATED:
        raise _MalformedError
    absent = flags & 0x0F == _NXDOMAIN
    name, ttl, found = reading.follow_aliases()
    if found is not None:
        if absent:
            raise _MalformedError
        return DnsAnswer(tuple(sorted(found.values.values())), True), min(ttl, *found.ttls, MAX_TTL)
    if not absent and not flags & _MAY_SAY_SO:
        raise DnsError("the server gives no recursion")
    # NXDOMAIN is about the last alias, so the first name exists (RFC 6604 section 3).
    exists = not absent or name != reading.name
    return DnsAnswer((), exists), min(ttl, reading.seconds_of_absence(name), MAX_NEGATIVE_TTL)


class _Reading:
    """One pass over an answer, and what it has found.

    Names are kept in wire format and lower case: those of owners and aliases are compared.
    """

    def __init__(self, wire: bytes, question: bytes, kind: int) -> None:
        self.name = question[:-4]
        self.rcode = 0
        self._wire = wire
        self._at = HEADER_OCTETS + len(question)
        self._steps = MAX_STEPS
        self._kind = kind
        self._sets: dict[tuple[bytes, int], _RecordSet] = {}

    def read_sections(self, answers: int, authorities: int, additional: int) -> None:
        """Read all records.

        Raises AnswerTooLargeError; _MalformedError, IndexError or struct.error when malformed.
        """
        for _ in range(answers):
            self._read_record((self._kind, _CNAME))
        for _ in range(authorities):
            self._read_record((_SOA,))
        for _ in range(additional):
            self._read_record((_OPT,))
        if self._at != len(self._wire):
            raise _MalformedError

    def follow_aliases(self) -> tuple[bytes, int, _RecordSet | None]:
        """The name at the end of the aliases, the TTL of these, and the records found there."""
        name, ttl = self.name, MAX_TTL
        for _ in range(MAX_ALIASES):
            if found := self._sets.get((name, self._kind)):
                return name, ttl, found
            alias = self._sets.get((name, _CNAME))
            if alias is None:
                return name, ttl, None
            ttl = min(ttl, *alias.ttls)
            name = next(iter(alias.values))
        raise _MalformedError

    def seconds_of_absence(self, name: bytes) -> int:
        """For how long nothing is there: the SOA record of the zone says so (RFC 2308)."""
        while True:
            if soa := self._sets.get((name, _SOA)):
                seconds: int = min(*soa.ttls, *soa.values)
                return seconds
            if name == b"\0":
                return FAILURE_TTL
            name = name[1 + name[0] :]

    def _read_record(self, wanted: tuple[int, ...]) -> None:
        owner = self._read_name(len(self._wire)).lower()
        kind, class_, ttl, length = _record.unpack_from(self._wire, self._at)
        self._at += _record.size
        end = self._at + length
        if end > len(self._wire):
            raise _MalformedError
        if kind not in wanted:
            pass
        elif kind == _OPT:
            self.rcode |= ttl >> 24 << 4
        elif class_ == _IN:
            self._keep(owner, kind, ttl, end)
        self._at = end

    def _keep(self, owner: bytes, kind: int, ttl: int, end: int) -> None:
        found = self._sets.setdefault((owner, kind), _RecordSet({}, []))
        key, value = _READERS[kind](self, end)
        if kind in (_CNAME, _SOA):
            # A name has one of them; of several the last one counts.
            found.values.clear()
        found.values.setdefault(key, value)
        # RFC 2181 section 8: what looks negative is zero.
        found.ttls.append(ttl if ttl < 1 << 31 else 0)

    def _read_name(self, end: int) -> bytes:
        """The name that begins here and has no octet at `end` or after it, without pointers.

        A pointer leads back to where an earlier name went on (RFC 1035 section 4.1.4), and what is
        found there ends before the pointer, so that nothing is read twice.
        """
        wire, at, steps = self._wire, self._at, self._steps
        if wire[at : at + 2] == _TO_QUESTION:
            self._at = at + 2
            return self.name
        parts = []
        after = 0
        while length := wire[at]:
            if (steps := steps - 1) < 0:
                raise AnswerTooLargeError
            if length <= names.MAX_LABEL:
                parts.append(wire[at : at + 1 + length])
                at += 1 + length
            elif length >= 0xC0 and at + 2 <= end:
                after, end = after or at + 2, at
                at = (length & 0x3F) << 8 | wire[at + 1]
            else:
                raise _MalformedError
            if at >= end:
                raise _MalformedError
        name = b"".join(parts) + b"\0"
        if len(name) > names.MAX_OCTETS:
            raise _MalformedError
        self._steps = steps - len(name) // _OCTETS_PER_STEP
        self._at = after or at + 1
        return name

    # --- the data of a record, from here to `end`: what makes it equal to another, and its value

    def _read_last_name(self, end: int) -> bytes:
        name = self._read_name(end)
        if self._at != end:
            raise _MalformedError
        return name

    def _read_host(self, end: int) -> tuple[bytes, str]:
        name = self._read_last_name(end)
        return name.lower(), names.text_of(name)

    def _read_alias(self, end: int) -> tuple[bytes, None]:
        return self._read_last_name(end).lower(), None

    def _read_mx(self, end: int) -> tuple[tuple[int, bytes], tuple[int, str]]:
        (preference,) = _preference.unpack(self._wire[self._at : min(self._at + 2, end)])
        self._at += 2
        key, host = self._read_host(end)
        return (preference, key), (preference, host)

    def _read_txt(self, end: int) -> tuple[bytes, str]:
        wire, at = self._wire, self._at
        strings: list[bytes] = []
        while at < end:
            if len(strings) > self._steps:
                raise AnswerTooLargeError
            length = wire[at]
            strings.append(wire[at + 1 : at + 1 + length])
            at += 1 + length
        if at != end or not strings:
            raise _MalformedError
        self._steps -= len(strings)
        return wire[self._at : end], b"".join(strings).decode("utf-8", "replace")

    def _read_a(self, end: int) -> tuple[str, str]:
        if end - self._at != 4:
            raise _MalformedError
        text = socket.inet_ntoa(self._wire[self._at : end])
        return text, text

    def _read_aaaa(self, end: int) -> tuple[str, str]:
        if end - self._at != 16:
            raise _MalformedError
        text = socket.inet_ntop(socket.AF_INET6, self._wire[self._at : end])
        return text, text

    def _read_soa(self, end: int) -> tuple[int, None]:
        """The seconds that "there is nothing" holds: the last field (RFC 2308 section 4)."""
        self._read_name(end)
        self._read_name(end)
        return _soa_numbers.unpack(self._wire[self._at : end])[-1], None


_READERS: dict[int, Callable[[_Reading, int], tuple[Any, Any]]] = {
    RECORD_TYPES["A"]: _Reading._read_a,
    RECORD_TYPES["AAAA"]: _Reading._read_aaaa,
    RECORD_TYPES["MX"]: _Reading._read_mx,
    RECORD_TYPES["NS"]: _Reading._read_host,
    RECORD_TYPES["PTR"]: _Reading._read_host,
    RECORD_TYPES["TXT"]: _Reading._read_txt,
    _CNAME: _Reading._read_alias,
    _SOA: _Reading._read_soa,
}


def _begins(kind: RecordType) -> bytes:
    """How a record of this type begins that has the name of the question: until its TTL."""
    return _TO_QUESTION + struct.pack(">HH", RECORD_TYPES[kind], _IN)


#: What reads the data of a single record, and how the record begins.
_SINGLES: dict[RecordType, tuple[Callable[[bytes], str | None], bytes]] = {
    "A": (_single_a, _begins("A")),
    "AAAA": (_single_aaaa, _begins("AAAA")),
    # Who has only one of them is seldom asked.
    "MX": (_no_single, _begins("MX")),
    "NS": (names.plain_text_of, _begins("NS")),
    "PTR": (names.plain_text_of, _begins("PTR")),
    "TXT": (_single_text, _begins("TXT")),
}
