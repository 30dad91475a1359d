# SPDX-License-Identifier: MIT
"""The least that Python can do: an asyncio protocol on uvloop that answers SMTP unchecked.

It bounds nothing, looks at nothing and keeps nothing; it shows what the bytes alone cost.

    python uvloop_server.py PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

END_OF_DATA = b"\r\n.\r\n"
REPLIES = {
    b"EHLO": b"250-mx.example.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    b"DATA": b"354 Go ahead\r\n",
    b"QUIT": b"221 Bye\r\n",
}


class Bare(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of it: uvloop's transports are not derived from asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._tail = b""  # of a line, or of the message
        self._in_data = False
        self._transport.write(b"220 mx.example.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        if self._in_data:
            data = self._message(data)
        if data:
            self._commands(data)

    def _message(self, data: bytes) -> bytes:
        """What follows the end of the message; nothing while that has not come."""
        data = self._tail + data
        at = data.find(END_OF_DATA)
        if at < 0:
            self._tail = data[1 - len(END_OF_DATA) :]
            return b""
        self._in_data, self._tail = False, b""
        self._transport.write(b"250 Discarded\r\n")
        return data[at + len(END_OF_DATA) :]

    def _commands(self, data: bytes) -> None:
        data = self._tail + data
        while (at := data.find(b"\n")) >= 0:
            command, data = data[:4].upper(), data[at + 1 :]
            self._transport.write(REPLIES.get(command, b"250 OK\r\n"))
            if command == b"QUIT":
                self._transport.close()
                return
            if command == b"DATA":
                self._in_data, self._tail = True, b"\r\n"
                data = self._message(data)
        self._tail = data if not self._in_data else self._tail


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
