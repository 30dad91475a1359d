# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/lists/cdb.py, with a writer of their own."""

import contextlib
from collections.abc import Iterable
from mmap import mmap
from pathlib import Path
from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qpsmtpd.lists.cdb import Cdb, CdbError

Records = Iterable[tuple[bytes, bytes]]

SAME_HASH = (b"bC", b"cb")


def djb_hash(key: bytes) -> int:
    value = 5381
    for octet in key:
        value = ((value << 5) + value) % 2**32 ^ octet
    return value


def written(records: Records) -> bytes:
    """A constant database with these records, in this order, tables half full."""
    body = b""
    tables: list[list[tuple[int, int]]] = [[] for _ in range(256)]
    for key, value in records:
        hashed = djb_hash(key)
        tables[hashed % 256].append((hashed, 2048 + len(body)))
        body += pack("<II", len(key), len(value)) + key + value
    header = b""
    trailer = b""
    for entries in tables:
        header += pack("<II", 2048 + len(body) + len(trailer), 2 * len(entries))
        trailer += table(entries)
    return header + body + trailer


def table(entries: list[tuple[int, int]]) -> bytes:
    slots = [(0, 0)] * (2 * len(entries))
    for hashed, position in entries:
        slot = (hashed >> 8) % len(slots)
        while slots[slot] != (0, 0):
            slot = (slot + 1) % len(slots)
        slots[slot] = (hashed, position)
    return b"".join(pack("<II", *slot) for slot in slots)


def opened(data: bytes) -> Cdb:
    memory = mmap(-1, len(data))
    memory.write(data)
    return Cdb(memory)


def patched(data: bytes, position: int, number: int) -> bytes:
    return data[:position] + pack("<I", number) + data[position + 4 :]


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "morercpthosts.cdb"
    path.write_bytes(written([(b"example.com", b""), (b".example.org", b"yes")]))
    return path


def test_looks_up_in_a_file(hosts: Path) -> None:
    with Cdb.open(hosts) as cdb:
        assert cdb[b".example.org"] == b"yes"
        assert cdb.get(b"example.com") == b""
        assert cdb.get(b"example.net") is None
        assert b"example.com" in cdb
        assert b"example.net" not in cdb
        assert list(cdb) == [b"example.com", b".example.org"]
        assert len(cdb) == 2


def test_missing_key_is_a_key_error(hosts: Path) -> None:
    with Cdb.open(hosts) as cdb, pytest.raises(KeyError):
        cdb[b"example.net"]


def test_known_bytes() -> None:
    """One record made by hand, so that reader and writer cannot share a mistake."""
    # The hash of "a" is 5381 * 33 ^ 0x61 = 0x2b5c4: table 0xc4, first slot 0x2b5 % 2 = 1.
    record = b"\x01\0\0\0\x02\0\0\0aBC"
    header = (
        b"\x0b\x08\0\0\0\0\0\0" * 0xC4 + b"\x0b\x08\0\0\x02\0\0\0" + b"\x1b\x08\0\0\0\0\0\0" * 59
    )
    slots = b"\0\0\0\0\0\0\0\0" + b"\xc4\xb5\x02\0\0\x08\0\0"
    assert dict(opened(header + record + slots)) == {b"a": b"BC"}


def test_first_of_several_records_counts() -> None:
    cdb = opened(written([(b"k", b"1"), (b"other", b""), (b"k", b"2")]))
    assert cdb[b"k"] == b"1"
    assert list(cdb.items()) == [(b"k", b"1"), (b"other", b"")]
    assert len(cdb) == 2


def test_empty_database() -> None:
    cdb = opened(written([]))
    assert len(cdb) == 0
    assert b"" not in cdb


def test_closed_database_is_not_read(hosts: Path) -> None:
    cdb = Cdb.open(hosts)
    cdb.close()
    with pytest.raises(ValueError, match="closed"):
        cdb.get(b"example.com")


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Cdb.open(tmp_path / "none.cdb")


@pytest.mark.parametrize("size", [0, 1, 2047])
def test_short_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "short.cdb"
    path.write_bytes(b"\0" * size)
    with pytest.raises(CdbError):
        Cdb.open(path)


def test_truncated_file_is_refused(hosts: Path) -> None:
    hosts.write_bytes(hosts.read_bytes()[:-1])
    with pytest.raises(CdbError):
        Cdb.open(hosts)


def test_table_among_the_header_is_refused() -> None:
    with pytest.raises(CdbError):
        opened(patched(patched(written([]), 0, 2040), 4, 1))


@pytest.mark.parametrize("offset", [0, 4], ids=["key length", "value length"])
def test_overlong_record_is_refused(offset: int) -> None:
    cdb = opened(patched(written([(b"k", b"v")]), 2048 + offset, 0xFFFFFFFF))
    with pytest.raises(CdbError):
        cdb.get(b"k")
    with pytest.raises(CdbError):
        list(cdb)


@pytest.mark.parametrize("position", [1, 2047, 2048 + 10, 0xFFFFFFFF])
def test_slot_pointing_outside_of_the_records_is_refused(position: int) -> None:
    data = written([(b"k", b"v")])
    slot = data.rindex(pack("<II", djb_hash(b"k"), 2048))
    with pytest.raises(CdbError):
        opened(patched(data, slot + 4, position)).get(b"k")


def test_slot_pointing_into_the_header_is_refused() -> None:
    data = written([(b"", b"v")])
    unused_table = 8
    empty_record = patched(data, unused_table, 0)
    slot = data.rindex(pack("<II", djb_hash(b""), 2048))
    with pytest.raises(CdbError):
        opened(patched(empty_record, slot + 4, unused_table)).get(b"")


def test_position_of_an_unused_table_does_not_matter() -> None:
    data = written([(b"k", b"v")])
    assert dict(opened(patched(data, 8, 0))) == {b"k": b"v"}
    assert dict(opened(patched(data, 8, 0xFFFFFFFF))) == {b"k": b"v"}


def test_search_ends_at_an_empty_slot() -> None:
    data = written([(b"k", b"v")])
    swapped = data[:-16] + data[-8:] + data[-16:-8]
    assert opened(swapped).get(b"k") is None


def test_key_with_the_same_hash_is_another_key() -> None:
    one, other = SAME_HASH
    assert djb_hash(one) == djb_hash(other)
    assert opened(written([(one, b"1")])).get(other) is None
    assert opened(written([(one, b"1"), (other, b"2")])).get(other) == b"2"


def test_table_without_an_empty_slot_is_searched_once() -> None:
    data = written([(b"k", b"v")])
    another_hash = pack("<II", 1, 2048)
    full = data[: -2 * len(another_hash)] + 2 * another_hash
    assert opened(full).get(b"k") is None


@given(st.dictionaries(st.binary(max_size=8), st.binary(max_size=20), max_size=40))
def test_reads_what_was_written(records: dict[bytes, bytes]) -> None:
    cdb = opened(written(records.items()))
    assert dict(cdb) == records
    assert len(cdb) == len(records)
    assert all(cdb[key] == value for key, value in records.items())


def read_everything(data: bytes) -> None:
    with contextlib.suppress(CdbError), opened(data) as cdb:
        with contextlib.suppress(CdbError):
            dict(cdb)
        cdb.get(b"k")


@given(st.binary(min_size=1, max_size=3000))
@example(b"\0" * 2048)
def test_arbitrary_bytes_never_crash(data: bytes) -> None:
    read_everything(data)


@given(
    st.lists(st.tuples(st.sampled_from([b"k", b"key", b""]), st.binary(max_size=4)), min_size=1),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 2400)), min_size=1, max_size=4),
)
def test_damaged_database_never_crashes(
    records: list[tuple[bytes, bytes]], damages: list[tuple[int, int]]
) -> None:
    data = written(records)
    for place, number in damages:
        position = (place * 8 + 4) % (len(data) - 4)
        data = patched(data, position, number)
    read_everything(data)
