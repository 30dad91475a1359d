# SPDX-License-Identifier: MIT
"""FakeMySql: a server with the greeting of MariaDB that then says what it is told to.

    with fake_mysql(packet(2, OK), rows({"a": "1"})) as server:
        ... server.place, server.said

It says each answer when the client has said something.  With a context it has TLS; `claims_tls`
says so as well, and is a lie.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.unit.scanners.fake import DROP, RESET, SILENT, Answer, Endless

OK = b"\0\0\0\2\0\0\0"
_EOF = b"\xfe\0\0\2\0"

#: LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH.
_CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000
_SSL = 0x800

SALT = b"12345678", b"123456789012"


def packet(number: int, payload: bytes) -> bytes:
    """A payload with its header; `number` counts the packets of one exchange."""
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


def greeting(*, tls: bool = False, plugin: bytes = b"mysql_native_password") -> bytes:
    """The first packet of a server."""
    capabilities = _CAPABILITIES | (_SSL if tls else 0)
    low, high = capabilities & 0xFFFF, capabilities >> 16
    numbers = struct.pack("<HBHHB", low, 45, 2, high, 21) + bytes(10)
    head = b"\x0a5.5.5-10.11.6-MariaDB\0" + struct.pack("<I", 7) + SALT[0] + b"\0"
    return packet(0, head + numbers + SALT[1] + b"\0" + plugin + b"\0")


def switch(number: int, plugin: bytes) -> bytes:
    """The packet that asks for another authentication plugin."""
    return packet(number, b"\xfe" + plugin + b"\0" + SALT[0] + SALT[1] + b"\0")


def failure(number: int, code: int, text: bytes = b"no") -> bytes:
    """An error."""
    return packet(number, b"\xff" + struct.pack("<H", code) + b"#42000" + text)


def rows(*values: Mapping[str, bytes | str | None], kind: int = 0xFD) -> bytes:
    """A result; all columns have this type, which is VARCHAR."""
    names = list(values[0]) if values else ["a"]
    packets = [bytes([len(names)])]
    packets += [_column(name.encode(), kind) for name in names]
    packets.append(_EOF)
    packets += [b"".join(map(_text, row.values())) for row in values]
    packets.append(_EOF)
    return b"".join(packet(n, payload) for n, payload in enumerate(packets, 1))


def _column(name: bytes, kind: int) -> bytes:
    texts = map(_text, (b"def", b"d", b"t", b"t", name, name))
    charset = 63 if kind == 0x10 else 45
    return b"".join(texts) + b"\x0c" + struct.pack("<HIBHB", charset, 255, kind, 0, 0) + b"\0\0"


def _text(text: bytes | str | None) -> bytes:
    if text is None:
        return b"\xfb"
    octets = text.encode() if isinstance(text, str) else text
    return bytes([len(octets)]) + octets


@dataclass
class FakeMySql:
    """`said` are the packets of clients, as they have come, `place` is where it listens.

    `heard` counts them.

    It has a thread for each client, as TLS begins in the middle of a connection, which asyncio's
    streams of Python 3.11 cannot do: they may have read what belongs to it.
    """

    answers: Sequence[Answer]
    context: ssl.SSLContext | None
    claims_tls: bool
    plugin: bytes
    said: list[bytes] = field(default_factory=list)
    heard: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    left: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._wires: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        """End all threads."""
        for each in (self._listening, *self._wires):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        with self._listening, suppress(OSError):
            while True:
                wire, _ = self._listening.accept()
                self._wires.append(wire.dup())
                self._threads.append(threading.Thread(target=self._talk, args=[wire]))
                self._threads[-1].start()

    def _talk(self, wire: socket.socket) -> None:
        with self._wires[-1], wire, suppress(OSError):
            tls = self.claims_tls or self.context is not None
            wire.sendall(greeting(tls=tls, plugin=self.plugin))
            if self.context is None:
                self._answer(wire)
            elif self._listen(wire, 36):
                with self.context.wrap_socket(wire, server_side=True) as secured:
                    self._answer(secured)
        self.left.set()

    def _answer(self, wire: socket.socket) -> None:
        for answer in self.answers:
            if not self._listen(wire) or answer == DROP:
                return
            if answer == RESET:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            while isinstance(answer, Endless):
                wire.sendall(answer.octets)
            if isinstance(answer, bytes):
                wire.sendall(answer)
        while SILENT in self.answers and self._listen(wire):
            pass

    def _listen(self, wire: socket.socket, most: int = 65536) -> bool:
        octets = wire.recv(most)
        while octets[4:].startswith(b"\x03SET NAMES"):  # by the library of Debian 13
            wire.sendall(packet(1, OK))
            octets = wire.recv(most)
        if octets:
            self.said.append(octets)
            self.heard.release()
        return bool(octets)


@contextmanager
def fake_mysql(
    *answers: Answer,
    context: ssl.SSLContext | None = None,
    claims_tls: bool = False,
    plugin: bytes = b"mysql_native_password",
) -> Iterator[FakeMySql]:
    """A server that is there until the end of the block."""
    fake = FakeMySql(answers, context, claims_tls, plugin)
    try:
        yield fake
    finally:
        fake.close()
