# SPDX-License-Identifier: MIT
"""What stands in for a connection does what aiosmtpd's code needs of it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

import pytest

from qpsmtpd.handlers.standins import AskedClient, ClosableTransport, PushedLines, proxy_data


async def test_the_writer_keeps_lines_without_their_ends() -> None:
    lines: list[bytes] = []
    writer = PushedLines(lines)
    writer.write(b"250 OK\r\n")
    await writer.drain()
    assert lines == [b"250 OK"]


async def test_the_reader_tells_that_somebody_waits() -> None:
    client = AskedClient()
    client.may_be_asked = True
    reading = asyncio.create_task(client.readline())
    await client.waited_for()
    client.say(b"line\r\n")
    assert await reading == b"line\r\n"
    waiting = asyncio.create_task(client.waited_for())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_the_reader_is_for_auth_only() -> None:
    with pytest.raises(NotImplementedError, match="only AUTH can ask the client"):
        await AskedClient().readline()


@pytest.mark.parametrize("name", ["read", "readuntil", "readexactly", "at_eof"])
def test_the_reader_reads_lines_only(name: str) -> None:
    with pytest.raises(AttributeError, match=f"the reader has no {name} in qpsmtpd"):
        getattr(AskedClient(), name)


def test_the_transport() -> None:
    transport = ClosableTransport()
    transport.info = {"peername": ("192.0.2.1", 1)}
    assert transport.get_extra_info("peername") == ("192.0.2.1", 1)
    assert transport.get_extra_info("socket") is None
    assert not transport.is_closing()
    transport.abort()
    assert transport.is_closing()
    with pytest.raises(AttributeError, match=r"transport\.write: the connection belongs to"):
        transport.write(b"")


@pytest.mark.parametrize(
    ("client", "local"),
    [
        (("192.0.2.1", 4000), ("198.51.100.25", 25)),
        (("2001:db8::1", 4000, 0, 0), ("2001:db8::25", 25, 0, 0)),
    ],
)
async def test_proxy_data(client: Any, local: Any) -> None:
    data = await proxy_data(client, local)
    assert data.valid
    assert (data.version, data.src_addr, data.src_port) == (1, ip_address(client[0]), 4000)
    assert (data.dst_addr, data.dst_port) == (ip_address(local[0]), 25)
    assert data.whole_raw.startswith(b"PROXY TCP")
