# SPDX-License-Identifier: MIT
"""FakeMilter: a milter on a unix socket that behaves, and misbehaves, as told.

    async with FakeMilter({EndOfMessage: [AddHeader(b"X", b"1"), Accept()]}) as milter:
        ... milter.place, milter.heard

What it says to a command is a packet, or several; raw octets; DROP, to close the connection; or
SILENT, to say nothing and read nothing any more.  `turns` makes it something else each time, the
last of them for ever.  What is not given is "continue".
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from qpsmtpd.milter.codec import Splitter, encode, read_command
from qpsmtpd.milter.negotiation import TELLING
from qpsmtpd.milter.packets import (
    Continue,
    Macros,
    Negotiate,
    Packet,
    Quit,
)
from tests.stream_server import stream_server

DROP = "drop"
SILENT = "silent"

Says = Packet | bytes | str | Sequence["Packet | bytes | str"]

ALL_ACTIONS = 0x1FF


class Turns:
    """Something else each time."""

    def __init__(self, *says: Says) -> None:
        self._says = list(says)

    def next(self) -> Says:
        return self._says.pop(0) if len(self._says) > 1 else self._says[0]


class FakeMilter:
    """Talks to any number of connections; remembers what it heard, without the macros."""

    def __init__(
        self,
        says: Mapping[type[Packet], Says | Turns] | None = None,
        *,
        steps: int = 0,
        version: int = 6,
        actions: int = ALL_ACTIONS,
        macros: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        self.says = dict(says or {})
        self.heard: list[Packet] = []
        self.macros: dict[bytes, dict[bytes, bytes]] = {}
        self.offered: Negotiate | None = None
        self.connections = 0
        self.ended = asyncio.Event()
        self._answer = Negotiate(version, actions, steps, tuple(macros))
        self._steps = steps
        self._stack = contextlib.AsyncExitStack()
        self.path = Path()

    @property
    def place(self) -> str:
        """What an option says of it."""
        return f"unix:{self.path}"

    def kinds(self) -> list[str]:
        """What it heard, by name."""
        return [type(packet).__name__ for packet in self.heard]

    async def __aenter__(self) -> Self:
        directory = tempfile.TemporaryDirectory(prefix="qpsmtpd-milter-")
        self._stack.callback(directory.cleanup)
        self.path = Path(directory.name, "milter.sock")
        await self.start()
        return self

    async def start(self) -> None:
        """Listen (again)."""
        self._running = contextlib.AsyncExitStack()
        await self._running.enter_async_context(stream_server(self._talk, self.path))

    async def stop(self) -> None:
        """It is gone, with all connections; `start` may follow."""
        await self._running.aclose()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        await self._stack.aclose()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio would log that it was cancelled.
        with contextlib.suppress(asyncio.CancelledError):
            await self._listen(reader, writer)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        splitter = Splitter()
        while data := await reader.read(65536):
            splitter.feed(data)
            while (packet := splitter.next()) is not None:
                if not await self._hear(read_command(*packet), writer):
                    return
        self.ended.set()

    async def _hear(self, command: Packet, writer: asyncio.StreamWriter) -> bool:
        """Answer a command; False closes the connection."""
        if isinstance(command, Macros):
            self.macros[command.command] = dict(command.values)
            return True
        if isinstance(command, Negotiate):
            self.offered = command
        else:
            self.heard.append(command)
        if isinstance(command, Quit):
            self.ended.set()
            return False
        says = self.says.get(type(command), self._usual(command))
        says = says.next() if isinstance(says, Turns) else says
        for each in [says] if isinstance(says, (Packet, bytes, str)) else says:
            if each == DROP:
                return False
            if each == SILENT:
                await asyncio.Event().wait()
            writer.write(encode(each) if isinstance(each, Packet) else bytes(each))  # type: ignore[arg-type]
        await writer.drain()
        return True

    def _usual(self, command: Packet) -> Says:
        if isinstance(command, Negotiate):
            return self._answer
        telling = TELLING.get(type(command))
        if telling is None or telling.mute & self._steps:
            return ()
        return Continue()
