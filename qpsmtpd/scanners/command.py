# SPDX-License-Identifier: MIT
"""Command: a scanner that is a program, run once for each message, without a shell.

The message is its standard input; or, where its command line has `{}`, a file of this name, for
programs that can read nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from qpsmtpd.mail.scratch import scratch_file
from qpsmtpd.nexthop.program import Finished, ProgramError, feed
from qpsmtpd.plugin.breaker import Breaker
from qpsmtpd.plugin.services import Clock
from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.service import Slots
from qpsmtpd.scanners.wire import ScannerError

T = TypeVar("T")

#: What stands for the file with the message.
FILE = "{}"

#: Characters of the output that anybody looks at.
MOST_OUTPUT = 4096


class Command:
    """Runs a program on messages."""

    def __init__(
        self,
        words: Sequence[str],
        spool_dir: Path,
        clock: Clock,
        *,
        timeout: float,
        connections: int,
    ) -> None:
        """timeout: seconds for one message; connections: how many run at once."""
        self._words = tuple(words)
        self._spool_dir = spool_dir
        self._timeout = timeout
        self._slots = Slots(connections)
        self._breaker = Breaker(clock, "scanner", self._words[0])

    async def scan(self, content: Content, judge: Callable[[Finished], T]) -> T:
        """What the end of the program means; `judge` raises ScannerError if that is nothing.

        Raises ScannerError, at once while it is known to fail.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        async with self._slots.taken(deadline):
            if not self._breaker.may_try():
                raise ScannerError(f"{self._words[0]}: down: {self._breaker.reason}")
            with self._breaker.attempt():
                return judge(await self._run(content, deadline))

    async def _run(self, content: Content, deadline: float) -> Finished:
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                return await self._feed(content)
        except ProgramError as error:
            raise ScannerError(str(error)) from error
        except TimeoutError:
            if not limit.expired():
                raise
            raise ScannerError(f"{self._words[0]} took too long") from None

    async def _feed(self, content: Content) -> Finished:
        if FILE not in self._words:
            return await feed(self._words, {0: content.blocks()}, timeout=self._timeout)
        with scratch_file(self._spool_dir) as (file, path):
            await _write(file, content)
            words = [str(path) if word == FILE else word for word in self._words]
            return await feed(words, {}, timeout=self._timeout)


async def _write(file: BinaryIO, content: Content) -> None:
    async for block in content.blocks():
        await asyncio.to_thread(file.write, block)
    await asyncio.to_thread(file.flush)


def last_line(finished: Finished) -> str:
    """The last line of the output, for the log."""
    lines = finished.output[-MOST_OUTPUT:].splitlines()
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "no output")
