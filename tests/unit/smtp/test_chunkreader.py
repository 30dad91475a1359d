# SPDX-License-Identifier: MIT
"""ChunkReader: what comes in chunks is judged as after DATA, wherever a chunk or a block ends."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qpsmtpd.mail.limits import DataLimits
from qpsmtpd.smtp.chunkreader import ChunkReader
from qpsmtpd.smtp.datareader import DataFault, DataReader, whole_text
from tests.unit.smtp.test_datareader import END, MemorySpool

GENEROUS = DataLimits()
Outcome = tuple[bytes | None, bytes, int, DataFault | None]

pieces = st.sampled_from(
    (b"\r\n", b"\r", b"\n", b".", b"..", b"x", b"a: b\r\n", b" c\r\n", b"\0", b"\xff", b"x" * 40)
)
messages = st.lists(pieces, max_size=12).map(b"".join)


def read(
    blocks: Iterable[bytes],
    limits: DataLimits = GENEROUS,
    *,
    tolerant: bool = False,
    binary: bool = False,
) -> Outcome:
    spool = MemorySpool()
    reader = ChunkReader(spool, limits, tolerant=tolerant, binary=binary)
    for block in blocks:
        reader.feed(block)
    reader.finish()
    return reader.header, spool.body, reader.size, reader.fault


def by_data(message: bytes, limits: DataLimits, *, tolerant: bool) -> Outcome:
    """What the reader of DATA makes of the same message, whose dots are doubled."""
    text = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    spool = MemorySpool()
    reader = DataReader(spool, limits, tolerant=tolerant)
    stuffed = (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:]
    assert reader.feed(stuffed.removesuffix(b"\r\n") + END if text else END[2:]) is not None
    return reader.header, spool.body, reader.size, reader.fault


def cut(message: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({0, len(message), *(place % (len(message) + 1) for place in places)})
    return [message[a:b] for a, b in pairwise(ends)]


@given(messages, st.lists(st.integers(0, 500), max_size=5))
@example(b"a: b\r\n\r\n.\r\n", [8])
@example(b"a: b\r\n\r\nx\r\ny", [9, 11])
def test_the_same_as_after_data(message: bytes, places: list[int]) -> None:
    wanted = by_data(message, GENEROUS, tolerant=False)
    found = read(cut(message, places))
    assert (found[3] is None) == (wanted[3] is None)
    if wanted[3] is None:
        assert found == wanted


@given(messages)
def test_octet_by_octet(message: bytes) -> None:
    whole, single = read([message]), read(message[i : i + 1] for i in range(len(message)))
    assert (whole[3] is None) == (single[3] is None)
    if whole[3] is None:
        assert single == whole


@given(st.lists(st.sampled_from((b"\n", b"\r\n", b"x", b"a: b\n", b".", b" c\n"))).map(b"".join))
def test_bare_line_feeds_become_line_ends(message: bytes) -> None:
    wanted = read([message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")])
    octets = (message[i : i + 1] for i in range(len(message)))
    assert read([message], tolerant=True) == read(octets, tolerant=True) == wanted


def test_a_bare_cr_is_never_tolerated() -> None:
    for message in (b"a: b\r\n\r\nx\ry\r\n", b"a: b\r\n\r\nx\r"):
        assert read([message], tolerant=True)[3] is DataFault.BARE_LINE_END


BINARY = b"a: b\r\n\r\n\0\n\r\xff\r\n.\r\n\r"


@given(st.lists(st.integers(0, 100), max_size=4))
def test_a_binary_body_stays_as_it_is(places: list[int]) -> None:
    header, body, size, fault = read(cut(BINARY, places), binary=True)
    assert (header, body, size, fault) == (b"a: b\r\n", BINARY[6:], len(BINARY), None)


@pytest.mark.parametrize("header", [b"a\nb: c", b"a\0: c", b"a: b\rc", b"x" * 70_000])
def test_the_header_section_of_a_binary_message_has_lines(header: bytes) -> None:
    assert read([header + b"\r\n\r\n\0"], binary=True)[3] is not None


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        (DataLimits(size=20), DataFault.TOO_BIG),
        (DataLimits(line=10), DataFault.LINE_TOO_LONG),
        (DataLimits(header=5), DataFault.HEADER_TOO_LARGE),
        (DataLimits(header_fields=1), DataFault.TOO_MANY_HEADERS),
    ],
)
def test_limits(limits: DataLimits, fault: DataFault) -> None:
    message = b"a: b\r\nc: d\r\n\r\n0123456789 abc\r\n"
    assert read([message], limits)[3] is fault
    assert read([message[:9], message[9:]], limits)[3] is fault
    assert whole_text(message, limits) is None


def test_a_binary_message_has_a_limit() -> None:
    assert read([BINARY], DataLimits(size=12), binary=True)[3] is DataFault.TOO_BIG


def test_a_chunk_that_makes_the_message_too_big_is_not_stored() -> None:
    spool = MemorySpool()
    reader = ChunkReader(spool, DataLimits(size=20))
    reader.expect(10)
    reader.feed(b"a: b\r\n\r\nx")
    reader.expect(12)
    assert reader.fault is DataFault.TOO_BIG
    assert not spool.body


def test_a_whole_message() -> None:
    header, body = b"a: b\r\n", b"\r\n.\r\n..\r\n"
    assert whole_text(header + body, GENEROUS) == (header, body)
    for odd in (b".\r\n", header + body + b"x", header + b"\r\n\n\r\n", header + b"\r\n\0\r\n"):
        assert whole_text(odd, GENEROUS) is None
