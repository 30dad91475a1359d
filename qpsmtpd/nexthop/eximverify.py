# SPDX-License-Identifier: MIT
"""EximVerifier: asks Exim on this machine about recipients, by `exim -bv`.

Exim reads addresses from its input, answers each with a line, and then shows a prompt; no rights
are needed.  Starting it takes a hundred times as long as an answer, so a few processes are kept for
some seconds.  They end soon, for what Exim has read of its configuration and tables gets old.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from io import FileIO

from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.nexthop.process import Process, ProgramError, start
from qpsmtpd.plugin.verification import KNOWN, Verification, unavailable, unknown, unsure

#: Processes of each worker at a time, and seconds that one of them lives.
PROCESSES = 4
LIFE = 10.0

#: Seconds that one may take to end when its input has ended, and then when it was killed.
ENDING = 5.0
DYING = 5.0

_PROMPT = b"> "
#: Bytes of an answer, and characters of it in the log.
_MOST = 65536
_SHOWN = 200


class EximVerifier:
    """Asks one Exim."""

    def __init__(self, words: Sequence[str]) -> None:
        """`words`: the command."""
        self._words = words
        self._slots = asyncio.Semaphore(PROCESSES)
        # Those without a question, and those that are to end.
        self._idle: list[_Exim] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def verify(self, address: str) -> Verification:
        """What Exim says about an address; waits as long as the caller lets it."""
        try:
            said = await self._ask(address)
        except ProgramError as error:
            return unavailable(str(error))
        return meaning(address, said)

    async def _ask(self, address: str) -> str:
        async with self._slots:
            if self._idle:
                with contextlib.suppress(ProgramError):  # it may have ended meanwhile
                    return await self._ask_one(self._idle.pop(), address)
            return await self._ask_one(await _Exim.start(self._words), address)

    async def _ask_one(self, exim: _Exim, address: str) -> str:
        try:
            said = await exim.ask(address)
        except BaseException:
            self._end(exim)
            raise
        self._idle.append(exim)
        if exim.timer is None:
            exim.timer = asyncio.get_running_loop().call_later(LIFE, self._too_old, exim)
        return said

    def _too_old(self, exim: _Exim) -> None:
        if exim in self._idle:
            self._idle.remove(exim)
            self._end(exim)
        else:
            exim.timer = None  # it has a question, and gets some more seconds

    def _end(self, exim: _Exim) -> None:
        task = asyncio.create_task(exim.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all processes; nothing may be asked any more."""
        while self._idle:
            self._end(self._idle.pop())
        await asyncio.gather(*self._ending)


class _Exim:
    """One process."""

    def __init__(self, process: Process, question: int) -> None:
        """`question`: the descriptor that it reads from."""
        self.timer: asyncio.TimerHandle | None = None
        self._process = process
        self._question = question
        self._answers = asyncio.StreamReader(limit=_MOST)
        self._transport: asyncio.BaseTransport | None = None

    @classmethod
    async def start(cls, words: Sequence[str]) -> _Exim:
        """Start a process, and wait for its prompt.  Raises ProgramError."""
        stdin, question = os.pipe()
        answer, stdout = os.pipe()
        try:
            process = await start(words, stdin, stdout, stdout)
        except BaseException:
            os.close(question)
            os.close(answer)
            raise
        finally:
            os.close(stdin)
            os.close(stdout)
        os.set_blocking(question, False)
        exim = cls(process, question)
        try:
            await exim._listen(os.fdopen(answer, "rb", buffering=0))
            if said := await exim._until(_PROMPT):
                raise ProgramError(f"{' '.join(words)}: {said}")
        except BaseException:
            await exim.end()
            raise
        return exim

    async def _listen(self, file: FileIO) -> None:
        def protocol() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(self._answers)

        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(protocol, file)

    async def ask(self, address: str) -> str:
        """What it says about an address.  Raises ProgramError."""
        try:
            os.write(self._question, f"{address}\n".encode())
        except OSError as error:
            raise ProgramError(f"exim -bv takes no question: {error.strerror}") from error
        return await self._until(b"\n" + _PROMPT)

    async def _until(self, end: bytes) -> str:
        """What it says up to its prompt."""
        try:
            said = await self._answers.readuntil(end)
        except asyncio.IncompleteReadError as error:
            text = printable_ascii(error.partial.decode("utf-8", "replace"), _SHOWN)
            raise ProgramError(f"exim -bv has ended: {text}") from error
        except asyncio.LimitOverrunError as error:
            raise ProgramError("exim -bv says too much") from error
        return said.removesuffix(end).decode("utf-8", "replace")

    async def end(self) -> None:
        """End its input, and see it end."""
        if self.timer is not None:
            self.timer.cancel()
        os.close(self._question)
        try:
            await self._ended(ENDING)
        except TimeoutError:
            await self._process.kill()
            with contextlib.suppress(TimeoutError):
                await self._ended(DYING)
        except ProgramError:
            pass  # the hand-over is gone
        finally:
            self._process.close()
            if self._transport is not None:
                self._transport.close()

    async def _ended(self, within: float) -> None:
        async with asyncio.timeout(within):
            await self._process.ended()


def meaning(address: str, said: str) -> Verification:
    """What the answer says; without a line about the address, it is none."""
    for line in said.splitlines():
        words = line.removeprefix(address) if line.startswith(address) else ""
        shown = printable_ascii(line, _SHOWN)
        if words == " verified":
            return KNOWN
        if words.startswith(" failed to verify"):
            return unknown("5.1.1", shown)
        if words.startswith(" cannot be resolved at this time"):
            return unsure(shown)
    return unavailable(f"exim -bv says {printable_ascii(said, _SHOWN)!r}")
