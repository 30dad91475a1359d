# SPDX-License-Identifier: MIT
"""A store that says what no store should say: good mail is taken or put off, and never refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from qpsmtpd.testing import serve
from tests.integration.test_dmarc_reports import DNS, OPTIONS, message
from tests.stream_server import port_of, stream_server
from tests.unit.client import Client, catching

#: All that ask the store about every message.
CHAIN = (
    *("sender_permitted_from", "dkim", f"dmarc reject 1 {OPTIONS} 127.0.0.1:1"),
    *("karma reject 1", "greylisting", "rate_limit messages_per_client 100/1d"),
)
MESSAGES = 4

#: A client on this machine is trusted, and hardly anything is asked about it.
CLIENT = "192.0.2.77"
PROXIED = {"proxy_networks": ["127.0.0.1"]}
FAR_DNS = {**DNS, ("A", "client.example"): [CLIENT]}

#: What a server, or whoever answers in its place, says to every script.  (A number of failed logins
#: that may be true refuses a client, as it should: nobody can tell that it is a lie.)
LIES = {
    "a replica": b"-READONLY You can't write against a read only replica.\r\n",
    "a replica without its master": b"-MASTERDOWN Link with MASTER is down\r\n",
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "moved": b"-MOVED 1 127.0.0.1:1\r\n",
    "ask": b"-ASK 1 127.0.0.1:1\r\n",
    "moved nowhere": b"-MOVED nowhere\r\n",
    "no slot": b"-CLUSTERDOWN Hash slot not served\r\n",
    "try again": b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
    "no permission": b"-NOPERM this user has no permissions to run the 'eval' command\r\n",
    "no password": b"-NOAUTH Authentication required.\r\n",
    "no disk": b"-MISCONF Redis is configured to save RDB snapshots\r\n",
    "no memory": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "busy": b"-BUSY Redis is busy running a script.\r\n",
    "another type": b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    "an error without a text": b"-\r\n",
    "a status": b"+OK\r\n",
    "a number": b":7\r\n",
    "a large number": b":9223372036854775807\r\n",
    "a negative number": b":-9223372036854775808\r\n",
    "nothing": b"$-1\r\n",
    "a text": b"$5\r\nhello\r\n",
    "an empty text": b"$0\r\n\r\n",
    "digits": b"$1\r\n3\r\n",
    "octets": b"$3\r\n\xff\xfe\xfd\r\n",
    "a list": b"*2\r\n$1\r\n0\r\n$1\r\n0\r\n",
    "an empty list": b"*0\r\n",
    "no list": b"*-1\r\n",
    "another protocol": b"220 mx.example ESMTP\r\n",
    "an empty line": b"\r\n",
    "no end": b"$999999999\r\nx",
    "an end": b"",
}


async def _lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lie: bytes) -> None:
    """One connection: says yes until it is asked something."""
    while True:
        words = await _command(reader)
        if words[0] in (b"EVAL", b"DEL"):
            if not lie:
                return
            writer.write(lie)
        elif words[0] == b"HELLO":
            writer.write(b"%1\r\n$5\r\nproto\r\n:" + words[1] + b"\r\n")
        else:
            writer.write(b"+OK\r\n")


async def _command(reader: asyncio.StreamReader) -> Sequence[bytes]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


@asynccontextmanager
async def liar(lie: bytes) -> AsyncIterator[int]:
    """A server that says this; its port."""
    async with stream_server(partial(_lie, lie=lie)) as server:
        yield port_of(server)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_good_mail_is_not_refused(
    lie: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with liar(lie) as port:
        store = [f"redis://127.0.0.1:{port}"]
        configuration = {
            **catching(tmp_path, *CHAIN),
            **PROXIED,
            "store": store,
            "store_timeout": ["0.5"],
        }
        async with serve(configuration, dns=FAR_DNS) as serving:
            codes = [await _sent(serving.host, serving.port) for _ in range(MESSAGES)]
    assert all(code in (250, 450, 451) for code in codes), codes
    assert "Traceback" not in caplog.text


async def from_afar(host: str, port: int) -> Client:
    """A connection of a client elsewhere."""
    client = await Client.connect(host, port)
    client.send(f"PROXY TCP4 {CLIENT} 192.0.2.1 1024 25\r\n".encode())
    return client


async def _sent(host: str, port: int) -> int:
    """The reply that decides about a message."""
    client = await from_afar(host, port)
    try:
        codes = [int((await client.reply())[:3])]
        envelope = ("EHLO client.example", "MAIL FROM:<x@client.example>")
        for line in (*envelope, "RCPT TO:<user@example.test>", "DATA"):
            if codes[-1] >= 400:
                return codes[-1]
            codes.append(int((await client.command(line))[:3]))
        return int((await client.deliver(message("a@client.example")))[:3])
    finally:
        await client.close()
