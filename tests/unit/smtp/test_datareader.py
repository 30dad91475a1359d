# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/smtp/datareader.py, most of them against an obviously correct reader."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qpsmtpd.mail.limits import DataLimits
from qpsmtpd.mail.message import Spool, only_crlf
from qpsmtpd.mail.spoolmemory import ALLOWANCE, SpoolMemory
from qpsmtpd.smtp.datareader import DataFault, DataReader, whole_message
from qpsmtpd.smtp.replies import DATA_FAULTS
from tests.ends_of_data import LOOKALIKES

END = b"\r\n.\r\n"
NEXT = b"QUIT\r\n"
GENEROUS = DataLimits()


class MemorySpool(Spool):
    """Keeps the body where tests can see it."""

    def __init__(self) -> None:
        super().__init__(Path(), 0)
        self.body = b""

    def write(self, block: bytes) -> None:
        self.body += block

    def discard(self) -> None:
        self.body = b""


@dataclass(frozen=True)
class Outcome:
    """What a reader made of a stream."""

    header: bytes | None
    body: bytes
    size: int
    rest: bytes
    fault: DataFault | None = None


def read(blocks: Iterable[bytes], limits: DataLimits = GENEROUS) -> Outcome:
    """Feed a DataReader; what is left when it has found the end is part of the rest."""
    spool = MemorySpool()
    reader = DataReader(spool, limits)
    waiting = iter(blocks)
    for block in waiting:
        if (rest := reader.feed(block)) is not None:
            rest += b"".join(waiting)
            return Outcome(reader.header, spool.body, reader.size, rest, reader.fault)
    raise AssertionError("no end of data found")


# --- the reference ---------------------------------------------------------------------------


def expected(stream: bytes, limits: DataLimits = GENEROUS) -> tuple[Outcome, set[DataFault]]:
    """The right outcome, and all faults of the message: slow, and as RFC 5321 says it."""
    text, rest = split_at_end(stream)
    message = unstuffed(text)
    header, body = split_header(message)
    faults = bad_octets(text) | over_limits(message, header, limits)
    return Outcome(header, body, len(message), rest), faults


def split_at_end(stream: bytes) -> tuple[bytes, bytes]:
    after_data = b"\r\n" + stream
    for i in range(len(after_data)):
        if after_data[i : i + 5] == END:
            return after_data[2 : i + 2], after_data[i + 5 :]
    raise AssertionError("the stream has no end of data")


def unstuffed(text: bytes) -> bytes:
    message = b""
    for i in range(len(text)):
        line_begins = i == 0 or text[i - 2 : i] == b"\r\n"
        if not (line_begins and text[i : i + 1] == b"."):
            message += text[i : i + 1]
    return message


def split_header(message: bytes) -> tuple[bytes, bytes]:
    for i in range(len(message)):
        line_begins = i == 0 or message[i - 2 : i] == b"\r\n"
        if line_begins and message[i : i + 2] == b"\r\n":
            return message[:i], message[i:]
    return message, b""


def bad_octets(text: bytes) -> set[DataFault]:
    faults = {DataFault.NUL} if 0 in text else set()
    for i, octet in enumerate(text):
        bare_cr = octet == 13 and text[i + 1 : i + 2] != b"\n"
        bare_lf = octet == 10 and text[max(0, i - 1) : i] != b"\r"
        if bare_cr or bare_lf:
            faults.add(DataFault.BARE_LINE_END)
    return faults


def over_limits(message: bytes, header: bytes, limits: DataLimits) -> set[DataFault]:
    fields = [
        line
        for number, line in enumerate(header.split(b"\r\n")[:-1])
        if number == 0 or not line.startswith((b" ", b"\t"))
    ]
    excesses = {
        DataFault.TOO_BIG: limits.size and len(message) > limits.size,
        DataFault.LINE_TOO_LONG: max(map(len, message.split(b"\r\n"))) > limits.line,
        DataFault.HEADER_TOO_LARGE: len(header) > limits.header,
        DataFault.TOO_MANY_HEADERS: len(fields) > limits.header_fields,
    }
    return {fault for fault, exceeded in excesses.items() if exceeded}


# --- any stream, cut anywhere ----------------------------------------------------------------

GOOD_PIECES = [b"\r\n", b".", b"\r\n.", b"\r\n..", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b"a", b"b: c"]
BAD_PIECES = [b"\r", b"\n", b"\0", b"\r\n.\r", b"\n.\n", b"\r\r\n"]

streams = st.one_of(
    st.lists(st.sampled_from(GOOD_PIECES), max_size=30),
    st.lists(st.sampled_from(GOOD_PIECES + BAD_PIECES), max_size=20),
    st.lists(st.sampled_from([b".", b"\r", b"\n", b"x"]), max_size=20),
).map(lambda pieces: b"".join(pieces) + END + NEXT)

limits_of_any_size = st.builds(
    DataLimits,
    size=st.integers(0, 40),
    line=st.integers(0, 12),
    header=st.integers(0, 40),
    header_fields=st.integers(0, 5),
)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % len(stream) for cut in cuts})
    edges = [0, *places, len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@given(
    stream=streams,
    cuts=st.lists(st.integers(0, 400), max_size=40),
    limits=st.one_of(st.just(GENEROUS), limits_of_any_size),
)
@example(stream=b".\r\n" + NEXT, cuts=[1, 2], limits=GENEROUS)
@example(stream=b"\r\n\r\n.\r\n" + NEXT, cuts=[1, 3, 4], limits=GENEROUS)
@example(stream=b"a: b\r\n\r\nc\r\n.\r\n" + NEXT, cuts=[6, 8], limits=GENEROUS)
@example(stream=b"a\r\n b\r\n.\r\n", cuts=[3], limits=DataLimits(header_fields=1))
@example(stream=b"a\r\n. b\r\n.\r\n", cuts=[4], limits=DataLimits(header_fields=1))
@example(stream=b"..abc\r\n.\r\n", cuts=[], limits=DataLimits(line=4))
def test_any_stream_in_any_blocks(stream: bytes, cuts: list[int], limits: DataLimits) -> None:
    outcome = read(pieces_of(stream, cuts), limits)
    right, faults = expected(stream, limits)
    assert outcome.rest == right.rest
    if faults:
        # Which of several comes first depends on the blocks.
        assert outcome.fault in faults
        assert outcome.body == b""
    else:
        assert outcome == right


@given(stream=streams)
def test_byte_by_byte(stream: bytes) -> None:
    outcome = read(stream[i : i + 1] for i in range(len(stream)))
    right, faults = expected(stream)
    assert outcome.rest == right.rest
    assert outcome.fault in faults if faults else outcome == right


whole_streams = st.builds(
    lambda lines, rest: b"".join(line + b"\r\n" for line in lines) + b".\r\n" + rest,
    st.lists(st.sampled_from([b"a: b", b" c", b"", b"text", b".", b"..", b"\0", b"\n", b"\rx"])),
    st.sampled_from([b"", b"", b"", NEXT]),
)


@given(
    stream=st.one_of(whole_streams, streams),
    limits=st.one_of(st.just(GENEROUS), limits_of_any_size),
)
@example(stream=b"a: b\r\n\r\ntext\r\n.\r\n", limits=DataLimits(size=14, line=14))
@example(stream=b"a: b\r\n\r\ntext\r\n.\r\n", limits=DataLimits(size=13))
@example(stream=b"a: b\r\n\r\n.\r\n", limits=DataLimits(header=6, header_fields=1))
def test_the_short_way_is_the_same_way(stream: bytes, limits: DataLimits) -> None:
    whole = whole_message(stream, limits)
    if whole is not None:
        header, body = whole
        assert read([stream], limits) == Outcome(header, body, len(header) + len(body), b"")
        assert read_tolerantly([stream], limits) == read([stream], limits)


def test_a_usual_message_goes_the_short_way() -> None:
    header = b"From: a@example.org\r\nSubject: folded\r\n text\r\n"
    for body in (b"\r\n", b"\r\ntext. With dots.\r\n\r\n"):
        assert whole_message(header + body + b".\r\n", GENEROUS) == (header, body)


@pytest.mark.parametrize(
    "stream",
    [
        b"a: b\r\n\r\ntext\r\n.\r\nMAIL",
        b"a: b\r\n\r\ntext\r\n.\r",
        b"a: b\r\n\r\n..dots\r\n.\r\n",
        b"a: b\r\n\r\ntext\r\n.\r\n\r\n.\r\n",
        b"a: b\r\n\r\nbare\n.\r\n\r\n.\r\n",
        b"a: b\r\n.\r\n",
        b"\r\na\r\n.\r\n",
        b".\r\n",
    ],
)
def test_what_needs_the_long_way(stream: bytes) -> None:
    assert whole_message(stream, GENEROUS) is None


def test_no_end_no_return() -> None:
    reader = DataReader(MemorySpool(), GENEROUS)
    for block in (b"a: b\r\n", b"\r\n", b".", b"\r", b"\n"[:0], b"x\r\n."):
        assert reader.feed(block) is None


# --- end of data: CRLF.CRLF and nothing else --------------------------------------------------

FORBIDDEN = LOOKALIKES | {
    "line ends in LF": b"\n",
    "CR in a line": b"\r",
    "CR CR LF": b"\r\r\n",
    "LF CR": b"\n\r",
}


@pytest.mark.parametrize("octets", FORBIDDEN.values(), ids=FORBIDDEN)
def test_smuggling(octets: bytes) -> None:
    """The Perl version ended the message at LF.CRLF, left at CRLF.LF, and kept the others."""
    stream = b"a: b\r\n\r\ntext" + octets + b"MAIL FROM:<x@example>\r\n" + END + NEXT
    for cut in range(1, len(stream)):
        outcome = read([stream[:cut], stream[cut:]])
        assert outcome.fault in (DataFault.BARE_LINE_END, DataFault.NUL)
        assert outcome.rest == NEXT


# --- bare LF, where it is tolerated ----------------------------------------------------------


def read_tolerantly(blocks: Iterable[bytes], limits: DataLimits = GENEROUS) -> Outcome:
    spool = MemorySpool()
    reader = DataReader(spool, limits, tolerant=True)
    waiting = iter(blocks)
    for block in waiting:
        if (rest := reader.feed(block)) is not None:
            rest += b"".join(waiting)
            return Outcome(reader.header, spool.body, reader.size, rest, reader.fault)
    raise AssertionError("no end of data found")


@pytest.mark.parametrize(
    ("sent", "header", "body"),
    [
        (
            b"a: b\n c\nd: e\n\none\n\ntwo\n",
            b"a: b\r\n c\r\nd: e\r\n",
            b"\r\none\r\n\r\ntwo\r\n\r\n",
        ),
        (b"a: b\r\n\none\r\ntwo\n..\n.x", b"a: b\r\n", b"\r\none\r\ntwo\r\n.\r\nx\r\n"),
        (b"a: b\r\n\r\none\r\n..\ntwo", b"a: b\r\n", b"\r\none\r\n.\r\ntwo\r\n"),
        (b"a: b", b"a: b\r\n", b""),
    ],
)
def test_bare_line_feeds_become_line_ends(sent: bytes, header: bytes, body: bytes) -> None:
    stream = sent + END + NEXT
    for cut in range(1, len(stream)):
        outcome = read_tolerantly([stream[:cut], stream[cut:]])
        assert outcome == Outcome(header, body, len(header + body), NEXT)


@pytest.mark.parametrize("octets", [*LOOKALIKES.values(), b"\r", b"\r\r\n", b"\0"])
def test_where_others_may_have_ended_is_a_fault(octets: bytes) -> None:
    stream = b"a: b\n\ntext" + octets + b"MAIL FROM:<x@example>\r\n" + END + NEXT
    for cut in range(1, len(stream)):
        outcome = read_tolerantly([stream[:cut], stream[cut:]])
        assert outcome.fault in (DataFault.BARE_LINE_END, DataFault.NUL)
        assert outcome.rest == NEXT


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b".", b"x", b": ", b" "]), max_size=30), st.data())
def test_blocks_do_not_matter(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts) + END
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    blocks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, pieces = read_tolerantly([stream]), read_tolerantly(blocks)
    assert (pieces.fault, pieces.rest) == (whole.fault, whole.rest)
    if whole.fault is None:
        assert pieces == whole
        assert only_crlf((whole.header or b"") + whole.body)


@given(st.lists(st.sampled_from([b"\r\n", b".", b"x", b": ", b" "]), max_size=30))
def test_a_clean_message_is_read_the_same_way(parts: list[bytes]) -> None:
    stream = b"".join(parts) + END
    assert read_tolerantly([stream]) == read([stream])


def test_a_real_end_after_a_bare_cr_is_an_end() -> None:
    outcome = read([b"text\r" + END + NEXT])
    assert (outcome.fault, outcome.rest) == (DataFault.BARE_LINE_END, NEXT)


@pytest.mark.parametrize("octets", [b"\0", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\0\n"[:-1]])
def test_nul(octets: bytes) -> None:
    outcome = read([b"a: b\r\n\r\ntext" + octets + END + NEXT])
    assert outcome.fault is (DataFault.BARE_LINE_END if b"\r\0" in octets else DataFault.NUL)
    assert outcome.rest == NEXT


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"..", b"."),
        (b"...", b".."),
        (b".x", b"x"),  # RFC 5321 section 4.5.2; the Perl version kept this dot
        (b"x.", b"x."),
        (b"x\r\n..\r\n..\r\ny", b"x\r\n.\r\n.\r\ny"),
        (b"..\r\n", b".\r\n"),
    ],
)
def test_dots(sent: bytes, meant: bytes) -> None:
    stream = b"a: b\r\n\r\n" + sent + END
    for cut in range(1, len(stream)):
        assert read([stream[:cut], stream[cut:]]).body == b"\r\n" + meant + b"\r\n"


# --- header section and body ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "header", "body"),
    [
        (b".\r\n", b"", b""),
        (b"\r\n.\r\n", b"", b"\r\n"),
        (b"\r\n\r\n.\r\n", b"", b"\r\n\r\n"),
        (b"\r\ntext\r\n.\r\n", b"", b"\r\ntext\r\n"),
        (b"a: b\r\n.\r\n", b"a: b\r\n", b""),
        (b"a: b\r\n c\r\n.\r\n", b"a: b\r\n c\r\n", b""),
        (b"a: b\r\n\r\n.\r\n", b"a: b\r\n", b"\r\n"),
        (b"a: b\r\n\r\n\r\n.\r\n", b"a: b\r\n", b"\r\n\r\n"),
        (b"a: b\r\nc: d\r\n\r\ntext\r\n\r\nmore\r\n.\r\n", b"a: b\r\nc: d\r\n", None),
        (b"a: b\r\n..\r\n\r\ntext\r\n.\r\n", b"a: b\r\n.\r\n", b"\r\ntext\r\n"),
    ],
)
def test_header_and_body(stream: bytes, header: bytes, body: bytes | None) -> None:
    body = b"\r\ntext\r\n\r\nmore\r\n" if body is None else body
    for cut in range(len(stream)):
        outcome = read([stream[:cut], stream[cut:]])
        assert outcome == Outcome(header, body, len(header + body), b"")


def test_the_header_is_known_as_soon_as_it_is_whole() -> None:
    reader = DataReader(MemorySpool(), GENEROUS)
    reader.feed(b"a: b\r\n\r\n")
    assert reader.header is None
    reader.feed(b"t")
    assert reader.header == b"a: b\r\n"


def test_no_header_of_a_message_that_is_faulty_before_its_end() -> None:
    assert read([b"a: b\rc\r\n\r\ntext" + END]).header is None


# --- limits -----------------------------------------------------------------------------------

MESSAGE = b"a: b\r\nc:\r\n d\r\n\r\ntext\r\n6"
"""Two fields with one continuation line."""


@pytest.mark.parametrize(
    ("limits", "stream", "fault"),
    [
        (DataLimits(size=10), b"\r\n567890" + END, None),
        (DataLimits(size=10), b"\r\n5678901" + END, DataFault.TOO_BIG),
        (DataLimits(size=10), b"\r\n..67890" + END, None),
        (DataLimits(size=0), b"\r\n5678901" + END, None),
        (DataLimits(line=4), b"\r\n1234" + END, None),
        (DataLimits(line=4), b"\r\n12345" + END, DataFault.LINE_TOO_LONG),
        (DataLimits(line=4), b"1234" + END, None),
        (DataLimits(line=4), b"12345" + END, DataFault.LINE_TOO_LONG),
        (DataLimits(line=4), b"\r\n1\r\n12345\r\n1" + END, DataFault.LINE_TOO_LONG),
        (DataLimits(line=4), b"\r\n1\r\n1234\r\n12345" + END, DataFault.LINE_TOO_LONG),
        (DataLimits(line=4), b"\r\n1\r\n1234\r\n1234\r\n1" + END, None),
        # RFC 5321 section 4.5.3.1.6: the duplicated dot does not count.
        (DataLimits(line=4), b"\r\n..234" + END, None),
        (DataLimits(line=4), b"\r\n..2345" + END, DataFault.LINE_TOO_LONG),
        (DataLimits(header=6), b"a: b\r\n\r\ntext" + END, None),
        (DataLimits(header=6), b"a: bc\r\n\r\ntext" + END, DataFault.HEADER_TOO_LARGE),
        (DataLimits(header=6), b"a: b" + END, None),
        (DataLimits(header=6), b"a: bc" + END, DataFault.HEADER_TOO_LARGE),
        (DataLimits(header_fields=2), b"a:\r\nb:\r\n\r\nc:\r\nd:" + END, None),
        (DataLimits(header_fields=2), b"a:\r\n 1\r\nb:\r\n\t2\r\n\r\nc" + END, None),
        (DataLimits(header_fields=2), b"a:\r\nb:\r\nc:\r\n\r\nt" + END, DataFault.TOO_MANY_HEADERS),
        (DataLimits(header_fields=2), b"a:\r\nb:\r\nc:" + END, DataFault.TOO_MANY_HEADERS),
    ],
)
def test_limits(limits: DataLimits, stream: bytes, fault: DataFault | None) -> None:
    for cut in range(len(stream)):
        outcome = read([stream[:cut], stream[cut:], NEXT], limits)
        assert outcome.fault is fault
        assert outcome.rest == NEXT


@pytest.mark.parametrize("limit", ["size", "line", "header", "header_fields"])
def test_each_limit_alone_is_exact(limit: str) -> None:
    size = {"size": 25, "line": 4, "header": 14, "header_fields": 2}[limit]
    stream = MESSAGE + END
    assert read([stream], replace(GENEROUS, **{limit: size})).fault is None
    assert read([stream], replace(GENEROUS, **{limit: size - 1})).fault is not None


@pytest.mark.parametrize(
    "block",
    [b"x" * 65536, (b"y" * 76 + b"\r\n") * 840, b"a\0\r\n" * 16384],
    ids=["one line", "many lines", "short lines"],
)
def test_a_faulty_message_costs_no_memory(block: bytes) -> None:
    """30 MB, such as a single line without end."""
    reader = DataReader(MemorySpool(), replace(GENEROUS, size=100_000))
    tracemalloc.start()
    try:
        for _ in range(480):
            assert reader.feed(block) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.fault is not None
    assert peak < 4 << 20
    assert reader.feed(END + NEXT) == NEXT


@pytest.mark.parametrize("stored", [b"a: b\r\n" * 20_000, b"\r\n" + b"text\r\n" * 20_000])
def test_what_was_stored_before_the_fault_is_freed(stored: bytes) -> None:
    spool = MemorySpool()
    reader = DataReader(spool, replace(GENEROUS, header_fields=30_000))
    tracemalloc.start()
    try:
        reader.feed(stored)
        before, _ = tracemalloc.get_traced_memory()
        reader.feed(b"\rx")
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.fault is DataFault.BARE_LINE_END
    assert spool.body == b""
    assert before > 100_000
    assert after < 10_000


# --- taps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [b"a: b\r\n", b""])
@pytest.mark.parametrize("tapped_after", [0, 1])
def test_a_tap_hears_what_is_stored(tmp_path: Path, header: bytes, tapped_after: int) -> None:
    """Cut at every position; the tap is there from the start, or from the end of the header on."""
    stream = header + b"\r\n..dot\r\n\r\ntext\r\n.\r\n"
    for cut in range(1, len(stream)):
        spool = Spool(tmp_path, 1 << 20)
        reader = DataReader(spool, GENEROUS)
        heard: list[bytes] = []
        waiting = tapped_after
        if not waiting:
            reader.tap(heard.append)
        for block in (stream[:cut], stream[cut:]):
            reader.feed(block)
            if waiting and reader.header is not None:
                waiting = 0
                reader.tap(heard.append)
        assert b"".join(heard) == b"".join(spool.in_memory) == b"\r\n.dot\r\n\r\ntext\r\n"
        assert heard[0].startswith(b"\r\n")
        assert not any(block.endswith(b"\r") for block in heard)


def test_a_tap_hears_nothing_after_a_fault(tmp_path: Path) -> None:
    reader = DataReader(Spool(tmp_path, 1 << 20), GENEROUS)
    heard: list[bytes] = []
    reader.tap(heard.append)
    for block in (b"a: b\r\n\r\ntext\r\n", b"bare\nlf\r\n", b"more\r\n.\r\n"):
        reader.feed(block)
    assert b"".join(heard) == b"\r\ntext"


def test_a_large_header_section_while_memory_is_scarce() -> None:
    """It cannot go to a file, so the client has to come back; the others are read as always."""
    for size, fault in ((ALLOWANCE - 100, None), (ALLOWANCE, DataFault.NO_MEMORY)):
        spool = Spool(Path(), 1 << 20, SpoolMemory(0))
        reader = DataReader(spool, GENEROUS)
        for _ in range(0, size, 100):
            assert reader.feed(b"X: " + b"x" * 95 + b"\r\n") is None
        assert reader.feed(b"\r\ntext" + END + NEXT) == NEXT
        assert reader.fault is fault
        assert not spool.in_memory or fault is None
    assert DATA_FAULTS[DataFault.NO_MEMORY].code == 452
