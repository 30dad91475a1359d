# SPDX-License-Identifier: MIT
"""An SMTP client for tests, and a plugin that catches what is delivered."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import pytest

from qpsmtpd.smtp.protocol import SmtpProtocol
from qpsmtpd.testing import Serving

#: Seconds after which a test has failed.
PATIENCE = 60.0

ENVELOPE = ("EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<user@example.test>")
PIPELINED = "".join(f"{line}\r\n" for line in (*ENVELOPE, "DATA")).encode()

#: It waits at its gate, which is open unless a test closes it.
CATCHER = """
import asyncio

from qpsmtpd.api import NoOptions, Plugin, accept


class Catcher(Plugin[NoOptions]):
    async def start(self):
        self.clients = []
        self.messages = []
        self.stopped = asyncio.Event()
        self.waits = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def stop(self):
        self.stopped.set()

    async def hook_connect(self, session):
        self.clients.append(session.client)

    async def hook_mail(self, tx, sender):
        if tx.sender.startswith("fault@"):
            raise RuntimeError("a secret of the plugin")

    async def hook_rcpt(self, tx, recipient):
        return accept()

    async def hook_queue(self, tx):
        self.waits.set()
        await self.gate.wait()
        self.messages.append(await tx.message.read(1 << 30))
        return accept("Caught")
"""


def catching(directory: Path, *plugins: str) -> dict[str, list[str]]:
    """Configuration files that deliver into the plugin `catcher`."""
    (directory / "catcher.py").write_text(CATCHER)
    return {
        "plugin_dirs": [str(directory)],
        "plugins": [*plugins, "catcher"],
        # Tests send several commands in one piece, for brevity.
        "forbid_unauth_pipelining": ["0"],
    }


def catcher(serving: Serving) -> Any:
    """The plugin `catcher` of a server."""
    return serving.server.snapshot.chain.plugins[-1].plugin


def wire_of(serving: Serving) -> SmtpProtocol:
    """The server's end of the only connection."""
    (wire,) = serving.server._protocols
    return wire


class Client:
    """A client.  Commands are sent with CRLF, replies come without."""

    _all: ClassVar[WeakSet[Client]] = WeakSet()

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._loop = asyncio.get_running_loop()
        self._all.add(self)

    @classmethod
    async def connect(cls, host: str | None, port: int | None, **more: Any) -> Client:
        return cls(*await asyncio.open_connection(host, port, **more))

    @classmethod
    async def of(cls, serving: Serving) -> Client:
        """A client that has read the greeting."""
        return await (await cls.connect(serving.host, serving.port)).greeted()

    async def reply(self) -> str:
        """The next reply, its lines joined with a line feed; "" when the server has closed."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            line = (await self.reader.readline()).decode("ascii")
            if not line:
                return ""
            assert line.endswith("\r\n")
            lines.append(line[:-2])
        return "\n".join(lines)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def command(self, line: str) -> str:
        self.send(f"{line}\r\n".encode())
        return await self.reply()

    async def commands(self, *lines: str) -> list[int]:
        """Send commands one by one; the codes of the replies."""
        return [int((await self.command(line))[:3]) for line in lines]

    async def greeted(self) -> Client:
        """Read the greeting, and expect it to be one."""
        greeting = await self.reply()
        assert greeting.startswith("220 "), greeting
        return self

    async def to_data(self) -> Client:
        """From the greeting up to the 354."""
        await self.greeted()
        assert await self.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
        return self

    async def deliver(self, text: bytes = b"Subject: x\r\n\r\nHello.\r\n") -> str:
        self.send(text + b".\r\n")
        return await self.reply()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        assert await self.command("STARTTLS") == "220 2.0.0 Ready to start TLS"
        await self.writer.start_tls(context, server_hostname="mx.example")

    def reset(self) -> None:
        """Leave with a RST."""
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    @classmethod
    async def all_leave(cls) -> None:
        """Close what a test that failed has left open, or later tests would be blamed for it."""
        for client in list(cls._all):
            if client._loop is asyncio.get_running_loop():
                client.writer.transport.abort()
        await asyncio.sleep(0)

    async def closed(self) -> bool:
        """Wait until the server has closed, having said nothing more."""
        return await self.reader.read() == b""


def uvloop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes an event loop of uvloop's; without uvloop the test is skipped."""
    how = "needs uvloop (pip install uvloop, or apt install python3-uvloop)"
    uvloop = pytest.importorskip("uvloop", reason=how)
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Any]:
    """Run an async test on asyncio's event loop and on uvloop's."""

    @pytest.mark.parametrize("loop_name", ["asyncio", "uvloop"])
    @functools.wraps(test)
    def run(loop_name: str, **arguments: Any) -> None:
        factory = uvloop_factory() if loop_name == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_in_time(test(**arguments)))

    # What pytest takes the parameters from.
    run.__signature__ = _with_loop_name(test)
    parametrized: Callable[..., Any] = run
    return parametrized


def _with_loop_name(test: Callable[..., Any]) -> Any:
    signature = inspect.signature(test)
    name = inspect.Parameter("loop_name", inspect.Parameter.KEYWORD_ONLY)
    return signature.replace(parameters=[*signature.parameters.values(), name])


async def _in_time(test: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await test
    finally:
        await Client.all_leave()


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Let the event loop turn until this is so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0)
