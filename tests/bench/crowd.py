# SPDX-License-Identifier: MIT
"""Many clients at once, each from an address of its own, in a process of their own.

    python -m tests.bench.crowd PORT CLIENTS AT_ONCE SIZE FIRST

prints what they saw as JSON.  No event loop: thousands of clients must not take longer to come
than the server takes to greet them.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from tests.bench.client import EHLO, MAIL, PATIENCE, RCPT, RefusedError, a_message, is_complete


@dataclass(frozen=True)
class Crowd:
    """What the clients saw, in seconds since each began to connect, and how they were refused."""

    greeted: list[float]
    finished: list[float]
    refusals: list[str]
    seconds: float


async def send_crowd(port: int, clients: int, at_once: int, size: int, first: int) -> Crowd:
    """Send so many clients, at most `at_once` of them at a time, from another process.

    size: bytes of the message that each has.  first: the number of the first client; its address
    depends on it.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.crowd"),
        *map(str, (port, clients, at_once, size, first)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RefusedError("the clients broke down")
    return Crowd(**json.loads(output))


def source_address(number: int) -> str:
    """An address of the loopback network; the first million are different."""
    return f"127.{1 + number // 62500 % 250}.{1 + number // 250 % 250}.{1 + number % 250}"


class _Visitor:
    """One client, at one step of its visit."""

    def __init__(self, number: int, port: int) -> None:
        self.started = time.perf_counter()
        self.step = 0
        self.reply = b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        # The port is chosen at connect, of those free for this address.
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        self.socket.bind((source_address(number), 0))
        self.socket.connect_ex(("127.0.0.1", port))


_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); Python has no name for it
_GREETED, _FINISHED = 0, 5  # steps


class _Crowd:
    def __init__(self, port: int, size: int) -> None:
        self.seen = Crowd([], [], [], 0)
        #: What is expected, and said then.
        self._steps = (
            (b"220", EHLO),
            (b"250", MAIL),
            (b"250", RCPT),
            (b"250", b"DATA\r\n"),
            (b"354", a_message(size)),
            (b"250", b"QUIT\r\n"),
        )
        self._port = port
        self._poll = select.epoll()
        self._present: dict[int, _Visitor] = {}

    def come(self, numbers: range, at_once: int) -> None:
        """Let them all visit."""
        coming = iter(numbers)
        for _ in range(at_once):
            self._enter(coming)
        while self._present:
            events = self._poll.poll(PATIENCE)
            if not events:
                self.seen.refusals.extend("no reply" for _ in self._present)
                return
            for descriptor, _ in events:
                if not self._served(self._present[descriptor]):
                    self._present.pop(descriptor).socket.close()
                    self._enter(coming)

    def _enter(self, coming: Iterator[int]) -> None:
        number = next(coming, None)
        if number is not None:
            visitor = _Visitor(number, self._port)
            self._present[visitor.socket.fileno()] = visitor
            self._poll.register(visitor.socket, select.EPOLLIN)

    def _served(self, visitor: _Visitor) -> bool:
        """Read, and say what is next; whether the visit goes on."""
        try:
            data = visitor.socket.recv(4096)
            visitor.reply += data
            if data and not is_complete(visitor.reply):
                return True
            return self._goes_on(visitor, visitor.reply)
        except OSError as error:
            self.seen.refusals.append(str(error))
            return False

    def _goes_on(self, visitor: _Visitor, reply: bytes) -> bool:
        if visitor.step == len(self._steps):
            return False  # it was the reply to QUIT
        expected, words = self._steps[visitor.step]
        if not reply.startswith(expected):
            self.seen.refusals.append(reply.decode("ascii", "replace") or "connection closed")
            return False
        if visitor.step == _GREETED:
            self.seen.greeted.append(time.perf_counter() - visitor.started)
        elif visitor.step == _FINISHED:
            self.seen.finished.append(time.perf_counter() - visitor.started)
        sent = visitor.socket.send(words)
        assert sent == len(words), "the message is larger than the socket's buffer"
        visitor.step += 1
        visitor.reply = b""
        return True


def come(port: int, clients: int, at_once: int, size: int, first: int) -> Crowd:
    """Be that crowd."""
    crowd = _Crowd(port, size)
    started = time.perf_counter()
    crowd.come(range(first, first + clients), at_once)
    seen = crowd.seen
    seconds = time.perf_counter() - started
    return Crowd(seen.greeted, seen.finished, seen.refusals, seconds)


if __name__ == "__main__":
    json.dump(asdict(come(*map(int, sys.argv[1:]))), sys.stdout)
