# SPDX-License-Identifier: MIT
"""answers.py: dnspython reads the same, and nobody can drive up the cost."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.dns.answers import (
    FAILURE_TTL,
    HEADER_OCTETS,
    MAX_ALIASES,
    MAX_NEGATIVE_TTL,
    MAX_OCTETS,
    MAX_RECORDS,
    MAX_TTL,
    RECORD_TYPES,
    AnswerTooLargeError,
    read_any,
    read_single,
)
from qpsmtpd.dns.names import encode_name
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import DnsAnswer, RecordType
from tests.dns_wire import Record, an_answer, label, pointer
from tests.unit.dns.oracle import (
    KINDS,
    NAME,
    UNKNOWN,
    by_dnspython,
    question,
)
from tests.work import counted_lines


def read(wire: bytes, kind: RecordType = "A") -> tuple[DnsAnswer, int]:
    """As a look-up reads it."""
    return read_single(wire, question(kind), kind) or read_any(wire, question(kind), kind)


# --- dnspython reads the same -----------------------------------------------------------------


def outcome(reader: Any, wire: bytes, kind: RecordType) -> Any:
    try:
        return reader(wire, kind)
    except DnsError:
        return "error"


def same(wire: bytes, kind: RecordType) -> None:
    assert outcome(read, wire, kind) == outcome(by_dnspython, wire, kind)


@pytest.mark.parametrize(
    ("owner", "target"),
    [
        (pointer(12), pointer(40)),  # to itself
        (pointer(12), pointer(60)),  # forward
        (pointer(28), b"\1x\0"),  # an owner that points to itself
        (pointer(12), b"\1x" + pointer(40)),  # round and round
        (pointer(12), b"\x40x\0"),  # a label type that does not exist
        (pointer(12), b"\x80x\0"),
        (pointer(12), b"\1x"),  # no end
        (pointer(12), b"\1x\0\0"),  # more than a name
        (pointer(12), b"\xc0"),  # half a pointer
        (pointer(12), b"\x3fx"),
        (pointer(12), label(b"x" * 63) * 4 + b"\0"),  # 257 octets
    ],
)
def test_a_wrong_name_is_malformed(owner: bytes, target: bytes) -> None:
    wire = an_answer(question("PTR"), [Record(owner, 12, 60, target)])
    same(wire, "PTR")
    with pytest.raises(DnsError, match="malformed"):
        read(wire, "PTR")


def test_a_name_that_runs_into_its_own_pointer_is_malformed() -> None:
    # The owner of the second record points to a label of two octets: the pointer itself.
    first = Record(b"\0", UNKNOWN, 60, b"\2")
    at = HEADER_OCTETS + len(question("PTR")) + len(first.wire())
    wire = an_answer(question("PTR"), [first, Record(pointer(at - 1), 12, 60, b"\0")])
    with pytest.raises(DnsError, match="malformed"):
        read(wire, "PTR")


def test_a_pointer_that_begins_in_the_data_ends_there() -> None:
    first = Record(HERE, 12, 60, HERE[:1])
    second = Record(label(HERE[1:] * 12) + b"\0", UNKNOWN, 60, b"")
    wire = an_answer(question("PTR"), [first, second])
    assert (first.wire() + second.wire()).count(HERE) == 2
    same(wire, "PTR")
    with pytest.raises(DnsError, match="malformed"):
        read(wire, "PTR")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("A", b"\1\2\3"),
        ("A", b"\1\2\3\4\5"),
        ("AAAA", bytes(15)),
        ("MX", b"\0"),
        ("MX", b"\0\1"),
        ("TXT", b""),
        ("TXT", b"\5abc"),
    ],
)
def test_wrong_data_is_malformed(kind: RecordType, data: bytes) -> None:
    wire = an_answer(question(kind), [Record(pointer(12), RECORD_TYPES[kind], 60, data)])
    same(wire, kind)
    with pytest.raises(DnsError, match="malformed"):
        read(wire, kind)


def test_each_octet_less_is_an_error() -> None:
    wire = an_answer(question("MX"), [Record(pointer(12), 15, 60, b"\0\1" + pointer(12))])
    assert read(wire, "MX") == (DnsAnswer(((1, NAME),), True), 60)
    for end in range(HEADER_OCTETS + len(question("MX")), len(wire)):
        with pytest.raises(DnsError, match="malformed"):
            read(wire[:end], "MX")
    with pytest.raises(DnsError, match="malformed"):
        read(wire + b"\0", "MX")


# --- what an answer means ---------------------------------------------------------------------

HERE = pointer(12)
SOA = b"\0\0" + struct.pack(">5I", 1, 2, 3, 4, 60)


def a_record(ttl: int = 300, owner: bytes = HERE) -> Record:
    return Record(owner, 1, ttl, b"\xc0\x00\x02\x01")


def an_alias(target: str, owner: bytes = HERE, ttl: int = 300) -> Record:
    return Record(owner, 5, ttl, encode_name(target) or b"")


def nothing(*authorities: Record, flags: int = 0x8180) -> tuple[DnsAnswer, int]:
    return read(an_answer(question("A"), authorities=authorities, flags=flags))


def test_the_ttl_is_the_shortest_of_records_and_aliases_and_limited() -> None:
    def ttl(*records: Record) -> int:
        return read(an_answer(question("A"), records))[1]

    assert ttl(a_record(99999)) == MAX_TTL
    assert ttl(a_record(20), Record(HERE, 1, 10, b"\1\2\3\4")) == 10
    assert ttl(an_alias("c.test", ttl=5), a_record(owner=encode_name("c.test") or b"")) == 5
    assert ttl(a_record(2**31)) == 0


def test_equal_records_count_once() -> None:
    targets = [b"\1x\4test\0", b"\1X\4TEST\0", b"\1x\4test\0"]
    wire = an_answer(question("PTR"), [Record(HERE, 12, 60, target) for target in targets])
    assert read(wire, "PTR")[0].records == ("x.test",)


def test_how_long_there_is_nothing() -> None:
    zone = encode_name("test") or b""
    assert nothing(Record(zone, 6, 300, SOA)) == (DnsAnswer((), True), 60)
    assert nothing(Record(b"\0", 6, 30, SOA))[1] == 30
    long = b"\0\0" + struct.pack(">5I", 1, 2, 3, 4, 99999)
    assert nothing(Record(zone, 6, 99999, long))[1] == MAX_NEGATIVE_TTL


def test_without_the_soa_record_of_the_zone_it_is_remembered_shortly() -> None:
    assert nothing() == (DnsAnswer((), True), FAILURE_TTL)
    assert nothing(Record(encode_name("other") or b"", 6, 300, SOA))[1] == FAILURE_TTL


def test_a_name_exists_unless_the_server_says_that_it_does_not() -> None:
    assert nothing(flags=0x8180)[0] == DnsAnswer((), True)
    assert nothing(flags=0x8183)[0] == DnsAnswer((), False)


def test_an_alias_of_what_does_not_exist_exists() -> None:
    wire = an_answer(question("A"), [an_alias("c.test")], flags=0x8183)
    assert read(wire)[0] == DnsAnswer((), True)


def test_aliases_in_any_order_are_followed() -> None:
    owners = [HERE, *(encode_name(f"c{n}.test") or b"" for n in range(MAX_ALIASES))]
    chain = [an_alias(f"c{n}.test", owners[n]) for n in range(MAX_ALIASES)]
    for ends in (MAX_ALIASES - 1, MAX_ALIASES):
        wire = an_answer(question("A"), [a_record(owner=owners[ends]), *reversed(chain[:ends])])
        same(wire, "A")
        if ends < MAX_ALIASES:
            assert read(wire)[0].records == ("192.0.2.1",)
        else:
            with pytest.raises(DnsError, match="malformed"):
                read(wire)


def test_an_alias_of_itself_is_malformed() -> None:
    with pytest.raises(DnsError, match="malformed"):
        read(an_answer(question("A"), [an_alias(NAME)]))


def test_of_several_aliases_of_a_name_the_last_one_counts() -> None:
    there = [a_record(owner=encode_name(f"{name}.test") or b"") for name in "bc"]
    there[1] = there[1]._replace(data=b"\1\2\3\4")
    wire = an_answer(question("A"), [an_alias("b.test"), an_alias("c.test"), *there])
    same(wire, "A")
    assert read(wire)[0].records == ("1.2.3.4",)


def test_records_about_other_names_do_not_count() -> None:
    wire = an_answer(question("A"), [a_record(owner=encode_name("other.test") or b"")])
    assert read(wire)[0].records == ()


def test_a_referral_is_a_failure() -> None:
    with pytest.raises(DnsError, match="recursion"):
        nothing(flags=0x8100)


def test_nxdomain_with_an_answer_is_malformed() -> None:
    with pytest.raises(DnsError, match="malformed"):
        read(an_answer(question("A"), [a_record()], flags=0x8183))


def test_a_truncated_answer_is_never_believed() -> None:
    with pytest.raises(DnsError, match="malformed"):
        read(an_answer(question("A"), [a_record()], flags=0x8380))


@pytest.mark.parametrize(
    ("rcode", "text"), [(1, "FORMERR"), (2, "SERVFAIL"), (5, "REFUSED"), (11, "11")]
)
def test_a_failure_of_the_server(rcode: int, text: str) -> None:
    with pytest.raises(DnsError, match=text):
        nothing(flags=0x8180 | rcode)
    with pytest.raises(DnsError, match=text):
        read(b"\0\1" + struct.pack(">5H", 0x8180 | rcode, 0, 0, 0, 0))


def test_the_code_may_continue_in_the_opt_record() -> None:
    opt = Record(b"\0", 41, 1 << 24, b"", 1232)
    with pytest.raises(DnsError, match="BADVERS"):
        read(an_answer(question("A"), [a_record()], additional=[opt]))


def test_text_that_is_not_utf_8() -> None:
    wire = an_answer(question("TXT"), [Record(HERE, 16, 60, b"\3a\xffb\2\r\n")])
    assert read(wire, "TXT")[0].records == ("a\ufffdb\r\n",)


# --- what an answer costs ---------------------------------------------------------------------

#: About a millisecond.
MOST_LINES = 12_000
SUFFIX = label(b"x") * 99 + b"\0"
ODD = label(b"\1" * 63) * 3 + label(b"\2" * 58) + b"\0"


def by_pointer(kind: RecordType, first: bytes, count: int) -> bytes:
    """Records whose names, all different, continue in that of the first."""
    start = HEADER_OCTETS + len(question(kind)) + len(Record(HERE, 12, 60, b"").wire())
    before = b"\0\1" * (kind == "MX")
    data = [before + b"\2" + struct.pack(">H", n) for n in range(count)]
    rest = pointer(start + len(before) + 3)
    code = RECORD_TYPES[kind]
    records = [Record(HERE, code, 60, d + (rest if n else first)) for n, d in enumerate(data)]
    return an_answer(question(kind), records)


def pointers_to_pointers(count: int) -> bytes:
    """A name that is a chain of pointers."""
    start = HEADER_OCTETS + len(question("PTR")) + len(Record(HERE, 99, 60, b"").wire())
    chain = b"".join(pointer(start + 2 * n - 2 if n else 12) for n in range(count))
    end = pointer(start + 2 * count - 2)
    return an_answer(question("PTR"), [Record(HERE, 99, 60, chain), Record(end, 12, 60, HERE)])


def aliases(count: int) -> bytes:
    owners = [HERE, *(encode_name(f"c{n}.test") or b"" for n in range(count))]
    return an_answer(question("A"), [an_alias(f"c{n}.test", owners[n]) for n in range(count)])


def some(kind: RecordType, *data: bytes, times: int = 1) -> tuple[RecordType, bytes]:
    """An answer that has these records, and all of them so many times."""
    records = [Record(HERE, RECORD_TYPES[kind], 60, item) for item in data * times]
    return kind, an_answer(question(kind), records)


def others(*records: Record) -> tuple[RecordType, bytes]:
    """An answer that has other records in all sections."""
    third = len(records) // 3
    sections = records[:third], records[third : 2 * third], records[2 * third :]
    return "A", an_answer(question("A"), *sections)


HOSTILE: dict[str, tuple[RecordType, bytes]] = {
    "1000 names of 100 labels": ("PTR", by_pointer("PTR", SUFFIX, 1000)),
    "names of 100 labels": ("PTR", by_pointer("PTR", SUFFIX, MAX_RECORDS)),
    "few names of 100 labels": ("PTR", by_pointer("PTR", SUFFIX, 10)),
    "names to be escaped": ("PTR", by_pointer("PTR", ODD, MAX_RECORDS)),
    "few names to be escaped": ("PTR", by_pointer("PTR", ODD, 50)),
    "hosts to be escaped": ("MX", by_pointer("MX", ODD, 50)),
    "64 kB": some("PTR", label(b"x") + SUFFIX, times=300),
    "16 kB": some("TXT", label(b"x" * 255) * 63),
    "empty strings": some("TXT", bytes(16_000)),
    "strings": some("TXT", label(b"x" * 15) * 1000),
    "strings of many records": some("TXT", *(label(b"%d" % n) * 40 for n in range(100))),
    "not UTF-8": some("TXT", label(b"\xff" * 255) * 63),
    "pointers": ("PTR", pointers_to_pointers(8000)),
    "few pointers": ("PTR", pointers_to_pointers(900)),
    "aliases": ("A", aliases(MAX_RECORDS)),
    "addresses": some("AAAA", *(bytes([n]) * 16 for n in range(MAX_RECORDS))),
    "long owners": others(*[Record(label(b"x") + SUFFIX, 1, 60, bytes(4))] * 60),
    "long zones": others(*[Record(ODD, 6, 60, ODD + ODD + bytes(20))] * 20),
    "records of other types": others(*[Record(HERE, 46, 60, bytes(100))] * MAX_RECORDS),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_answer_costs_much(name: str) -> None:
    kind, wire = HOSTILE[name]
    with counted_lines() as count:
        outcome(read, wire, kind)
    assert count() <= MOST_LINES


def test_honest_answers_are_never_too_large() -> None:
    names = [Record(HERE, 12, 60, label(b"mail-%d" % n) + b"\7example\3com\0") for n in range(100)]
    assert len(read(an_answer(question("PTR"), names), "PTR")[0].records) == 100
    texts = [Record(HERE, 16, 60, label(b"%70d" % n)) for n in range(MAX_RECORDS)]
    assert len(read(an_answer(question("TXT"), texts), "TXT")[0].records) == MAX_RECORDS


def test_too_many_strings() -> None:
    for times, too_many in ((10, False), (11, True)):
        kind, wire = some("TXT", *(label(b"%d" % n) * times for n in range(100)))
        assert (outcome(read, wire, kind) == "error") is too_many


def test_too_many_octets_or_records() -> None:
    fits = Record(
        HERE, UNKNOWN, 0, bytes(MAX_OCTETS - len(an_answer(question("A"), [a_record()])) - 12)
    )
    wire = an_answer(question("A"), [a_record(), fits])
    assert len(wire) == MAX_OCTETS
    assert read(wire)[0].records == ("192.0.2.1",)
    for large in (wire + b"\0", an_answer(question("A"), [a_record()] * (MAX_RECORDS + 1))):
        with pytest.raises(AnswerTooLargeError, match="too large"):
            read(large)
    read(an_answer(question("A"), [a_record()] * MAX_RECORDS))


# --- the short way for a single record --------------------------------------------------------

HOST = label(b"mail") + label(b"Client-1") + label(b"example") + b"\0"
SINGLE: dict[RecordType, tuple[bytes, str]] = {
    "A": (bytes((192, 0, 2, 1)), "192.0.2.1"),
    "AAAA": (bytes(15) + b"\1", "::1"),
    "NS": (HOST, "mail.Client-1.example"),
    "PTR": (HOST, "mail.Client-1.example"),
    "TXT": (label("dürr".encode()), "dürr"),
}
#: EDNS, with an option (a cookie).
OPT = Record(b"\0", 41, 0, b"\0\x0a\0\x08" + bytes(8), 1232)


@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize("more", [(), (OPT,), (Record(b"\0", 41, 0, b"", 1232),)])
def test_what_is_usual_goes_the_short_way(kind: RecordType, more: tuple[Record, ...]) -> None:
    data, value = SINGLE[kind]
    record = Record(pointer(HEADER_OCTETS), RECORD_TYPES[kind], 60, data)
    wire = an_answer(question(kind), [record], additional=more)
    assert read_single(wire, question(kind), kind) == (DnsAnswer((value,), True), 60)


_octets = st.integers(0, 255)


@given(
    st.sampled_from(KINDS),
    st.one_of(st.sampled_from([data for data, _ in SINGLE.values()]), st.binary(max_size=20)),
    st.sampled_from([0, 60, MAX_TTL + 1, 1 << 31, (1 << 32) - 1]),
    st.sampled_from([(), (OPT,), (OPT, OPT), (Record(b"\0", 41, 1 << 24, b""),)]),
    st.lists(st.tuples(st.integers(2, 120), _octets), max_size=2),
    st.binary(max_size=2),
)
def test_the_short_way_leads_to_the_same(
    kind: RecordType,
    data: bytes,
    ttl: int,
    more: tuple[Record, ...],
    changes: list[tuple[int, int]],
    behind: bytes,
) -> None:
    asked = question(kind)
    record = Record(pointer(HEADER_OCTETS), RECORD_TYPES[kind], ttl, data)
    wire = bytearray(an_answer(asked, [record], additional=more) + behind)
    for at, octet in changes:
        # The question was compared before.
        if not HEADER_OCTETS <= at < HEADER_OCTETS + len(asked) and at < len(wire):
            wire[at] = octet
    single = read_single(bytes(wire), asked, kind)
    assert single is None or single == read_any(bytes(wire), asked, kind)


@given(st.binary(max_size=100), st.sampled_from(KINDS), st.integers(0, 2**16 - 1))
def test_garbage_is_an_error_or_an_answer(tail: bytes, kind: RecordType, flags: int) -> None:
    for counts in (b"\0\1\0\0\0\0", b"\0\2\0\1\0\1"):
        wire = b"\0\1" + struct.pack(">HH", flags, 1) + counts + question(kind) + tail
        try:
            answer, ttl = read(wire, kind)
        except DnsError:
            continue
        assert 0 <= ttl <= MAX_TTL
        assert isinstance(answer.records, tuple)
