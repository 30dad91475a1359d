# SPDX-License-Identifier: MIT
"""What a message costs in each front: messages of 4 KB for a second of CPU time of the server.

    python -m tests.bench.fronts [number of messages]

The server is in this process, on uvloop; a client in another process says what Postfix would, and
waits for answers where Postfix does.  Counted is the CPU time of this process, user and system.
The chain is relay, loop and rcpt_ok: with hooks at connect, RCPT, and for the message, so that all
of it is sent.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sys
import time
from collections.abc import Callable, Sequence

import uvloop

from qpsmtpd.milter import packets
from qpsmtpd.milter.codec import Splitter, encode
from qpsmtpd.milter.negotiation import offer
from qpsmtpd.milter.packets import Continue, Macros, Packet
from qpsmtpd.testing import serve

MESSAGES = 10_000
WARM_UP = 500
#: Messages on one connection, which is how many Postfix's smtpd takes for one client.
CLIENTS = {"many for one client": 1_000_000, "one for each client": 1}
FILES = {
    "me": ["mx.example.test"],
    "plugins": ["relay", "loop", "rcpt_ok", "queue/discard"],
    "rcpthosts": ["example.test"],
    "reverse_lookup": ["no"],
}
FIELDS = [(f"X-Field-{number}".encode(), b" " + b"value " * 5) for number in range(10)]
FIELDS += [(b"Subject", b" test"), (b"From", b" a@client.example"), (b"To", b" user@example.test")]
BODY = b"A line of the message, of 64 characters, as most messages have.\r\n" * 55


def _macros(kind: type[Packet], **values: str) -> Packet:
    pairs = ((f"{{{name}}}".encode(), value.encode()) for name, value in values.items())
    return Macros(kind.letter, tuple(pairs))


def _octets(*several: Packet) -> bytes:
    return b"".join(map(encode, several))


_FACTS = {"client_name": "client.example", "client_ptr": "client.example", "daemon_port": "25"}
_BEGIN = (
    _octets(offer()),
    _octets(
        _macros(packets.Connect, **_FACTS),
        packets.Connect(b"client.example", b"4", 40000, b"192.0.2.9"),
    ),
    _octets(packets.Helo(b"client.example")),
)
_MESSAGE = (
    _octets(packets.Mail((b"<a@client.example>", b"SIZE=4096"))),
    _octets(packets.Rcpt((b"<user@example.test>",))),
    _octets(
        *(packets.Header(name, value) for name, value in FIELDS),
        packets.EndOfHeaders(),
        packets.Body(BODY),
        _macros(packets.EndOfMessage, i="4XYZ"),
        packets.EndOfMessage(),
    ),
)
_TEXT = b"".join(b"%b:%b\r\n" % field for field in FIELDS) + b"\r\n" + BODY + b".\r\n"
_SMTP = (
    b"MAIL FROM:<a@client.example> SIZE=4096\r\n",
    b"RCPT TO:<user@example.test>\r\n",
    b"DATA\r\n",
    _TEXT,
)
_POLICY = "\n".join(
    (
        "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP",
        "client_address=192.0.2.9\nclient_name=client.example\nreverse_client_name=client.example",
        "helo_name=client.example\nsender=a@client.example\nrecipient=user@example.test",
        "recipient_count=0\nqueue_id=\nsize=4096\nclient_port=40000\nserver_port=25\ninstance={}\n\n",
    )
)


class Peer:
    """A mail system's end of a connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, octets: bytes, complete: Callable[[bytes], bool]) -> None:
        """Send, and wait for a complete answer."""
        self.socket.sendall(octets)
        answer = b""
        while not complete(answer):
            answer += self.socket.recv(65536)


def _answered(answer: bytes) -> bool:
    """Whether the last packet ends the answer to a command."""
    splitter, last = Splitter(), b""
    splitter.feed(answer)
    while (found := splitter.next()) is not None:
        last = found[0]
    return last in (Continue.letter, packets.Negotiate.letter)


def speak_milter(port: int, messages: int, for_one: int) -> None:
    """Send messages as Postfix tells a milter of them."""
    while messages > 0:
        peer = Peer(port)
        for step in _BEGIN:
            peer.exchange(step, _answered)
        for _ in range(min(messages, for_one)):
            for step in _MESSAGE:
                peer.exchange(step, _answered)
        messages -= for_one
        peer.socket.sendall(encode(packets.Quit()))
        peer.socket.close()


def speak_smtp(port: int, messages: int, for_one: int) -> None:
    """Send messages by SMTP."""
    while messages > 0:
        peer = Peer(port)
        peer.exchange(b"", lambda answer: answer.endswith(b"\r\n"))
        peer.exchange(b"EHLO client.example\r\n", lambda answer: b"250 " in answer)
        for _ in range(min(messages, for_one)):
            for step in _SMTP:
                peer.exchange(step, lambda answer: answer.endswith(b"\r\n"))
        messages -= for_one
        peer.socket.close()


def speak_policy(port: int, messages: int, for_one: int) -> None:
    """Ask about a recipient of each message; Postfix keeps the connection."""
    peer = Peer(port)
    for number in range(messages):
        client = f"{_POLICY}".replace(
            "client_port=40000", f"client_port={number // for_one % 60000}"
        )
        peer.exchange(client.format(number).encode(), lambda answer: answer.endswith(b"\n\n"))
    peer.socket.close()


SPEAKERS = {"smtp": speak_smtp, "milter": speak_milter, "policy": speak_policy}


async def measure(front: str, messages: int, for_one: int) -> float:
    """CPU seconds of the server for a message."""
    async with serve(FILES) as serving:
        port = serving.fronts.get(front, serving.port)
        for count in (WARM_UP, messages):
            client = multiprocessing.Process(target=SPEAKERS[front], args=(port, count, for_one))
            begun = time.process_time()
            client.start()
            await asyncio.to_thread(client.join)
            cost = time.process_time() - begun
            assert client.exitcode == 0
    return cost / messages


def main(arguments: Sequence[str]) -> None:
    """Measure all fronts, and print what they cost."""
    messages = int(arguments[0]) if arguments else MESSAGES
    multiprocessing.set_start_method("spawn")
    for title, for_one in CLIENTS.items():
        for front in SPEAKERS:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                cost = runner.run(measure(front, messages, for_one))
            print(
                f"{front:7} {title:20} {1 / cost:7.0f} a second, {cost * 1e6:5.0f} us", flush=True
            )


if __name__ == "__main__":
    main(sys.argv[1:])
