# SPDX-License-Identifier: MIT
"""Connections that may come from a proxy: what is believed, from whom, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme

from qpsmtpd.config.loader import load
from qpsmtpd.daemon.server import Server
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import Session
from qpsmtpd.plugin import options
from qpsmtpd.smtp import proxyhandshake
from qpsmtpd.testing import FakeResolver, Serving, serve
from tests.unit.client import ENVELOPE, Client, catcher, catching, on_both_loops, until

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("mx.example")
CONTEXT = ssl.create_default_context()
AUTHORITY.configure_trust(CONTEXT)

CLIENT = Endpoint("192.0.2.77", 40000)
CLIENT6 = Endpoint("2001:db8::77", 40000)
VERSION_1 = b"PROXY TCP4 192.0.2.77 198.51.100.25 40000 25\r\n"
VERSION_1_IPV6 = b"PROXY TCP6 2001:db8::77 2001:db8::19 40000 25\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
VERSION_2 = SIGNATURE + bytes.fromhex("2111000c c000024d c6336419 9c400019")
OF_THE_PROXY = SIGNATURE + bytes.fromhex("20000000")
UNSPECIFIED = SIGNATURE + bytes.fromhex("21000000")

UNKNOWN = "421 4.3.5 Client address unknown"


def behind_a_proxy(directory: Path, *plugins: str) -> dict[str, list[str]]:
    """Configuration files of a server whose proxy is in `relayclients`."""
    return catching(directory, "relay", *plugins) | {
        "proxy_networks": ["127.0.0.1", "::1"],
        "relayclients": ["127.0.0.0/8"],
    }


def sessions(serving: Serving) -> list[Session]:
    return [p.connection.session for p in serving.server._protocols if p.connection]


async def proxied(serving: Serving, *pieces: bytes) -> Client:
    """A connection from the proxy that begins with these bytes, sent one by one."""
    client = await Client.connect(serving.host, serving.port)
    for piece in pieces:
        client.send(piece)
        await asyncio.sleep(0)
    return client


# --- who the client is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [(VERSION_1, CLIENT), (VERSION_1_IPV6, CLIENT6), (VERSION_2, CLIENT)],
)
@on_both_loops
async def test_the_client_of_the_header(tmp_path: Path, header: bytes, expected: Endpoint) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await (await proxied(serving, header)).to_data()
        assert await client.deliver() == "250 2.0.0 Caught"
        (session,) = sessions(serving)
        assert session.client == expected
        assert session.local.port == 25
        assert session.proxy is not None and session.proxy.ip == "127.0.0.1"
        assert not session.relay_client
        assert expected.literal.encode() in catcher(serving).messages[0]
        assert catcher(serving).clients == [expected]
        await client.close()


@on_both_loops
async def test_relaying_is_for_the_clients_address(tmp_path: Path) -> None:
    files = behind_a_proxy(tmp_path) | {"plugins": ["relay", "rcpt_ok", "queue/discard"]}
    async with serve(files | {"relayclients": ["127.0.0.1", "::1", "2001:db8::/32"]}) as serving:
        for header, code in ((VERSION_1, 550), (VERSION_2, 550), (VERSION_1_IPV6, 250)):
            client = await (await proxied(serving, header)).greeted()
            await client.commands(*ENVELOPE[:2])
            assert await client.commands("RCPT TO:<user@elsewhere.example>") == [code]
            await client.close()


@on_both_loops
async def test_the_proxy_itself(tmp_path: Path) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await (await proxied(serving, OF_THE_PROXY)).greeted()
        assert await client.commands("HELO proxy.example") == [250]
        (session,) = sessions(serving)
        assert session.client.ip == "127.0.0.1"
        assert session.proxy is None
        assert await client.command("QUIT")
        assert await client.closed()
        await client.close()


@on_both_loops
async def test_nobody_else_is_believed(tmp_path: Path) -> None:
    files = behind_a_proxy(tmp_path) | {"proxy_networks": ["192.0.2.0/24"], "relayclients": []}
    async with serve(files) as serving:
        client = await Client.of(serving)
        assert await client.command(VERSION_1.decode().strip()) == (
            "500 5.5.1 Command not recognized"
        )
        (session,) = sessions(serving)
        assert session.client.ip == "127.0.0.1"
        assert session.proxy is None
        await client.close()


@on_both_loops
async def test_a_second_header_is_a_command_of_the_client(tmp_path: Path) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await proxied(serving, VERSION_2, VERSION_1_IPV6, VERSION_1)
        await client.greeted()
        assert [(await client.reply())[:3] for _ in range(2)] == ["500", "500"]
        assert sessions(serving)[0].client == CLIENT
        await client.close()


@on_both_loops
async def test_limits_are_for_the_clients_address(tmp_path: Path) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        waiting = [await proxied(serving, b"PROXY") for _ in range(3)]
        clients = [await (await proxied(serving, VERSION_1)).greeted() for _ in range(2)]
        other = await (await proxied(serving, VERSION_1_IPV6)).greeted()
        await until(lambda: serving.server.connections == 6)
        assert serving.server._admission._open == {CLIENT.ip: 2, CLIENT6.ip: 1}
        for client in (*waiting, *clients, other):
            await client.close()
        await until(lambda: not serving.server.connections)


# --- how the header comes ---------------------------------------------------------------------


def bytewise(data: bytes) -> Sequence[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("header", [VERSION_1, VERSION_2])
@on_both_loops
async def test_in_pieces_and_with_commands_behind(tmp_path: Path, header: bytes) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        for pieces in (bytewise(header), [header + b"EHLO x\r\nNOOP\r\n"]):
            client = await (await proxied(serving, *pieces)).greeted()
            expected = 2 if len(pieces) == 1 else 0
            assert [(await client.reply())[:3] for _ in range(expected)] == ["250"] * expected
            assert await client.commands("EHLO x", "NOOP") == [250, 250]
            await client.close()


@on_both_loops
async def test_nothing_is_said_before_the_header(tmp_path: Path) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await proxied(serving, VERSION_1[:-1])
        await until(lambda: serving.server.connections == 1)
        assert not serving.server._protocols
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.reply()
        client.send(VERSION_1[-1:])
        await client.greeted()
        await client.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"EHLO client.example\r\n", "bad header: does not begin like a header"),
        (b"PROXY TCP4 localhost\r\n", "bad header: malformed line"),
        (SIGNATURE + b"\x31\x11\0\0", "bad header: unknown version or command"),
    ],
)
@on_both_loops
async def test_no_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, reason: str
) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await proxied(serving, data)
        assert await client.closed()
        assert f"connection of proxy ip=127.0.0.1 refused: {reason}" in caplog.text
        await until(lambda: not serving.server.connections)
        assert not catcher(serving).clients
        await client.close()


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", UNSPECIFIED])
@on_both_loops
async def test_a_client_without_an_address_is_turned_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, header: bytes
) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await proxied(serving, header)
        assert await client.reply() == UNKNOWN
        assert await client.closed()
        assert "refused: its client's address is UN" in caplog.text
        assert not catcher(serving).clients
        await client.close()


@pytest.mark.parametrize("data", [b"", VERSION_1[:-1], VERSION_2[:-1]])
@on_both_loops
async def test_a_header_that_does_not_come(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
) -> None:
    monkeypatch.setattr(options, "check_value", lambda *_: None)
    async with serve(behind_a_proxy(tmp_path) | {"proxy_timeout": ["0.05"]}) as serving:
        client = await proxied(serving, data)
        assert await client.closed()
        assert "connection of proxy ip=127.0.0.1 refused: no header in time" in caplog.text
        assert not serving.server.connections
        await client.close()


@on_both_loops
async def test_a_header_has_to_be_complete_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 announces more than ever comes, octet by octet."""
    monkeypatch.setattr(options, "check_value", lambda *_: None)
    async with serve(behind_a_proxy(tmp_path) | {"proxy_timeout": ["0.05"]}) as serving:
        client = await proxied(serving, SIGNATURE + bytes.fromhex("2111 0800"))
        closed = asyncio.ensure_future(client.closed())
        while not (closed.done() or client.writer.is_closing()):
            client.send(b"x")
            await asyncio.sleep(0.001)
        with contextlib.suppress(ConnectionResetError):  # by what was not read of it
            await closed
        assert "connection of proxy ip=127.0.0.1 refused: no header in time" in caplog.text
        client.writer.transport.abort()


@pytest.mark.parametrize(("data", "level"), [(b"", "DEBUG"), (VERSION_1[:9], "WARNING")])
@pytest.mark.parametrize("leave", ["close", "reset"])
@on_both_loops
async def test_the_proxy_hangs_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, level: str, leave: str
) -> None:
    caplog.set_level("DEBUG")
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await proxied(serving, data)
        await until(lambda: serving.server.connections == 1)
        (waiting,) = serving.server._before_header
        await until(lambda: waiting._data == data)
        if leave == "close":
            await client.close()
        else:
            client.reset()
        await until(lambda: not serving.server.connections)
        (record,) = (r for r in caplog.records if "hung up" in r.message)
        assert record.message == "proxy ip=127.0.0.1 hung up before its header was complete"
        assert record.levelname == level


@on_both_loops
async def test_the_client_may_be_gone_already(tmp_path: Path) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await proxied(serving, VERSION_1 + b"QUIT\r\n")
        client.writer.write_eof()
        await client.greeted()
        assert (await client.reply())[:3] == "221"
        assert await client.closed()
        await client.close()
        await until(lambda: not serving.server.connections)


# --- many, reload, the end --------------------------------------------------------------------


@on_both_loops
async def test_connections_without_header_are_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = "421 4.3.2 Too many connections, please try again later"
    async with serve(behind_a_proxy(tmp_path) | {"max_connections": ["3"]}) as serving:
        waiting = [await proxied(serving, b"PROXY ") for _ in range(2)]
        await until(lambda: serving.server.connections == 2)
        served = await (await proxied(serving, VERSION_1)).greeted()
        surplus = await proxied(serving, b"")
        assert await surplus.reply() == full
        assert await surplus.closed()
        assert "too many connections limit=3 ip=127.0.0.1" in caplog.text
        await waiting.pop().close()
        await until(lambda: serving.server.connections == 2)
        another = await (await proxied(serving, VERSION_1)).greeted()
        for client in (*waiting, served, surplus, another):
            await client.close()


@on_both_loops
async def test_the_last_place_is_for_who_waited_for_it(tmp_path: Path) -> None:
    async with serve(behind_a_proxy(tmp_path) | {"max_connections": ["1"]}) as serving:
        client = await proxied(serving, *bytewise(VERSION_1))
        await client.greeted()
        await client.close()


@on_both_loops
async def test_a_reload_holds_for_new_connections(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        direct = await Client.of(serving)
        (serving.directory / "proxy_networks").write_text("127.0.0.1\n")
        serving.server.reload(await load([serving.directory], {}, resolver=FakeResolver()))
        client = await (await proxied(serving, VERSION_1)).greeted()
        assert [session.client.ip for session in sessions(serving) if session.proxy] == [CLIENT.ip]
        assert await direct.commands("EHLO x", "MAIL FROM:<>") == [250, 250]
        for each in (direct, client):
            await each.close()


@on_both_loops
async def test_the_end_comes_before_the_header(tmp_path: Path) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await proxied(serving, b"")
        await until(lambda: serving.server.connections == 1)
        (waiting,) = serving.server._before_header
        drained = asyncio.ensure_future(serving.server.drain(20))
        await until(lambda: waiting._draining)
        client.send(VERSION_1 + b"EHLO x\r\nNOOP\r\n")
        await client.greeted()
        assert await client.reply() == "421 4.3.2 Service shutting down"
        assert await drained == 0
        await client.close()


@on_both_loops
async def test_the_end_does_not_wait_long_for_a_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(proxyhandshake, "DRAIN_PATIENCE", 0.01)
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await proxied(serving, b"")
        await until(lambda: serving.server.connections == 1)
        assert await serving.server.drain(20) == 0
        assert "refused: no header in time" in caplog.text
        assert await client.closed()
        await client.close()


@on_both_loops
async def test_the_deadline_comes_before_the_header(tmp_path: Path) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        client = await proxied(serving, b"")
        await until(lambda: serving.server.connections == 1)
        assert await serving.server.drain(0.01) == 0
        assert not serving.server.connections
        with contextlib.suppress(ConnectionError):
            assert await client.closed()
        await client.close()


@on_both_loops
async def test_a_connection_that_somebody_else_accepted(tmp_path: Path) -> None:
    async with serve(behind_a_proxy(tmp_path)) as serving:
        for told in (None, Endpoint("127.0.0.1", 4000)):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            server = Server(serving.server.snapshot, asyncio.get_running_loop())
            serving_one = asyncio.ensure_future(server.serve_one(ours, told, told))
            client = await Client.connect(None, None, sock=theirs)
            for byte in bytewise(VERSION_1):
                client.send(byte)
                await asyncio.sleep(0)
            await client.greeted()
            assert not serving_one.done()
            assert catcher(serving).clients[-1] == CLIENT
            await client.command("QUIT")
            await serving_one
            await client.close()


# --- before TLS -------------------------------------------------------------------------------


@pytest.fixture
def tls_files(tmp_path: Path) -> dict[str, list[str]]:
    """Configuration files of a server with a certificate."""
    CERTIFICATE.private_key_pem.write_to_path(tmp_path / "key.pem")
    CERTIFICATE.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    return behind_a_proxy(tmp_path, f"tls {tmp_path}/cert.pem {tmp_path}/key.pem")


class TlsByHand:
    """The client's end of TLS, whose bytes are sent as the test likes."""

    def __init__(self) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = CONTEXT.wrap_bio(self._incoming, self._outgoing, server_hostname="mx.example")
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self.hello = self._outgoing.read()

    async def line(self, client: Client) -> bytes:
        """The first line under TLS."""
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                return self._tls.read()
            client.send(self._outgoing.read())
            received = await client.reader.read(1 << 16)
            assert received
            self._incoming.write(received)


@pytest.mark.parametrize("header", [VERSION_1, VERSION_2])
@pytest.mark.parametrize("pieces", ["one", "header and hello", "hello cut", "bytewise"])
@on_both_loops
async def test_implicit_tls(tls_files: dict[str, list[str]], header: bytes, pieces: str) -> None:
    async with serve(tls_files) as serving:
        tls = TlsByHand()
        cut = len(header) + 7
        data = header + tls.hello
        client = await Client.connect(serving.host, serving.tls_port)
        for piece in {
            "one": [data],
            "header and hello": [header, tls.hello],
            "hello cut": [data[:cut], data[cut:]],
            "bytewise": bytewise(data),
        }[pieces]:
            client.send(piece)
            await asyncio.sleep(0)
        assert (await tls.line(client)).startswith(b"220 mx.example")
        (session,) = sessions(serving)
        assert session.client == CLIENT
        assert session.tls is not None and session.tls.version == "TLSv1.3"
        await client.close()


@on_both_loops
async def test_nothing_is_said_in_clear_where_tls_is_due(tls_files: dict[str, list[str]]) -> None:
    limited = tls_files | {"max_connections": ["1"]}
    async with serve(limited) as serving:
        for data in (b"PROXY UNKNOWN\r\n", b"EHLO x\r\n"):
            client = await Client.connect(serving.host, serving.tls_port)
            client.send(data)
            assert await client.closed()
            await client.close()
        first = await proxied(serving, b"PROXY")
        await until(lambda: serving.server.connections == 1)
        second = await Client.connect(serving.host, serving.tls_port)
        assert await second.closed()
        for client in (first, second):
            await client.close()


@on_both_loops
async def test_starttls(tls_files: dict[str, list[str]]) -> None:
    async with serve(tls_files) as serving:
        client = await (await proxied(serving, VERSION_2)).greeted()
        assert await client.commands("EHLO x") == [250]
        await client.start_tls(CONTEXT)
        assert await client.commands("EHLO x") == [250]
        assert sessions(serving)[0].client == CLIENT
        await client.close()


@on_both_loops
async def test_a_direct_client_beside_the_proxy(tls_files: dict[str, list[str]]) -> None:
    files = tls_files | {"proxy_networks": ["192.0.2.1"]}
    async with serve(files) as serving:
        plain = await Client.of(serving)
        tls = await Client.connect(
            serving.host, serving.tls_port, ssl=CONTEXT, server_hostname="mx.example"
        )
        await tls.greeted()
        for client in (plain, tls):
            assert await client.commands("EHLO x", "QUIT") == [250, 221]
            await client.close()


@on_both_loops
async def test_who_resets_at_once_is_nobody(tls_files: dict[str, list[str]]) -> None:
    async with serve(tls_files) as serving:
        with socket.create_connection((serving.host, serving.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.send(VERSION_1 + b"EHLO x\r\n")
        after = await (await proxied(serving, VERSION_1)).greeted()
        await after.close()
        await until(lambda: not serving.server.connections)
