# SPDX-License-Identifier: MIT
"""FakeDirectory: an LDAP server on loopback that has some entries, or says that it has not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.stream_server import port_of, stream_server
from tests.unit.client import until

#: Of RFC 4511: a request or a response, by its tag.
BIND, SEARCH, EXTENDED = 0x60, 0x63, 0x77
BOUND, ENTRY, FOUND = 0x61, 0x64, 0x65

NAME = b"uid=user,dc=example,dc=test"
BASE = "ldap_base dc=example,dc=test"


def tlv(tag: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def response(number: int, tag: int, code: int) -> bytes:
    result = b"\x0a\1" + bytes([code]) + b"\4\0\4\0"
    return tlv(0x30, b"\2\1" + bytes([number]) + tlv(tag, result))


def entry(number: int, name: bytes = NAME) -> bytes:
    return tlv(0x30, b"\2\1" + bytes([number]) + tlv(ENTRY, tlv(4, name) + tlv(0x30, b"")))


class FakeDirectory:
    """Has so many entries, and answers searches and binds with these codes."""

    def __init__(self, entries: int, found: int, codes: Sequence[int]) -> None:
        self.entries, self.found, self.codes = entries, found, list(codes)
        self.requests: list[bytes] = []
        self.place = ""
        self.open = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await self._answer(reader, writer)
        finally:
            self.open -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            number, tag = data[4], data[5]
            self.requests.append(data)
            if tag == BIND:
                writer.write(response(number, BOUND, self.codes.pop(0)))
            elif tag == SEARCH:
                writer.write(entry(number) * self.entries + response(number, FOUND, self.found))
            elif tag == EXTENDED:
                writer.write(response(number, 0x78, 2))


@asynccontextmanager
async def directory(
    codes: Sequence[int] = (), *, entries: int = 1, found: int = 0
) -> AsyncIterator[FakeDirectory]:
    fake = FakeDirectory(entries, found, codes)
    async with stream_server(fake.talk) as server:
        fake.place = f"ldap_host 127.0.0.1 ldap_port {port_of(server)} {BASE}"
        yield fake
        # The plugin leaves no connection behind.
        await until(lambda: fake.open == 0)
