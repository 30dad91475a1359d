# SPDX-License-Identifier: MIT
"""The wire under TLS: STARTTLS and TLS from the start, on both event loops."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from qpsmtpd.logins.verifier import make_verifier
from qpsmtpd.plugin import options
from qpsmtpd.smtp import protocol
from qpsmtpd.testing import Serving, serve
from tests.unit.client import Client, catcher, catching, on_both_loops, until
from tests.unit.logins.boundscram import Bound

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("mx.example")
CONTEXT = ssl.create_default_context()
AUTHORITY.configure_trust(CONTEXT)

#: Seconds that the event loops give the other side to end TLS, unless told otherwise.
SSL_SHUTDOWN_TIMEOUT = 30.0

TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[str]]:
    """Configuration files of a server with a certificate."""
    CERTIFICATE.private_key_pem.write_to_path(tmp_path / "key.pem")
    CERTIFICATE.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    return catching(tmp_path, f"tls {tmp_path}/cert.pem {tmp_path}/key.pem")


async def under_tls(serving: Serving) -> Client:
    """A client of the port that begins with TLS."""
    return await Client.connect(
        serving.host, serving.tls_port, ssl=CONTEXT, server_hostname="mx.example"
    )


@on_both_loops
async def test_starttls(files: dict[str, list[str]]) -> None:
    async with serve(files) as serving:
        client = await (await Client.connect(serving.host, serving.port)).greeted()
        assert "STARTTLS" in await client.command("EHLO x")
        await client.start_tls(CONTEXT)
        assert await client.command("MAIL FROM:<>") == "503 5.5.1 Send HELO or EHLO first"
        assert "STARTTLS" not in await client.command("EHLO x")
        assert await client.commands("MAIL FROM:<>", "RCPT TO:<a@b.example>") == [250, 250]
        assert await client.command("DATA")
        assert (
            await client.deliver(b"Subject: x\r\n\r\n" + b"y" * 70 + b"\r\n") == "250 2.0.0 Caught"
        )
        assert await client.command("QUIT")
        assert await client.closed()
        await client.close()
        (message,) = catcher(serving).messages
        assert b"with ESMTPS id" in message
        assert b"(TLSv1.3 with cipher " in message


@on_both_loops
async def test_tls_from_the_start(files: dict[str, list[str]]) -> None:
    async with serve(files) as serving:
        client = await (await under_tls(serving)).to_data()
        assert await client.deliver(b"a: b\r\n\r\n" + b"y\r\n" * 300000) == "250 2.0.0 Caught"
        assert await client.command("QUIT")
        assert await client.closed()
        await client.close()
        assert b"with ESMTPS id" in catcher(serving).messages[0]


@pytest.mark.parametrize("behind", [b"EHLO evil\r\n", b"x", TLS_HELLO])
@on_both_loops
async def test_commands_behind_starttls_are_never_run(
    files: dict[str, list[str]], behind: bytes
) -> None:
    async with serve(files) as serving:
        client = await (await Client.connect(serving.host, serving.port)).greeted()
        client.send(b"STARTTLS\r\n" + behind)
        assert await client.reply() == "554 5.5.1 Data after STARTTLS, closing connection"
        assert await client.closed()
        await client.close()


@on_both_loops
async def test_commands_in_place_of_the_handshake_are_never_run(
    files: dict[str, list[str]],
) -> None:
    async with serve(files) as serving:
        client = await (await Client.connect(serving.host, serving.port)).greeted()
        assert (await client.command("STARTTLS"))[:3] == "220"
        client.send(b"EHLO evil\r\nMAIL FROM:<>\r\n")
        rest = await client.reader.read()
        assert b"250" not in rest
        await client.close()
        await until(lambda: not serving.server.connections)


@on_both_loops
async def test_a_client_that_hangs_in_the_handshake(
    files: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "TLS_TIMEOUT", 0.05)
    async with serve(files) as serving:
        implicit = await Client.connect(serving.host, serving.tls_port)
        implicit.send(TLS_HELLO)
        explicit = await (await Client.connect(serving.host, serving.port)).greeted()
        assert (await explicit.command("STARTTLS"))[:3] == "220"
        for client in (implicit, explicit):
            assert await client.closed()
            await client.close()
        await until(lambda: not serving.server.connections)


@pytest.mark.parametrize("port", ["plain", "tls"])
@on_both_loops
async def test_a_failed_handshake_leaves_one_line(
    files: dict[str, list[str]], port: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with serve(files) as serving:
        if port == "tls":
            client = await Client.connect(serving.host, serving.tls_port)
        else:
            client = await (await Client.connect(serving.host, serving.port)).greeted()
            assert (await client.command("STARTTLS"))[:3] == "220"
        client.send(b"EHLO x\r\n")
        assert b"250" not in await client.reader.read()
        await client.close()
        await until(lambda: not serving.server.connections)
    (line,) = [r for r in caplog.records if "handshake" in r.getMessage()]
    assert line.levelname == "INFO"
    assert line.getMessage().startswith("TLS handshake failed ip=127.0.0.1 reason=")
    assert "SSL" in line.getMessage()


async def test_the_clients_end_right_after_the_handshake(
    files: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come before the session has heard of the handshake; TLS has no half-close."""
    loop = asyncio.get_running_loop()
    start_tls = loop.start_tls
    kept_open: list[bool] = []

    async def and_eof(transport: Any, wire: Any, context: Any, **more: Any) -> Any:
        upgraded = await start_tls(transport, wire, context, **more)
        if more["server_side"]:
            kept_open.append(wire.eof_received())
        return upgraded

    monkeypatch.setattr(loop, "start_tls", and_eof)
    async with serve(files) as serving:
        client = await (await Client.connect(serving.host, serving.port)).greeted()
        assert (await client.command("STARTTLS"))[:3] == "220"
        await client.writer.start_tls(CONTEXT, server_hostname="mx.example")
        await until(lambda: bool(kept_open))
        assert kept_open == [False]
        await until(lambda: not serving.server.connections)
        await client.close()


@on_both_loops
async def test_the_end_comes_during_the_handshake(files: dict[str, list[str]]) -> None:
    async with serve(files) as serving:
        client = await Client.connect(serving.host, serving.tls_port)
        client.send(TLS_HELLO)
        await until(lambda: serving.server.connections == 1)
        assert await serving.server.drain(0.01) == 1
        await until(lambda: not serving.server.connections)
        await client.close()


@pytest.mark.parametrize("how", ["reset", "half-close"])
@on_both_loops
async def test_a_client_that_goes_during_the_handshake(
    files: dict[str, list[str]], how: str
) -> None:
    async with serve(files) as serving:
        implicit = await Client.connect(serving.host, serving.tls_port)
        implicit.send(TLS_HELLO)
        explicit = await (await Client.connect(serving.host, serving.port)).greeted()
        explicit.send(b"STARTTLS\r\n")
        if how == "half-close":
            explicit.writer.write_eof()
        assert (await explicit.reply())[:3] == "220"
        for client in (implicit, explicit):
            client.reset()
        await until(lambda: not serving.server.connections)


@on_both_loops
async def test_the_end_does_not_wait_for_a_client_that_does_not_close(
    files: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS has a good-bye of its own, for which nobody else would wait so shortly."""
    monkeypatch.setattr(protocol, "LINGER", 0.01)
    async with serve(files) as serving:
        client = await (await under_tls(serving)).greeted()
        client.send(b"QUIT\r\n")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: not serving.server.connections, SSL_SHUTDOWN_TIMEOUT / 2)
        client.writer.transport.abort()


@on_both_loops
async def test_a_port_that_begins_with_tls_needs_a_certificate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "INPUT_LINGER", 0.05)
    async with serve(catching(tmp_path)) as serving:
        port = serving.server._acceptors[1].listening.getsockname()[1]
        client = await Client.connect(serving.host, port)
        assert await client.closed()
        await client.close()
        await until(lambda: not serving.server.connections)
        assert "no plugin has a certificate" in caplog.text
        assert catcher(serving).clients == []


@on_both_loops
async def test_half_close_behind_the_dot(files: dict[str, list[str]]) -> None:
    """TLS has no half-close: what was sent to its end is handed over; nobody reads the reply."""
    async with serve(files) as serving:
        plugin = catcher(serving)
        plugin.gate.clear()
        client = await (await under_tls(serving)).to_data()
        client.send(b"Subject: x\r\n\r\n.\r\n")
        await plugin.waits.wait()
        client.writer.close()
        (wire,) = serving.server._protocols
        await until(lambda: wire._ended)
        plugin.gate.set()
        await until(lambda: not serving.server.connections)
        assert len(plugin.messages) == 1
        await client.close()


@on_both_loops
async def test_half_close_in_the_middle_of_data(files: dict[str, list[str]]) -> None:
    async with serve(files) as serving:
        client = await (await under_tls(serving)).to_data()
        client.send(b"Subject: x\r\n\r\ny")
        client.writer.close()
        await until(lambda: not serving.server.connections)
        assert catcher(serving).messages == []
        await client.close()


@on_both_loops
async def test_time_outs_hold_under_tls(
    files: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "check_value", lambda *_: None)
    async with serve(files | {"timeout": ["0.1"], "timeoutsmtpd": ["300"]}) as serving:
        client = await (await under_tls(serving)).to_data()
        assert await client.reply() == "421 4.4.2 Timeout, closing connection"
        assert await client.closed()
        await client.close()


@on_both_loops
async def test_a_plain_client_at_the_tls_port(files: dict[str, list[str]]) -> None:
    async with serve(files) as serving:
        client = await Client.connect(serving.host, serving.tls_port)
        client.send(b"EHLO x\r\nQUIT\r\n")
        assert b"250" not in await client.reader.read()
        await client.close()
        await until(lambda: not serving.server.connections)
        assert catcher(serving).clients == []


@on_both_loops
async def test_one_handshake_does_not_hold_up_others(files: dict[str, list[str]]) -> None:
    async with serve(files) as serving:
        stuck = socket.create_connection((serving.host, serving.tls_port))
        client = await (await under_tls(serving)).greeted()
        assert await client.command("QUIT")
        await client.close()
        stuck.close()
        await until(lambda: not serving.server.connections)
        await asyncio.sleep(0)


@on_both_loops
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_channel_is_bound_where_that_is_defined(
    files: dict[str, list[str]], version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    context.maximum_version = version
    verifier = make_verifier("secret", iterations=4096)
    lines = ["auth/auth_flat_file", *files["plugins"]]
    users = {"plugins": lines, "flat_auth_pw": [f"user@mx.example:{verifier}"]}
    async with serve({**files, **users}) as serving:
        client = await (await Client.connect(serving.host, serving.port)).greeted()
        await client.command("EHLO x")
        await client.start_tls(context)
        bound = version == ssl.TLSVersion.TLSv1_2
        assert ("SCRAM-SHA-256-PLUS" in await client.command("EHLO x")) is bound
        if bound:
            await log_in_bound(client)
        await client.close()


async def log_in_bound(client: Client) -> None:
    """Log in by SCRAM-SHA-256-PLUS, first with the channel of another session."""
    channel = client.writer.get_extra_info("ssl_object").get_channel_binding("tls-unique")
    for seen, code in ((b"another", "535"), (channel, "235")):
        scram = Bound(seen)
        first = base64.b64encode(scram.begin()).decode()
        challenge = await client.command(f"AUTH SCRAM-SHA-256-PLUS {first}")
        answer = scram.answer(base64.b64decode(challenge[4:]))
        reply = await client.command(base64.b64encode(answer).decode())
        if code == "235":
            reply = await client.command("")
        assert reply.startswith(code), reply
