# SPDX-License-Identifier: MIT
"""One worker's server: who is let in, reloads, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from qpsmtpd.config.loader import load
from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.daemon import server as server_module
from qpsmtpd.daemon.acceptor import Acceptor
from qpsmtpd.daemon.scoreboard import Scoreboard, Slot
from qpsmtpd.daemon.server import Server
from qpsmtpd.daemon.sockets import bind
from qpsmtpd.mail.spoolmemory import ALLOWANCE
from qpsmtpd.plugin import options
from qpsmtpd.smtp import protocol
from qpsmtpd.smtp.tarpit import Tarpit
from qpsmtpd.testing import FakeResolver, Serving, serve
from tests.unit.client import ENVELOPE, PATIENCE, Client, catcher, catching, on_both_loops, until
from tests.unit.fakewire import a_snapshot
from tests.unit.smtp.test_protocol_times import a_client_that_reads_nothing

#: This machine neither, where all clients of these tests are.
NOBODY_EXEMPT = {"admission_exempt": ["192.0.2.1"]}
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
    async with serve(catching(tmp_path) | {"max_from_ip": ["7"]} | NOBODY_EXEMPT) as serving:
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


TOO_MANY = "421 4.7.0 Too many connections from you, try again later"


@on_both_loops
async def test_too_many_of_one_client(tmp_path: Path) -> None:
    async with serve(catching(tmp_path) | {"max_from_ip": ["2"]} | NOBODY_EXEMPT) as serving:
        first, second = await Client.of(serving), await Client.of(serving)
        third = await Client.connect(serving.host, serving.port)
        assert await third.reply() == TOO_MANY
        assert await third.closed()
        other = await Client.connect(serving.host, serving.port, local_addr=("127.0.0.2", 0))
        await other.greeted()
        await first.command("QUIT")
        await until(lambda: serving.server.connections == 2)
        for client in (first, second, third, other, await Client.of(serving)):
            await client.close()


@on_both_loops
async def test_hosts_allow_decides_first(tmp_path: Path) -> None:
    """It may permit some clients three connections more, which the others are told by a hook."""
    limits = {"max_from_ip": ["1"]} | NOBODY_EXEMPT
    async with serve(catching(tmp_path, "hosts_allow") | limits) as serving:
        clients = [await Client.connect(serving.host, serving.port) for _ in range(2)]
        assert (await clients[0].reply())[:4] == "220 "
        assert (await clients[1].reply())[:9] == "451 4.7.0"
        for client in clients:
            await client.close()


@on_both_loops
async def test_too_many_of_one_network(tmp_path: Path) -> None:
    limits = {"max_from_network": ["2"], "network_prefix_ipv4": ["30"]} | NOBODY_EXEMPT
    async with serve(catching(tmp_path) | limits) as serving:
        codes = []
        clients = []
        for ip in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"):
            clients.append(await Client.connect(serving.host, serving.port, local_addr=(ip, 0)))
            codes.append((await clients[-1].reply())[:9])
        assert [code[:3] for code in codes] == ["220", "220", "421", "220"]
        assert codes[2] == "421 4.7.0"
        for client in clients:
            await client.close()


@on_both_loops
async def test_exempt_clients(tmp_path: Path) -> None:
    limits = {"max_from_ip": ["1"], "max_from_network": ["1"], "admission_exempt": ["127.0.0.0/30"]}
    async with serve(catching(tmp_path) | limits) as serving:
        clients = [await Client.of(serving) for _ in range(3)]
        for client in clients:
            await client.close()


@on_both_loops
async def test_limits_are_reloaded(tmp_path: Path) -> None:
    async with serve(catching(tmp_path) | NOBODY_EXEMPT) as serving:
        first = await Client.of(serving)
        serving.server.reload(await another_snapshot(serving, max_from_ip="1\n"))
        second = await Client.connect(serving.host, serving.port)
        assert await second.reply() == TOO_MANY
        for client in (first, second):
            await client.close()


# --- the tarpit, and stress -------------------------------------------------------------------

#: Everybody waits for ever who is not from 127.0.0.9.
TARPIT = """
from qpsmtpd.api import *


class Sticky(Plugin[NoOptions]):
    async def start(self):
        self.waited = []

    async def hook_ehlo(self, session, host):
        if session.client.ip == "127.0.0.9":
            return None
        stays = await session.tarpit(3600)
        self.waited.append(stays)
        return None if stays else defer("Go", code=421, status="4.3.2", disconnect=True)
"""
GO = "421 4.3.2 Go"
FULL = "421 4.3.2 Too many connections, please try again later"


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for stress but the test."""
    monkeypatch.setattr(server_module, "LOOK_SECONDS", 3600.0)


def sticky(directory: Path, connections: int, percent: int = 0) -> dict[str, list[str]]:
    """A configuration in which strangers wait for the reply to EHLO."""
    (directory / "sticky.py").write_text(TARPIT)
    limits = {"max_connections": [str(connections)], "stress_percent": [str(percent)]}
    return catching(directory, "sticky") | limits


async def a_house_of(serving: Serving, number: int) -> list[Client]:
    """So many clients that wait in the tarpit."""
    clients = [await Client.of(serving) for _ in range(number)]
    for client in clients:
        before = len(serving.server.tarpit)
        client.send(b"EHLO x\r\n")
        await until(partial(_holds_more, serving.server.tarpit, before))
    return clients


def _holds_more(tarpit: Tarpit, than: int) -> bool:
    return len(tarpit) > than


async def a_good_client(serving: Serving) -> Client:
    """One that delivers without waiting."""
    client = await Client.connect(serving.host, serving.port, local_addr=("127.0.0.9", 0))
    assert (await (await client.to_data()).deliver()).startswith("250 ")
    return client


@on_both_loops
async def test_a_house_full_of_the_tarpitted_keeps_nobody_out(tmp_path: Path) -> None:
    """Each good client gets the place of the one that has waited longest, at once."""
    async with serve(sticky(tmp_path, 4)) as serving:
        stuck = await a_house_of(serving, 4)
        good = []
        for number in range(4):
            good.append(await a_good_client(serving))
            assert len(serving.server.tarpit) == 3 - number
            assert await stuck[number].reply() == GO
            assert await stuck[number].closed()
        fifth = await Client.connect(serving.host, serving.port)
        assert await fifth.reply() == FULL
        for client in (*stuck, *good, fifth):
            await client.close()
        await until(lambda: not serving.server.connections)
        assert serving.server._admission.connections == 0
        assert len(catcher(serving).messages) == 4


@on_both_loops
async def test_a_house_with_room_lets_them_wait(tmp_path: Path) -> None:
    async with serve(sticky(tmp_path, 5)) as serving:
        stuck = await a_house_of(serving, 4)
        good = await a_good_client(serving)
        assert len(serving.server.tarpit) == 4
        for client in (*stuck, good):
            await client.close()
        await until(lambda: not serving.server.connections)
        assert len(serving.server.tarpit) == 0


@pytest.mark.usefixtures("unwatched")
@on_both_loops
async def test_when_connections_get_scarce_all_are_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(sticky(tmp_path, 4, percent=50)) as serving:
        stuck = await a_house_of(serving, 2)
        serving.server._look_for_stress()
        for client in stuck:
            assert (await client.reply())[:3] == "250"
        third = await Client.of(serving)
        assert (await third.command("EHLO x"))[:3] == "250"
        chain: Any = serving.server.snapshot.chain.plugins[0].plugin
        assert chain.waited == [True, True, True]
        for client in (*stuck, third):
            await client.close()
        await until(lambda: not serving.server.connections)
        serving.server._look_for_stress()
        (stuck_again,) = await a_house_of(serving, 1)
        await stuck_again.close()
        begun, ended = (line for line in caplog.messages if line.startswith("stress"))
        assert "connections=50% grade=1" in begun
        assert ended.endswith("highest_grade=1")


@on_both_loops
async def test_the_end_of_the_server_waits_for_nobody_in_the_tarpit(tmp_path: Path) -> None:
    async with serve(sticky(tmp_path, 4)) as serving:
        (stuck,) = await a_house_of(serving, 1)
        assert await serving.server.drain(PATIENCE) == 0
        assert (await stuck.reply())[:3] == "250"
        assert await stuck.reply() == SHUTDOWN
        await stuck.close()


@pytest.mark.usefixtures("unwatched")
@on_both_loops
async def test_stress_leaves_clients_less_time(tmp_path: Path) -> None:
    files = catching(tmp_path) | {"max_connections": ["10"], "stress_percent": ["10"]}
    async with serve(files) as serving:
        server = serving.server
        clients = [await Client.of(serving) for _ in range(5)]
        protocols = list(server._protocols)
        assert {protocol._deadlines.command for protocol in protocols} == {300}
        server._look_for_stress()
        assert {protocol._deadlines.command for protocol in protocols} == {30}
        assert {protocol._deadlines.data for protocol in protocols} == {30}
        clients.append(await Client.of(serving))
        assert {protocol._deadlines.command for protocol in server._protocols} == {30}
        for client in clients:
            await client.close()
        await until(lambda: not server.connections)
        server._look_for_stress()
        last = await Client.of(serving)
        (protocol,) = server._protocols
        assert protocol._deadlines.command == 300
        await last.close()


@pytest.mark.usefixtures("unwatched")
@on_both_loops
async def test_many_are_told_of_stress_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "TOLD_AT_ONCE", 2)
    files = catching(tmp_path) | {"max_connections": ["10"], "stress_percent": ["10"]}
    async with serve(files) as serving:
        clients = [await Client.of(serving) for _ in range(5)]
        protocols = list(serving.server._protocols)
        serving.server._look_for_stress()
        told = sum(protocol._deadlines.command == 30 for protocol in protocols)
        assert told == 2
        await until(lambda: all(protocol._deadlines.command == 30 for protocol in protocols))
        for client in clients:
            await client.close()


@pytest.mark.usefixtures("unwatched")
@on_both_loops
async def test_a_new_configuration_begins_under_the_same_stress(tmp_path: Path) -> None:
    files = catching(tmp_path) | {"max_connections": ["2"], "stress_percent": ["50"]}
    async with serve(files) as serving:
        client = await Client.of(serving)
        serving.server._look_for_stress()
        serving.server.reload(await another_snapshot(serving, timeout="90\n"))
        assert serving.server.snapshot.pace.command == 30
        assert serving.server._stress.grade == 1
        await client.close()


@on_both_loops
async def test_the_server_looks_for_stress_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "LOOK_SECONDS", 0.01)
    files = catching(tmp_path) | {"max_connections": ["1"], "stress_percent": ["50"]}
    async with serve(files) as serving:
        client = await Client.of(serving)
        await until(lambda: serving.server._stress.grade == 3)
        await client.close()
        await until(lambda: serving.server._stress.grade == 0)


@pytest.mark.parametrize(
    ("number", "here", "says_it"), [(0, 100, True), (1, 100, False), (1, 2, True)]
)
async def test_one_worker_speaks_for_all(
    number: int, here: int, says_it: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless it is about its own descriptors."""
    snapshot = a_snapshot(max_connections=2)
    slot = Scoreboard(2).slot(number)
    server = Server(snapshot, asyncio.get_running_loop(), slot)
    server._admission.limits = replace(server._admission.limits, here=here)
    server._admission.enter("192.0.2.1")
    server._admission.enter("192.0.2.2")
    server._look_for_stress()
    assert server._stress.grade == 3
    assert any(line.startswith("stress begins") for line in caplog.messages) is says_it


JUNK = "421 4.7.0 Too many commands, closing connection"


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize(("relays", "last"), [("", JUNK), ("127.0.0.1", "250 2.0.0 OK")])
@on_both_loops
async def test_stress_has_junk_end_the_session_sooner(
    tmp_path: Path, relays: str, last: str
) -> None:
    """Not for those whom we know."""
    limits = {"max_connections": ["1"], "stress_percent": ["1"], "relayclients": [relays]}
    async with serve(catching(tmp_path, "relay") | limits) as serving:
        client = await Client.of(serving)
        for _ in range(11):
            assert await client.command("NOOP") == "250 2.0.0 OK"
        serving.server._look_for_stress()
        assert serving.server.snapshot.pace.max_junk_commands == 10
        # The limit is looked at before the next command is waited for.
        assert await client.command("NOOP") == "250 2.0.0 OK"
        client.send(b"NOOP\r\n")
        assert await client.reply() == last
        await client.close()


LINE = b"x" * 998 + b"\r\n"


@on_both_loops
async def test_messages_that_stall_go_to_files_when_memory_is_scarce(tmp_path: Path) -> None:
    limit = 100_000
    async with serve(catching(tmp_path) | {"spool_memory": [str(limit)]}) as serving:
        clients = [await Client.connect(serving.host, serving.port) for _ in range(5)]
        for client in clients:
            await client.to_data()
            client.send(b"S: x\r\n\r\n" + LINE * 60)
        held = serving.server.memory
        most = limit + len(clients) * 2 * ALLOWANCE
        open_spools = len(clients) - limit // 60_000
        await until(lambda: held.used <= most and unlinked_files(serving) >= open_spools)
        for client in clients:
            assert await client.deliver(LINE) == "250 2.0.0 Caught"
            await client.close()
        assert {len(message) > 61_000 for message in catcher(serving).messages} == {True}
        await until(lambda: held.used == 0)


def unlinked_files(serving: Serving) -> int:
    """How many files without a name are open in spool_dir."""
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(str(descriptor.readlink()))
    spool = str(serving.server.snapshot.settings.spool_dir)
    return sum(name.startswith(spool) and name.endswith("(deleted)") for name in names)


@on_both_loops
async def test_memory_is_given_back_however_a_message_ends(tmp_path: Path) -> None:
    files = catching(tmp_path) | {"databytes": ["50000"], "timeout": ["60"]}
    async with serve(files) as serving:
        held = serving.server.memory
        accepted = await Client.of(serving)
        await accepted.commands(*ENVELOPE, "DATA")
        assert await accepted.deliver() == "250 2.0.0 Caught"
        assert held.used == 0
        await accepted.commands(*ENVELOPE[1:], "DATA")
        assert (await accepted.deliver(LINE * 60))[:3] == "552"
        assert held.used == 0
        gone, cut = [await Client.connect(serving.host, serving.port) for _ in range(2)]
        for client in (gone, cut):
            await client.to_data()
            client.send(b"S: x\r\n\r\n" + LINE * 20)
        await until(lambda: held.used > 40_000)
        await gone.close()
        await until(lambda: held.used < 40_000)
        await serving.server.drain(0)
        assert held.used == 0
        for client in (accepted, cut):
            await client.close()


@on_both_loops
async def test_the_limit_on_memory_is_reloaded(tmp_path: Path) -> None:
    async with serve(catching(tmp_path) | {"spool_memory": ["1M"]}) as serving:
        assert serving.server.memory.limit == 1 << 20
        serving.server.reload(await another_snapshot(serving, spool_memory="5M\n"))
        assert serving.server.memory.limit == 5 << 20


@on_both_loops
async def test_a_port_that_begins_with_tls_just_closes(tmp_path: Path) -> None:
    async with serve(catching(tmp_path) | {"max_connections": ["1"]}) as serving:
        first = await Client.of(serving)
        port = serving.server._acceptors[1].listening.getsockname()[1]
        second = await Client.connect(serving.host, port)
        assert await second.closed()
        for client in (first, second):
            await client.close()


@asynccontextmanager
async def beside_another_worker(tmp_path: Path) -> AsyncIterator[tuple[Server, Slot, int]]:
    """A worker, what the other one sees of it, and its port."""
    board = Scoreboard(2)
    board.slot(1).say_accepting(True)
    async with serve(catching(tmp_path)) as serving:
        loop = asyncio.get_running_loop()
        server = Server(serving.server.snapshot, loop, board.slot(0))
        (listener,) = bind([ListenAddress("127.0.0.1", 0)])
        await server.listen([listener])
        yield server, board.slot(1), listener.socket.getsockname()[1]
        await server._stop_accepting()
        assert list(board.accepting) == [0, 1]


@on_both_loops
async def test_a_worker_with_more_than_its_share_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes then waits for another worker."""
    monkeypatch.setattr(server_module, "REST_SECONDS", 1000)
    async with beside_another_worker(tmp_path) as (server, _, port):
        with server._acceptors[0].listening.dup() as of_other_worker:
            clients = []
            while server._resting is None:
                clients.append(await (await Client.connect("127.0.0.1", port)).greeted())
            assert 16 < len(clients) < 50
            one_more = await Client.connect("127.0.0.1", port)
            await until(lambda: _is_waiting(of_other_worker))
            assert await one_more.closed()
            for client in (one_more, *clients):
                await client.close()


@on_both_loops
async def test_a_rest_ends_later_without_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "RETRY_SECONDS", 0)
    async with beside_another_worker(tmp_path) as (server, _, port):
        poor = NoDescriptorAtFirst(server._acceptors[0])
        server._acceptors[:] = [poor]
        clients = []
        while not poor.started:
            clients.append(await (await Client.connect("127.0.0.1", port)).greeted())
        assert "cannot accept connections for now: Too many open files" in caplog.text
        for client in (*clients, await Client.connect("127.0.0.1", port)):
            await client.close()


class NoDescriptorAtFirst:
    """An acceptor that cannot be started the first time."""

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self.listening = acceptor.listening
        self.rest, self.close = acceptor.rest, acceptor.close
        self._failed = False
        self.started = False

    async def start(self) -> None:
        if not self._failed:
            self._failed = True
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        await self._acceptor.start()
        self.started = True


@on_both_loops
async def test_a_rest_ends(tmp_path: Path) -> None:
    """When no other worker takes anything, clients are served nevertheless."""
    async with beside_another_worker(tmp_path) as (_, other, port):
        clients = []
        for _ in range(40):
            clients.append(await (await Client.connect("127.0.0.1", port)).greeted())
        assert other.connections_of_others == 40
        for client in clients:
            await client.close()
        await until(lambda: not other.connections_of_others)


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
    monkeypatch.setattr(options, "check_value", lambda *_: None)
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
        assert not server._admission._open
        assert not server._retired
        assert sum(server._by_snapshot.values()) == 0
    assert caplog.records == []


@on_both_loops
async def test_who_was_accepted_just_before_the_end_is_told(tmp_path: Path) -> None:
    """Between accept and the session lie some turns of the event loop."""
    for turns in range(6):
        async with serve(catching(tmp_path)) as serving:
            with serving.server._acceptors[0].listening.dup() as held_by_systemd:
                connected = socket.create_connection((serving.host, serving.port))
                connected.setblocking(False)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await asyncio.wait_for(serving.server.drain(1000), PATIENCE)
                if _is_waiting(held_by_systemd):
                    connected.close()
                    continue
                client = await Client.connect(None, None, sock=connected)
                await client.greeted()
                assert await client.reply() == SHUTDOWN
                assert await client.closed()
                await client.close()


def _is_waiting(listening: socket.socket) -> bool:
    """Whether a connection waits for whoever listens next."""
    listening.setblocking(False)
    try:
        waiting, _ = listening.accept()
    except BlockingIOError:
        return False
    waiting.close()
    return True


@on_both_loops
async def test_plugins_that_ignore_the_cut_do_not_hold_the_end_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import asyncio\nfrom qpsmtpd.api import *\n"
        "class Slow(Plugin[NoOptions]):\n"
        "    async def start(self): self.gate = asyncio.Event()\n"
        "    async def hook_disconnect(self, session): await self.gate.wait()\n"
    )
    (tmp_path / "slow.py").write_text(text)
    monkeypatch.setattr(server_module, "CUT_SECONDS", 0.01)
    async with serve(catching(tmp_path, "slow")) as serving:
        client = await (await Client.connect(serving.host, serving.port)).to_data()
        assert await serving.server.drain(0.01) == 1
        slow: Any = serving.server.snapshot.chain.plugins[0].plugin
        slow.gate.set()
        await client.close()


@on_both_loops
async def test_silent_clients_do_not_hold_the_end_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects meanwhile waits for the next server."""
    monkeypatch.setattr(protocol, "DRAIN_PATIENCE", 0.05)
    issued = trustme.CA().issue_cert("mx.example")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = catching(tmp_path, f"tls {tmp_path}/cert.pem {tmp_path}/key.pem")
    async with serve(files | {"max_junk_commands": ["1000000"]}) as serving:
        deaf = await a_client_that_reads_nothing(serving)
        deaf.send(b"EHLO x\r\n" * 5_000)
        in_data = await (await Client.connect(serving.host, serving.port)).to_data()
        in_data.send(b"Subject: x\r\n")
        before_data = await Client.of(serving)
        assert await before_data.commands("EHLO x", "MAIL FROM:<>") == [250, 250]
        await until(lambda: any(wire._flushing for wire in serving.server._protocols))
        in_handshake = await Client.of(serving)
        await in_handshake.commands("EHLO x", "STARTTLS")
        assert await serving.server.drain(60) == 0
        for client in (in_data, before_data):
            assert (await client.reply()).startswith("421 4.4.2 ")
            assert await client.closed()
            await client.close()
        assert catcher(serving).messages == []
        assert await in_handshake.reply() == ""
        await in_handshake.close()
        deaf.writer.transport.abort()


@on_both_loops
async def test_who_goes_on_during_the_end_is_not_hurried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "DRAIN_PATIENCE", 5.0)
    async with serve(catching(tmp_path)) as serving:
        client = await Client.of(serving)
        assert await client.commands("EHLO x", "MAIL FROM:<>") == [250, 250]
        draining = asyncio.ensure_future(serving.server.drain(60))
        assert await client.commands("RCPT TO:<user@example.test>", "DATA") == [250, 354]
        assert await client.deliver() == "250 2.0.0 Caught"
        assert await client.reply() == SHUTDOWN
        assert await draining == 0
        await client.close()
