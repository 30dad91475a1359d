# SPDX-License-Identifier: MIT
"""Feeding a message to a command: its inputs one after the other, then its exit status.

No shell is involved, and the environment of the command is only a search path.  Its output is
read all the time, so that it never waits for us, and the beginning of it is kept.

When we give up, because the command is slow, the message cannot be read, or we are cancelled, the
command is killed before its inputs end; where that is not allowed (a set-uid program), it finds the
inputs that were not begun empty.  So a command that takes the message first and the envelope
second, or that knows an end of data, never takes a part for the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO

from qpsmtpd.nexthop.process import Process, ProgramError, start

__all__ = ["Finished", "ProgramError", "Programs", "feed", "once"]

#: Bytes of output that are kept.
MOST_OUTPUT = 65536

#: Seconds that a killed command may take to end.
KILL_WAIT = 5.0

Blocks = AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended.

    status: its exit status, or minus the number of the signal that ended it.
    output: what it wrote to stderr, and to stdout unless that is an input.
    """

    status: int
    output: str
    pid: int


class Programs:
    """Limits how many commands run at once; the others wait."""

    def __init__(self, limit: int) -> None:
        self._slots = asyncio.Semaphore(limit)

    async def feed(
        self, words: Sequence[str], inputs: Mapping[int, Blocks], *, timeout: float
    ) -> Finished:
        """Run a command as `feed` does, when its turn comes."""
        try:
            async with asyncio.timeout(timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise ProgramError(f"{words[0]}: too many are running") from None
        try:
            return await feed(words, inputs, timeout=timeout)
        finally:
            self._slots.release()


async def feed(words: Sequence[str], inputs: Mapping[int, Blocks], *, timeout: float) -> Finished:
    """Run a command and write the inputs, by descriptor (0, 1 or 3), in their order.

    Each wait for the command takes at most `timeout` seconds.  Raises ProgramError, and what the
    inputs raise.
    """
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        ends: dict[int, int] = {}
        files: dict[int, FileIO] = {}
        for descriptor in inputs:
            ends[descriptor], files[descriptor] = _input_pipe(ours, theirs)
        output, end = _output_pipe(ours, theirs)
        stdin = ends[0] if 0 in ends else _nothing(theirs)
        third = [ends[3]] if 3 in ends else []
        process = await start(words, stdin, ends.get(1, end), end, *third)
        ours.callback(process.close)
        theirs.close()
        with _Collector(output) as collector:
            try:
                await _write_all(files, inputs, timeout)
                async with asyncio.timeout(timeout):
                    status = await process.ended()
            except TimeoutError:
                raise ProgramError(f"{words[0]} took too long") from None
            finally:
                await _give_up(process, files)
        return Finished(status, collector.text, process.pid)


def _input_pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, FileIO]:
    read, write = os.pipe()
    theirs.callback(os.close, read)
    os.set_blocking(write, False)
    return read, ours.enter_context(FileIO(write, "w"))


def _output_pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    ours.callback(os.close, read)
    theirs.callback(os.close, write)
    os.set_blocking(read, False)
    return read, write


def _nothing(theirs: contextlib.ExitStack) -> int:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    theirs.callback(os.close, descriptor)
    return descriptor


async def _write_all(
    files: Mapping[int, FileIO], inputs: Mapping[int, Blocks], timeout: float
) -> None:
    for descriptor, blocks in inputs.items():
        try:
            await _write(files[descriptor], blocks, timeout)
        except BrokenPipeError:
            # It has not read this input to its end, so it must not get the next one.  Its exit
            # status says why.
            break
    for file in files.values():
        file.close()


async def _write(file: FileIO, blocks: Blocks, timeout: float) -> None:
    async with contextlib.aclosing(blocks):
        async for block in blocks:
            view = memoryview(block)
            while view:
                written = file.write(view)
                if written is None:
                    async with asyncio.timeout(timeout):
                        await _writable(file)
                else:
                    view = view[written:]
    file.close()


async def _writable(file: FileIO) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(file.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(file.fileno())


async def _give_up(process: Process, files: Mapping[int, FileIO]) -> None:
    if process.returncode is not None:
        return
    await process.kill()
    for file in files.values():
        file.close()
    with contextlib.suppress(TimeoutError, ProgramError):
        async with asyncio.timeout(KILL_WAIT):
            await process.ended()


class _Collector:
    """Reads the output of the command as it arrives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> _Collector:
        self._loop.add_reader(self._descriptor, self._read)
        return self

    def __exit__(self, *exception: object) -> None:
        # What it wrote before it ended is in the pipe; its children may hold the pipe open.
        for _ in range(MOST_OUTPUT // select.PIPE_BUF):
            if not self._read():
                break
        self._loop.remove_reader(self._descriptor)

    def _read(self) -> bool:
        try:
            data = os.read(self._descriptor, MOST_OUTPUT)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._descriptor)
        self._kept += data[: MOST_OUTPUT - len(self._kept)]
        return bool(data)

    @property
    def text(self) -> str:
        """The beginning of the output."""
        return self._kept.decode("utf-8", "replace")


async def once(data: bytes) -> Blocks:
    """An input of one block."""
    yield data
