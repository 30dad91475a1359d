# SPDX-License-Identifier: MIT
"""Outlets: files, pipes and datagram sockets that log lines go to, without waiting or raising.

An outlet opens itself when something is written.  Trouble is reported on stderr, at most once
a minute: a log line must never stop mail.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import select
import shlex
import socket
import subprocess
import time
from collections import deque
from pathlib import Path

from qpsmtpd.logs.records import write_stderr
from qpsmtpd.metrics.catalogue import LOG_LINES_LOST
from qpsmtpd.metrics.counting import FIGURES

#: Seconds between two complaints of an outlet, and two starts of a command that keeps ending.
REPORT_EVERY = 60.0
RESTART_AFTER = 5.0
#: Seconds that a command has to end once its input has ended.
END_AFTER = 5.0

#: The search path of commands, which is their whole environment.
COMMAND_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Bytes of one datagram; the kernel takes about 200 KB.
DATAGRAM_LIMIT = 48 * 1024


class Outlet:
    """Base: writes pieces, and complains about those that are lost."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: Pieces lost since the last complaint.
        self.lost = 0
        self._complained = -math.inf

    def write(self, data: bytes) -> None:
        """Write one piece; if that fails or would block it is lost, with a complaint."""
        try:
            self._write(data)
        except OSError as error:
            self._report(error)

    def close(self) -> None:
        """Close; the next `write` reopens."""

    def wait(self) -> None:
        """Wait, a few seconds at most, for what `close` left to do."""

    def _write(self, data: bytes) -> None:
        raise NotImplementedError

    def _report(self, error: OSError, pieces: int = 1) -> None:
        self.lost += pieces
        FIGURES.count(LOG_LINES_LOST, self.name, by=pieces)
        now = time.monotonic()
        if now - self._complained >= REPORT_EVERY:
            self._complained = now
            lines, self.lost = self.lost, 0
            write_stderr(f"{self.name}: cannot log: {error.strerror or error} lines_lost={lines}\n")


class FileOutlet(Outlet):
    """Appends to a file, whole pieces in one write; other processes may append to it as well."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._fd = -1
        self._waiting: deque[bytes] = deque()

    def write(self, data: bytes) -> None:
        """Write one piece, after those that are waiting."""
        self._waiting.append(data)
        self._write_waiting()

    def write_soon(self, data: bytes) -> None:
        """Write one piece with all others of this turn of the event loop; at once without a loop.

        A write to a file costs as much as reading a message.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write(data)
            return
        self._waiting.append(data)
        if len(self._waiting) == 1:
            loop.call_soon(self._write_waiting)

    def _write_waiting(self) -> None:
        pieces = []
        while self._waiting:
            pieces.append(self._waiting.popleft())
        if not pieces:
            return
        try:
            self._write(b"".join(pieces))
        except OSError as error:
            self._report(error, len(pieces))

    def _write(self, data: bytes) -> None:
        if self._fd < 0:
            # O_NONBLOCK is for FIFOs without a reader: that is an error instead of a wait.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
            self._fd = os.open(self.name, flags, 0o640)
        if os.write(self._fd, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self._write_waiting()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class PipeOutlet(Outlet):
    """Feeds the standard input of a command; no shell is involved.

    Pieces longer than PIPE_BUF are cut, so that each is written whole or not at all.  A command
    that has ended is started again, at most every RESTART_AFTER seconds.
    """

    def __init__(self, command: str) -> None:
        """Raises ValueError when the quoting of the command is wrong."""
        super().__init__(f"|{command}")
        self._words = shlex.split(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._ending: list[subprocess.Popen[bytes]] = []
        self._started = -math.inf

    def _write(self, data: bytes) -> None:
        process = self._process or self._start()
        assert process.stdin is not None
        if len(data) > select.PIPE_BUF:
            data = data[: select.PIPE_BUF - 1] + b"\n"
        try:
            os.write(process.stdin.fileno(), data)
        except BrokenPipeError:
            self._end()
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        now = time.monotonic()
        if now - self._started < RESTART_AFTER:
            raise BrokenPipeError(errno.EPIPE, "the command has ended")
        self._started = now
        self._process = subprocess.Popen(  # noqa: S603 (the administrator wrote it; no shell)
            self._words, stdin=subprocess.PIPE, bufsize=0, env={"PATH": COMMAND_PATH}
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            self._ending.append(process)
        self._ending = [process for process in self._ending if process.poll() is None]

    def close(self) -> None:
        """Close the input of the command, which should then end by itself."""
        self._end()
        self._started = -math.inf

    @property
    def running(self) -> bool:
        """Whether a command has not ended yet."""
        self._ending = [process for process in self._ending if process.poll() is None]
        return bool(self._ending or self._process)

    def wait(self) -> None:
        """Wait for the commands to end, and kill those that do not within END_AFTER seconds."""
        until = time.monotonic() + END_AFTER
        for process in self._ending:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._ending = []


class DatagramOutlet(Outlet):
    """Sends datagrams to a socket in the file system, whoever is listening there now."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._socket: socket.socket | None = None

    def _write(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self._socket.sendto(data[:DATAGRAM_LIMIT], self.name)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
