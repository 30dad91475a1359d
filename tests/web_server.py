# SPDX-License-Identifier: MIT
"""WebServer: files by HTTP, or HTTPS with a certificate for localhost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from tests.ports import refusing_port
from tests.stream_server import port_of, stream_server

PAGE = "HTTP/1.1 {}\r\nContent-Length: {}\r\n\r\n"


@dataclass
class WebServer:
    """`files` by their paths; `asked` is what it was asked, with the fields Host.

    instead: octets that it says to everything, if there are any; silent: it says nothing.
    """

    files: dict[str, bytes]
    url: str = ""
    instead: bytes = b""
    silent: bool = False
    asked: list[str] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        self.asked.append(path)
        if self.silent:
            await reader.read()
        writer.write(self.instead or self._answer(path))
        await writer.drain()

    def _answer(self, path: str) -> bytes:
        if path not in self.files:
            return PAGE.format("404 Not Found", 0).encode()
        content = self.files[path]
        return PAGE.format("200 OK", len(content)).encode() + content


@asynccontextmanager
async def web_server(
    files: Mapping[str, bytes], context: ssl.SSLContext | None = None, host: str = "localhost"
) -> AsyncIterator[WebServer]:
    """A server on loopback until the end of the block; with a context, of HTTPS."""
    fake = WebServer(dict(files))
    async with stream_server(fake.talk, ssl=context) as server:
        scheme = "https" if context else "http"
        fake.url = f"{scheme}://{host}:{port_of(server)}/"
        yield fake


@contextmanager
def dead_web_server() -> Iterator[WebServer]:
    """One that has ended: where it listened, connections are refused."""
    with refusing_port() as port:
        yield WebServer({}, f"http://localhost:{port}/")
