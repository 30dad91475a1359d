# SPDX-License-Identifier: MIT
"""Processes of commands: our children, or run for us by the handover (setid_runner.py).

If the service manager has taken away our right to gain privileges (NoNewPrivileges), a set-id
program that we start would not get its user, and could not put mail into its queue.  Such programs
are then run by the handover service, if its socket exists; everything else is a child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.nexthop.setid_runner import ENVIRONMENT, MOST

#: Where the unit qpsmtpd-handover.socket listens.
HANDOVER = Path("/run/qpsmtpd/handover.socket")

#: Seconds that the handover may take to start a command, and to say that it was killed.
HANDOVER_WAIT = 30.0

_STATUS = Path("/proc/self/status")

_STANDARD = ("stdin", "stdout", "stderr")

#: Runs a command with our standard input as its descriptor 3, and nothing as its own: Python can
#: pass on a descriptor under the number that it has only.
_STDIN_TO_THIRD = ("/bin/sh", "-c", 'exec "$@" 3<&0 </dev/null', "sh")


class ProgramError(QpsmtpdError):
    """The command cannot be started, or took too long: what it did is unknown."""


class Process(Protocol):
    """A command that is running or has ended.  returncode: None until `ended` has returned."""

    pid: int
    returncode: int | None

    async def ended(self) -> int:
        """The exit status, once it has ended; minus the number of a signal if that ended it."""

    async def kill(self) -> None:
        """Kill it, as far as we are allowed to: a set-uid program lives on."""

    def close(self) -> None:
        """Let go of it."""


async def start(words: Sequence[str], *descriptors: int) -> Process:
    """Start a command with these as its descriptors 0 to 2, or 0 to 3; a fixed environment, and no
    shell that would see its words.

    Raises ProgramError.
    """
    if _needs_handover(words[0]):
        return await HandedOver.start(words, descriptors)
    if len(descriptors) > len(_STANDARD):
        _, stdout, stderr, third = descriptors
        return Child([*_STDIN_TO_THIRD, *words], third, stdout, stderr)
    return Child(words, *descriptors)


def _needs_handover(program: str) -> bool:
    return _is_set_id(program) and _confined() and HANDOVER.is_socket()


def _is_set_id(program: str) -> bool:
    try:
        return bool(Path(program).stat().st_mode & (stat.S_ISUID | stat.S_ISGID))
    except OSError:
        return False


def _confined() -> bool:
    """Whether we may not gain privileges (PR_SET_NO_NEW_PRIVS of prctl(2))."""
    return "\nNoNewPrivs:\t1\n" in _STATUS.read_text(encoding="utf-8")


class Child:
    """A process of our own."""

    def __init__(self, words: Sequence[str], stdin: int, stdout: int, stderr: int) -> None:
        # Not the loop's own subprocesses: uvloop's give the command further copies of its inputs.
        try:
            self._process = subprocess.Popen(  # noqa: S603 (the administrator's program, no shell)
                words, stdin=stdin, stdout=stdout, stderr=stderr, env=ENVIRONMENT, cwd="/"
            )
        except OSError as error:
            raise ProgramError(f"cannot start {words[0]}: {error.strerror}") from error
        self.pid = self._process.pid
        self.returncode: int | None = None

    async def ended(self) -> int:
        """The exit status."""
        descriptor = os.pidfd_open(self.pid)
        try:
            await _readable(descriptor)
        finally:
            os.close(descriptor)
        self.returncode = self._process.wait()
        return self.returncode

    async def kill(self) -> None:
        """Kill it, unless it belongs to somebody else by now."""
        with contextlib.suppress(PermissionError):
            self._process.kill()

    def close(self) -> None:
        """Nothing is held."""


class HandedOver:
    """A process that the handover runs for us."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = 0
        self.returncode: int | None = None

    @classmethod
    async def start(cls, words: Sequence[str], descriptors: Sequence[int]) -> HandedOver:
        """Ask the handover to start a command.  Raises ProgramError."""
        process = cls(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        try:
            await process._ask(words, descriptors)
        except BaseException:
            process.close()
            raise
        return process

    async def _ask(self, words: Sequence[str], descriptors: Sequence[int]) -> None:
        self._connection.setblocking(False)
        try:
            self._connection.connect(str(HANDOVER))
            socket.send_fds(self._connection, ["\0".join(words).encode()], descriptors)
            async with asyncio.timeout(HANDOVER_WAIT):
                answer = await self._answer()
        except TimeoutError:
            raise ProgramError("the handover service is too slow") from None
        except OSError as error:
            raise ProgramError(f"{HANDOVER}: {error.strerror}") from error
        self.pid = _process_id(answer, words)

    async def ended(self) -> int:
        """The exit status.  Raises ProgramError when the handover fails."""
        while True:
            verb, _, rest = (await self._answer()).partition(" ")
            if verb == "ended":
                self.returncode = int(rest)
                return self.returncode

    async def kill(self) -> None:
        """Have it killed; wait until that is done, or it has ended."""
        with contextlib.suppress(OSError, TimeoutError, ProgramError):
            self._connection.send(b"kill")
            async with asyncio.timeout(HANDOVER_WAIT):
                await self._answer()

    async def _answer(self) -> str:
        await _readable(self._connection.fileno())
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = self._connection.recv(MOST)
        if not answer:
            raise ProgramError("the handover service ended without reporting the exit status")
        return answer.decode()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def _process_id(answer: str, words: Sequence[str]) -> int:
    verb, _, rest = answer.partition(" ")
    if verb != "started":
        raise ProgramError(f"the handover service does not start {' '.join(words)}: {rest}")
    return int(rest)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
