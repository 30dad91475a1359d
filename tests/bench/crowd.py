# SPDX-License-Identifier: MIT
"""Many clients at once, each from an address of its own, in a process of their own.

    python -m tests.bench.crowd PORT CLIENTS AT_ONCE FIRST ERRAND

prints what they saw as JSON; ERRAND is JSON as well, and the message comes on standard input.  No
event loop: thousands of clients must not take longer to come than the server takes to greet them.
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

from tests.bench.addresses import NAMELESS, STRANGERS, source_address
from tests.bench.client import (
    EHLO,
    PATIENCE,
    RECIPIENT,
    SENDER,
    RefusedError,
    a_message,
    is_complete,
    mail_from,
    rcpt_to,
)
from tests.bench.signed import signed_message


@dataclass(frozen=True)
class Errand:
    """What each client comes for.

    size: bytes of its message.  network: where it comes from, see addresses.py.
    sender: # in it stands for the client's number.
    addresses: how many the clients have together; they come from them in turns.
    signatures: how many are on its message, which is that of signed.py if there are any.
    refused: whether it is to be refused, when it names the recipient or earlier.
    """

    size: int
    network: str = NAMELESS
    addresses: int = STRANGERS
    sender: str = SENDER
    recipient: str = RECIPIENT
    signatures: int = 0
    refused: bool = False

    def message(self) -> bytes:
        """Its message, with the final dot."""
        if self.signatures:
            return signed_message(self.size, self.signatures)
        return a_message(self.size)


@dataclass(frozen=True)
class Crowd:
    """What the clients saw, in seconds since each began to connect, and what went wrong.

    finished: how long those took whose message was taken, or that were refused as they are to be.
    refusals: the replies, or errors, that the others got.
    """

    greeted: list[float]
    finished: list[float]
    refusals: list[str]
    seconds: float


async def send_crowd(port: int, clients: int, at_once: int, first: int, errand: Errand) -> Crowd:
    """Send so many clients, at most `at_once` of them at a time, from another process.

    first: the number of the first client; its address depends on it.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.crowd"),
        *map(str, (port, clients, at_once, first)),
        json.dumps(asdict(errand)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate(errand.message())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RefusedError("the clients broke down")
    return Crowd(**json.loads(output))


class _Visitor:
    """One client, at one step of its visit."""

    def __init__(self, number: int, source: str, port: int) -> None:
        self.number = number
        self.started = time.perf_counter()
        self.step = 0
        self.reply = b""
        self.unsent = memoryview(b"")
        self.waits_to_send = False
        self.socket = socket.socket()
        self.socket.setblocking(False)
        # The port is chosen at connect, of those free for this address.
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        self.socket.bind((source, 0))
        self.socket.connect_ex(("127.0.0.1", port))


_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); Python has no name for it
_GREETED, _SAID_HELLO = 0, 1  # steps
_QUIT = b"QUIT\r\n"


class _Crowd:
    def __init__(self, port: int, errand: Errand, message: bytes) -> None:
        self.seen = Crowd([], [], [], 0)
        self._errand = errand
        #: What is expected, and said then.
        self._steps = _steps(errand, message)
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
            for descriptor, event in events:
                if not self._served(self._present[descriptor], event):
                    self._present.pop(descriptor).socket.close()
                    self._enter(coming)

    def _enter(self, coming: Iterator[int]) -> None:
        number = next(coming, None)
        if number is not None:
            source = source_address(number % self._errand.addresses, self._errand.network)
            visitor = _Visitor(number, source, self._port)
            self._present[visitor.socket.fileno()] = visitor
            self._poll.register(visitor.socket, select.EPOLLIN)

    def _served(self, visitor: _Visitor, event: int) -> bool:
        """Read, and say what is next; whether the visit goes on."""
        try:
            if event == select.EPOLLOUT:
                return self._send(visitor)
            data = visitor.socket.recv(4096)
            visitor.reply += data
            if data and not is_complete(visitor.reply):
                return True
            return self._goes_on(visitor, visitor.reply)
        except OSError as error:
            if visitor.step < len(self._steps):
                self.seen.refusals.append(str(error))
            return False

    def _goes_on(self, visitor: _Visitor, reply: bytes) -> bool:
        if visitor.step == len(self._steps):
            return False  # it was the reply to QUIT
        expected, words = self._steps[visitor.step]
        if self._errand.refused and reply.startswith(b"5"):
            visitor.step, words = len(self._steps) - 1, _QUIT
        elif not reply.startswith(expected):
            self.seen.refusals.append(reply.decode("ascii", "replace") or "connection closed")
            return False
        elif visitor.step == _SAID_HELLO:
            words = words.replace(b"#", b"%d" % visitor.number)
        if visitor.step == _GREETED:
            self.seen.greeted.append(time.perf_counter() - visitor.started)
        elif words is _QUIT:
            self.seen.finished.append(time.perf_counter() - visitor.started)
        visitor.step += 1
        visitor.reply = b""
        visitor.unsent = memoryview(words)
        return self._send(visitor)

    def _send(self, visitor: _Visitor) -> bool:
        """Send what the socket takes, and the rest as soon as it takes more."""
        had_to_wait = visitor.waits_to_send
        visitor.unsent = visitor.unsent[visitor.socket.send(visitor.unsent) :]
        visitor.waits_to_send = bool(visitor.unsent)
        if had_to_wait != visitor.waits_to_send:
            more = select.EPOLLOUT if visitor.waits_to_send else 0
            self._poll.modify(visitor.socket, select.EPOLLIN | more)
        return True


def _steps(errand: Errand, message: bytes) -> list[tuple[bytes, bytes]]:
    """The replies that a client expects, each with what it says then."""
    mail, rcpt = mail_from(errand.sender), rcpt_to(errand.recipient)
    if errand.refused:
        return [(b"220", EHLO), (b"250", mail), (b"250", rcpt), (b"5", _QUIT)]
    transfer = [(b"250", b"DATA\r\n"), (b"354", message), (b"250", _QUIT)]
    return [(b"220", EHLO), (b"250", mail), (b"250", rcpt), *transfer]


def come(
    port: int, clients: int, at_once: int, first: int, errand: Errand, message: bytes
) -> Crowd:
    """Be that crowd."""
    crowd = _Crowd(port, errand, message)
    started = time.perf_counter()
    crowd.come(range(first, first + clients), at_once)
    seen = crowd.seen
    seconds = time.perf_counter() - started
    return Crowd(seen.greeted, seen.finished, seen.refusals, seconds)


if __name__ == "__main__":
    port, clients, at_once, first = map(int, sys.argv[1:5])
    errand = Errand(**json.loads(sys.argv[5]))
    message = sys.stdin.buffer.read()
    json.dump(asdict(come(port, clients, at_once, first, errand, message)), sys.stdout)
