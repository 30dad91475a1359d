# SPDX-License-Identifier: MIT
"""One worker's server: who is let in, reloads, and the end."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.config import settings
from qpsmtpd.config.loader import Snapshot, load
from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.daemon.server import Server
from qpsmtpd.daemon.sockets import bind
from qpsmtpd.testing import FakeResolver, Serving, serve
from tests.unit.client import Client, catcher, catching, on_both_loops, until

SHUTDOWN = "421 4.3.2 Service shutting down"


async def another_snapshot(serving: Serving, **files: str) -> Snapshot:
    """The configuration of a server after these files were changed."""
    for name, text in files.items():
        (serving.directory / name).write_text(text)
    return await load([serving.directory], {}, resolver=FakeResolver())


# --- who is let in ----------------------------------------------------------------------------


@on_both_loops
async def test_one_too_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(catching(tmp_path) | {"max_connections": ["2"]}) as serving:
        first, second = await Client.of(serving), await Client.of(serving)
        third = await Client.connect(serving.host, serving.port)
        assert await third.reply() == "421 4.3.2 Too many connections, please try again later"
        assert await third.closed()
        assert "too many connections limit=2 ip=127.0.0.1" in caplog.text
        assert len(catcher(serving).clients) == 2
        await first.command("QUIT")
        await until(lambda: serving.server.connections == 1)
        fourth = await Client.of(serving)
        assert await second.command("NOOP") == "250 2.0.0 OK"
        for client in (first, second, third, fourth):
            await client.close()


@on_both_loops
async def test_connections_of_one_client_are_counted(tmp_path: Path) -> None:
    async with serve(catching(tmp_path) | {"max_from_ip": ["7"]}) as serving:
        first, second = await Client.of(serving), await Client.of(serving)
        sessions = [p.connection.session for p in serving.server._protocols if p.connection]
        assert sorted(session.connections_from_client for session in sessions) == [1, 2]
        assert {session.max_connections_from_client for session in sessions} == {7}
        await first.close()
        await second.close()
        await until(lambda: not serving.server.connections)
        third = await Client.of(serving)
        (protocol,) = serving.server._protocols
        assert protocol.connection is not None
        assert protocol.connection.session.connections_from_client == 1
        await third.close()


@on_both_loops
async def test_all_addresses(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        listeners = bind([ListenAddress("::1", 0), ListenAddress("127.0.0.1", 0)])
        await serving.server.listen(listeners)
        for listener in listeners:
            host, port = listener.socket.getsockname()[:2]
            client = await (await Client.connect(host, port)).greeted()
            assert catcher(serving).clients[-1].ip == host
            await client.close()
        everywhere = bind([ListenAddress("", 0)])
        await serving.server.listen(everywhere)
        families = {listener.socket.family for listener in everywhere}
        assert families == {socket.AF_INET, socket.AF_INET6}
        for listener in everywhere:
            host = "::1" if listener.socket.family == socket.AF_INET6 else "127.0.0.1"
            port = listener.socket.getsockname()[1]
            client = await (await Client.connect(host, port)).greeted()
            assert catcher(serving).clients[-1].ip == host
            await client.close()


@on_both_loops
async def test_a_fault_is_of_one_transaction(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(catching(tmp_path)) as serving:
        sick, well = await Client.of(serving), await Client.of(serving)
        await sick.command("EHLO x")
        reply = await sick.command("MAIL FROM:<fault@client.example>")
        assert reply == "451 4.3.0 Internal error, please try again later"
        assert "a secret of the plugin" in caplog.text
        codes = ["HELO x", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"]
        for client in (well, sick):
            assert await client.commands(*codes) == [250, 250, 250, 354]
            assert await client.deliver() == "250 2.0.0 Caught"
            await client.close()
        assert len(catcher(serving).messages) == 2


@on_both_loops
async def test_a_hook_that_hangs_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings._AT_LEAST, "hook_timeout", 0)
    text = (
        "import asyncio\nfrom qpsmtpd.api import *\n"
        "class Hangs(Plugin[NoOptions]):\n"
        "    async def hook_mail(self, tx, sender): await asyncio.Event().wait()\n"
    )
    (tmp_path / "hangs.py").write_text(text)
    files = catching(tmp_path, "hangs") | {"hook_timeout": ["0.05"]}
    async with serve(files) as serving:
        client = await Client.of(serving)
        await client.command("EHLO x")
        reply = await client.command("MAIL FROM:<>")
        assert reply == "451 4.3.0 Internal error, please try again later"
        assert await client.command("NOOP") == "250 2.0.0 OK"
        await client.close()


@on_both_loops
async def test_a_connection_that_somebody_else_accepted(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        server = Server(serving.server.snapshot, asyncio.get_running_loop())
        serving_one = asyncio.ensure_future(server.serve_one(ours, None, None))
        client = await (await Client.connect(None, None, sock=theirs)).to_data()
        assert await client.deliver() == "250 2.0.0 Caught"
        assert not serving_one.done()
        await client.command("QUIT")
        await serving_one
        await client.close()


# --- reload -----------------------------------------------------------------------------------


@on_both_loops
async def test_reload(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        old = catcher(serving)
        before = await (await Client.connect(serving.host, serving.port)).to_data()
        serving.server.reload(await another_snapshot(serving, me="new.example\n"))
        after = await Client.connect(serving.host, serving.port)
        assert await after.reply() == "220 new.example ESMTP qpsmtpd"
        assert await before.deliver() == "250 2.0.0 Caught"
        assert b"by mx.example (qpsmtpd/" in old.messages[0]
        assert not old.stopped.is_set()
        assert await before.command("QUIT") == "221 2.0.0 mx.example closing connection"
        await old.stopped.wait()
        assert await after.command("NOOP") == "250 2.0.0 OK"
        assert not catcher(serving).stopped.is_set()
        for client in (before, after):
            await client.close()


@on_both_loops
async def test_reload_without_sessions_stops_the_old_plugins(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        for number in range(3):
            old = catcher(serving)
            serving.server.reload(await another_snapshot(serving, me=f"mx{number}.example\n"))
            await old.stopped.wait()
            assert not catcher(serving).stopped.is_set()


# --- the end ----------------------------------------------------------------------------------


@on_both_loops
async def test_drain(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        idle = await Client.of(serving)
        in_data = await (await Client.connect(serving.host, serving.port)).to_data()
        draining = asyncio.ensure_future(serving.server.drain(60))
        assert await idle.reply() == SHUTDOWN
        assert await idle.closed()
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(serving.host, serving.port)
        plugin = catcher(serving)
        assert not plugin.stopped.is_set()
        in_data.send(b"Subject: x\r\n\r\n.\r\n")
        assert await in_data.reply() == "250 2.0.0 Caught"
        assert await in_data.reply() == SHUTDOWN
        assert await draining == 0
        assert plugin.stopped.is_set()
        assert len(plugin.messages) == 1
        for client in (idle, in_data):
            await client.close()


@on_both_loops
async def test_drain_has_an_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(catching(tmp_path)) as serving:
        plugin = catcher(serving)
        in_data = await (await Client.connect(serving.host, serving.port)).to_data()
        plugin.gate.clear()
        stuck = await (await Client.connect(serving.host, serving.port)).to_data()
        stuck.send(b"Subject: x\r\n\r\n.\r\n")
        await plugin.waits.wait()
        assert await serving.server.drain(0.01) == 2
        assert "cut 2 connections after 0.01s" in caplog.text
        assert plugin.stopped.is_set()
        assert plugin.messages == []
        for client in (in_data, stuck):
            with pytest.raises((ConnectionError, AssertionError)):
                assert (await client.reply())[:3] == "250"
            await client.close()


@on_both_loops
async def test_the_end_comes_before_the_greeting(tmp_path: Path) -> None:
    """A hook before the greeting that waits does not outlive the deadline."""
    text = (
        "import asyncio\nfrom qpsmtpd.api import *\n"
        "class Slow(Plugin[NoOptions]):\n"
        "    async def hook_connect(self, session): await asyncio.sleep(100)\n"
    )
    (tmp_path / "slow.py").write_text(text)
    async with serve(catching(tmp_path, "slow")) as serving:
        client = await Client.connect(serving.host, serving.port)
        await until(lambda: serving.server.connections == 1)
        assert await serving.server.drain(0.01) == 1
        with pytest.raises((ConnectionError, AssertionError)):
            assert await client.reply()
        await client.close()


async def test_nothing_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with serve(catching(tmp_path)) as serving:
        clients: list[Any] = [await Client.of(serving) for _ in range(5)]
        serving.server.reload(await another_snapshot(serving))
        for client in clients:
            await client.close()
        await until(lambda: not serving.server.connections)
        server = serving.server
        assert not server._by_client
        assert not server._retired
        assert sum(server._by_snapshot.values()) == 0
    assert caplog.records == []
