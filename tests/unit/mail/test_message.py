# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/mail/message.py."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.errors import SpoolError
from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.message import NOT_READ_YET, SLAB, Body, Message, Spool
from qpsmtpd.mail.spoolmemory import ALLOWANCE, SpoolMemory


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def content(source: Body | Message) -> bytes:
    return b"".join([block async for block in source.stream()])


async def in_file(directory: Path, data: bytes) -> Body:
    spool = Spool(directory, 0)
    spool.write(data)
    return await spool.seal()


# --- where a body is kept ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "threshold", "memory"),
    [(0, 0, True), (1, 0, False), (9, 10, True), (10, 10, False), (11, 10, False)],
)
async def test_from_the_threshold_on_in_a_file(
    tmp_path: Path, size: int, threshold: int, memory: bool
) -> None:
    spool = Spool(tmp_path, threshold)
    spool.write(b"x" * size)
    assert spool.size == size
    body = await spool.seal()
    assert (body.in_memory is not None) is memory
    assert body.size == size
    assert await content(body) == b"x" * size
    body.close()


async def test_blocks_stay_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 4)
    written = b""
    for block in (b"abc", b"", b"defg", b"h", b"ij"):
        spool.write(block)
        written += block
        if spool.needs_flush:
            await spool.flush()
    assert spool.size == len(written)
    body = await spool.seal()
    assert await content(body) == written
    body.close()


async def test_a_flush_of_nothing_makes_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "missing", 0)
    await spool.flush()
    assert (await spool.seal()).in_memory == b""


async def test_when_to_flush(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    needed = []
    for size in (9, 1):
        spool.write(b"x" * size)
        needed.append(spool.needs_flush)
    await spool.flush()
    for size in (10, SLAB - 11, 1):
        spool.write(b"x" * size)
        needed.append(spool.needs_flush)
    assert needed == [False, True, False, False, True]
    spool.discard()


async def test_a_threshold_above_a_slab_counts(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 2 * SLAB)
    spool.write(b"x" * (2 * SLAB - 1))
    assert not spool.needs_flush
    assert (await spool.seal()).in_memory is not None


async def test_the_file_has_no_name(tmp_path: Path) -> None:
    body = await in_file(tmp_path, b"text")
    assert list(tmp_path.iterdir()) == []
    assert await content(body) == b"text"
    body.close()


async def test_discard_frees_everything(tmp_path: Path) -> None:
    before = open_files()
    spool = Spool(tmp_path, 0)
    spool.write(b"text")
    await spool.flush()
    assert open_files() == before + 1
    spool.write(b"more")
    spool.discard()
    spool.discard()
    assert open_files() == before
    assert not Spool(tmp_path, 1).needs_flush


async def test_discard_after_seal_leaves_the_body_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 0)
    spool.write(b"text")
    body = await spool.seal()
    spool.discard()
    assert await content(body) == b"text"
    body.close()


async def test_close_frees_the_body(tmp_path: Path) -> None:
    before = open_files()
    body = await in_file(tmp_path, b"text")
    body.close()
    body.close()
    assert open_files() == before
    assert body.in_memory == b""


# --- memory -----------------------------------------------------------------------------------


async def test_when_memory_is_scarce_more_than_a_little_goes_to_files(tmp_path: Path) -> None:
    memory = SpoolMemory(3 * ALLOWANCE)
    first, second = (Spool(tmp_path, 1 << 20, memory) for _ in range(2))
    first.write(b"x" * (3 * ALLOWANCE - 1))
    needed = [(first.needs_flush, second.needs_flush)]
    for size in (ALLOWANCE - 1, 1):
        second.write(b"x" * size)
        needed.append((first.needs_flush, second.needs_flush))
    await first.flush()
    needed.append((first.needs_flush, second.needs_flush))
    assert needed == [(False, False), (True, False), (True, True), (False, False)]
    assert memory.used == ALLOWANCE
    for spool in (first, second):
        spool.discard()
    assert memory.used == 0


async def test_a_small_threshold_holds_when_memory_is_scarce(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 5, SpoolMemory(0))
    needed = []
    for _ in range(5):
        spool.write(b"x")
        needed.append(spool.needs_flush)
    assert needed == [False] * 4 + [True]
    spool.discard()


async def test_memory_is_given_back_whatever_becomes_of_the_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SpoolMemory()
    (tmp_path / "file").touch()
    for directory, threshold in ((tmp_path, 100), (tmp_path, 0), (tmp_path / "file", 0)):
        spool = Spool(directory, threshold, memory)
        assert spool.take_beside(7)
        spool.write(b"text")
        assert memory.used == 11
        with contextlib.suppress(SpoolError):
            body = await spool.seal()
            message = Message(Headers(), body, 11, spool.another)
            assert memory.used == (11 if threshold else 7)
            await message.replace_body(b"other\r\n")
            assert memory.used == (9 if threshold else 0)
            message.close()
            message.close()
        spool.discard()
        assert memory.used == 0


async def test_what_is_beside_the_body_is_enough_when_memory_is_scarce(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100, SpoolMemory(ALLOWANCE + 10))
    assert spool.take_beside(ALLOWANCE + 9)
    assert not spool.take_beside(1)
    spool.discard()
    other = Spool(tmp_path, 100, SpoolMemory(0))
    assert other.take_beside(ALLOWANCE)
    assert not other.take_beside(1)


async def test_a_body_in_tiny_blocks_takes_up_no_more_than_in_one(tmp_path: Path) -> None:
    """As asyncio receives them: each is a block of the heap that is cut down to what has come."""
    spool = Spool(tmp_path, 1 << 20)
    count = 10_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(count):
        spool.write(bytes((number & 127, number >> 7)))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used < 1.2 * 2 * count
    spool.write(b"x" * 5000)
    spool.write(b"end")
    whole = b"".join(bytes((n & 127, n >> 7)) for n in range(count)) + b"x" * 5000 + b"end"
    assert b"".join(spool.in_memory) == whole
    assert (await spool.seal()).in_memory == whole


# --- storage that fails -----------------------------------------------------------------------


async def test_a_directory_that_was_removed(tmp_path: Path) -> None:
    directory = tmp_path / "removed"
    spool = Spool(directory, 0, mode=0o750).another()
    spool.write(b"text")
    body = await spool.seal()
    assert await content(body) == b"text"
    assert directory.stat().st_mode & 0o777 == 0o750
    body.close()


async def test_a_directory_that_cannot_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spool = Spool(tmp_path / "file" / "spool", 0)
    spool.write(b"text")
    with pytest.raises(SpoolError, match=r"file/spool: Not a directory") as caught:
        await spool.seal()
    assert not caught.value.full


async def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_full_disk(prefix: str, dir: Path) -> tuple[int, str]:  # noqa: A002 (tempfile's name)
        name = dir / prefix
        name.touch()
        return os.open("/dev/full", os.O_RDWR), str(name)

    monkeypatch.setattr(tempfile, "mkstemp", on_a_full_disk)
    before = open_files()
    spool = Spool(tmp_path, 0)
    spool.write(b"text")
    with pytest.raises(SpoolError, match="No space left on device") as caught:
        await spool.flush()
    assert caught.value.full
    assert open_files() == before
    assert list(tmp_path.iterdir()) == []


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_short_write_is_no_success(tmp_path: Path) -> None:
    """The kernel takes the first half and says how much it took; only the next write fails."""
    before = open_files()
    spool = Spool(tmp_path, 0)
    spool.write(b"x" * 8192)
    with file_size_limit(4096), pytest.raises(SpoolError, match="File too large"):
        await spool.flush()
    assert open_files() == before


async def test_a_short_write_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, 0)
    spool.write(b"a")
    await spool.flush()

    class Slow(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(memoryview(data)[:3])

    file = spool._file
    assert file is not None
    monkeypatch.setattr(spool, "_file", Slow(file.fileno(), "r+b", closefd=False))
    spool.write(b"bcdefgh")
    await spool.flush()
    monkeypatch.undo()
    body = await spool.seal()
    assert await content(body) == b"abcdefgh"
    body.close()


# --- bodies and messages ----------------------------------------------------------------------


async def test_a_body_in_a_file_comes_in_slabs(tmp_path: Path) -> None:
    data = os.urandom(2 * SLAB + 1)
    body = await in_file(tmp_path, data)
    slabs = [slab async for slab in body.stream()]
    assert [len(slab) for slab in slabs] == [SLAB, SLAB, 1]
    assert b"".join(slabs) == data == await content(body)
    body.close()


async def test_two_readers_do_not_disturb_each_other(tmp_path: Path) -> None:
    body = await in_file(tmp_path, b"x" * SLAB + b"end")
    one, other = body.stream(), body.stream()
    assert await anext(one) == await anext(other) == b"x" * SLAB
    assert await anext(one) == await anext(other) == b"end"
    assert [slab async for slab in one] == [slab async for slab in other] == []
    body.close()


@pytest.mark.parametrize(
    ("data", "headers", "body"),
    [
        (b"", b"", b""),
        (b"\r\n", b"", b"\r\n"),
        (b"\r\ntext\r\n\r\nmore", b"", b"\r\ntext\r\n\r\nmore"),
        (b"a: b\r\n", b"a: b\r\n", b""),
        (b"a: b", b"a: b", b""),
        (b"a: b\r\n\r\n", b"a: b\r\n", b"\r\n"),
        (b"a: b\r\n\r\nc\r\n\r\nd\r\n", b"a: b\r\n", b"\r\nc\r\n\r\nd\r\n"),
    ],
)
async def test_message_of_bytes(data: bytes, headers: bytes, body: bytes) -> None:
    message = Message.from_bytes(data)
    assert bytes(message.headers) == headers
    assert message.body.in_memory == body
    assert message.size == len(data)
    assert await content(message) == data


async def test_message_streams_its_changed_headers(tmp_path: Path) -> None:
    body = await in_file(tmp_path, b"\r\ntext\r\n")
    message = Message(Headers.parse(b"a: b\r\n"), body, 14)
    message.headers.prepend("Received", "now")
    assert await content(message) == b"Received: now\r\na: b\r\n\r\ntext\r\n"
    message.close()
    assert body.in_memory == b""


@pytest.mark.parametrize("limit", [0, 1, 6, 7, 13, 14, 15, 1000])
async def test_read_is_cut_at_its_limit(tmp_path: Path, limit: int) -> None:
    whole = b"a: b\r\n\r\ntext\r\n"
    small = Message.from_bytes(whole)
    large = Message(Headers.parse(whole[:6]), await in_file(tmp_path, whole[6:]), len(whole))
    assert await small.read(limit) == await large.read(limit) == whole[:limit]
    large.close()


# --- another body -------------------------------------------------------------------------------


async def pieces(text: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


@pytest.mark.parametrize("data", [b"A: 1\r\n\r\nold\r\n", b"A: 1\r\n\r\n", b"A: 1\r\n"])
async def test_another_body(data: bytes) -> None:
    message = Message.from_bytes(data)
    await message.replace_body(b"new\r\n\r\ntext\r\n")
    whole = b"A: 1\r\n\r\nnew\r\n\r\ntext\r\n"
    assert await content(message) == whole
    assert await message.read(1000) == whole
    assert message.size == len(whole)
    assert b"".join([block async for block in message.stream_body()]) == b"new\r\n\r\ntext\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
async def test_a_body_that_comes_in_pieces(size: int) -> None:
    message = Message.from_bytes(b"A: 1\r\n\r\nold\r\n")
    await message.replace_body(pieces(b"\r\na\r\n\r\nb c\r\n", size))
    assert await content(message) == b"A: 1\r\n\r\n\r\na\r\n\r\nb c\r\n"


async def test_no_text() -> None:
    message = Message.from_bytes(b"A: 1\r\n\r\nold\r\n")
    await message.replace_body(b"")
    assert await content(message) == b"A: 1\r\n\r\n"
    assert [block async for block in message.stream_body()] == []


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(
    "text",
    [b"a\nb\r\n", b"a\rb\r\n", b"a\r\r\n", b"\n", b"a\0b\r\n", b"a", b"a\r", b"a\r\nb", b"\r\n\r"],
)
async def test_what_cannot_be_a_body(tmp_path: Path, text: bytes, size: int) -> None:
    spool = Spool(tmp_path, 0)
    before = open_files()
    message = Message(Headers.parse(b"A: 1\r\n"), Body(b"\r\nold\r\n", None, 7), 13, spool.another)
    with pytest.raises(ValueError, match="body"):
        await message.replace_body(pieces(text, size))
    assert await content(message) == b"A: 1\r\n\r\nold\r\n"
    assert (message.size, message.eight_bit) == (13, False)
    assert open_files() == before
    assert list(tmp_path.iterdir()) == []


async def test_a_large_body_goes_to_a_file_and_the_old_one_is_freed(tmp_path: Path) -> None:
    before = open_files()
    old = await in_file(tmp_path, b"\r\n" + b"old\r\n" * 1000)
    message = Message(Headers.parse(b"A: 1\r\n"), old, 5008, partial(Spool, tmp_path, 1000))
    upper = (block.upper() async for block in message.stream_body())
    await message.replace_body(upper)
    assert open_files() == before + 1
    assert await content(message) == b"A: 1\r\n\r\n" + b"OLD\r\n" * 1000
    await message.replace_body(b"small\r\n")
    assert message.body.in_memory == b"\r\nsmall\r\n"
    assert open_files() == before
    assert message.size == 15


async def test_a_body_that_cannot_be_stored(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = partial(Spool, tmp_path / "file", 0)
    message = Message(Headers.parse(b"A: 1\r\n"), Body(b"\r\nold\r\n", None, 7), 13, nowhere)
    with pytest.raises(SpoolError):
        await message.replace_body(b"new\r\n")
    assert await content(message) == b"A: 1\r\n\r\nold\r\n"


async def test_octets_above_127_are_noticed() -> None:
    message = Message.from_bytes("A: 1\r\n\r\né\r\n".encode())
    seen = [message.eight_bit]
    for text in ("café\r\n", "cafe\r\n"):
        await message.replace_body(pieces(text.encode(), 1))
        seen.append(message.eight_bit)
    assert seen == [False, True, False]


async def test_there_is_no_body_before_it_was_read() -> None:
    message = Message(Headers.parse(b"A: 1\r\n"), NOT_READ_YET, 6)
    with pytest.raises(RuntimeError, match="not been read yet"):
        await message.replace_body(b"new\r\n")


# --- much --------------------------------------------------------------------------------------


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_100_mb_cost_no_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000)
    block = b"x" * 65536
    before = resident()
    tracemalloc.start()
    try:
        for _ in range(1600):
            spool.write(block)
            if spool.needs_flush:
                await spool.flush()
        body = await spool.seal()
        length = 0
        async for slab in body.stream():
            length += len(slab)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    body.close()
    assert length == body.size == 1600 * 65536
    assert peak < 8 << 20
    assert resident() - before < 8 << 20
