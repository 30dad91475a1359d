# SPDX-License-Identifier: MIT
"""An SMTP server that takes every message and remembers how it came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

from tests.conformance.dialogue import Noted, printable_text
from tests.stream_server import port_of, stream_server

_REPLIES = {"DATA": b"354 Go ahead\r\n", "QUIT": b"221 Bye\r\n"}


class NextHop:
    """A server on a free port of 127.0.0.1, without any extension."""

    def __init__(self) -> None:
        self._noted: Noted = []

    async def __aenter__(self) -> Self:
        self._server = stream_server(self._talk)
        self._port = port_of(await self._server.__aenter__())
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._server.__aexit__(*error)

    @property
    def values(self) -> Mapping[str, str]:
        """The placeholder for its port."""
        return {"@PORT@": str(self._port)}

    def take(self) -> Noted:
        """What came since the last time."""
        noted, self._noted = self._noted, []
        return [
            (f"next hop {number}: {part}", value) for number, (part, value) in enumerate(noted, 1)
        ]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 next.example ESMTP\r\n")
        while True:
            line = (await reader.readuntil(b"\n")).decode("latin-1").strip()
            verb = line[:4].upper()
            if verb in ("MAIL", "RCPT"):
                self._noted.append((verb, line))
            writer.write(_REPLIES.get(verb, b"250 OK\r\n"))
            if verb == "DATA":
                self._noted.append(("message", _own_part(await reader.readuntil(b"\r\n.\r\n"))))
                writer.write(b"250 Queued as 4711\r\n")
            if verb == "QUIT":
                return


def _own_part(data: bytes) -> str:
    """The message from its Subject on: what is above was added on the way."""
    return printable_text(data[data.find(b"Subject:") :])
