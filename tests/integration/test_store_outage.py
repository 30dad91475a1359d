# SPDX-License-Identifier: MIT
"""A store that is killed, paused and started again while mail flows through a real daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.redis_server import redis_server
from tests.unit.client import PATIENCE, Client, uvloop_factory
from tests.unit.daemon_process import Daemon, configure, running

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

LIMIT = "rate_limit messages_per_client 1000000/1d recipients_per_network 1000000/1d"
CLIENTS = 8

ENVELOPE = ("MAIL FROM:<a@client.example>", "RCPT TO:<user@example.test>", "DATA")


@contextlib.asynccontextmanager
async def serving(
    directory: Path, loop: str = "asyncio", **options: Any
) -> AsyncIterator[tuple[Daemon, int]]:
    """A daemon that logs warnings only (nobody has to read them), and its port."""
    if loop == "uvloop":
        uvloop_factory()
    environment = {"QPSMTPD_EVENT_LOOP": loop, **options.pop("environment", {})}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        given = {"environment": environment, "passed": [listener], "debug": False, **options}
        async with running(directory, **given) as daemon:
            await daemon.ready()
            yield daemon, listener.getsockname()[1]


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A client that has said EHLO."""
    client = await (await Client.connect("127.0.0.1", port)).greeted()
    try:
        await client.command("EHLO client.example")
        yield client
    finally:
        await client.close()


class Traffic:
    """Clients that send message after message, and everything that is not as it should be."""

    def __init__(self) -> None:
        self.accepted = 0
        self.wrong: list[str] = []
        self._more = asyncio.Condition()

    async def send(self, port: int) -> None:
        async with connected(port) as client:
            while True:
                for line in ENVELOPE:
                    self._check(await client.command(line))
                self._check(await client.deliver())
                async with self._more:
                    self.accepted += 1
                    self._more.notify_all()

    def _check(self, reply: str) -> None:
        if not reply.startswith(("250 ", "354 ")):
            self.wrong.append(reply)

    async def flows(self, messages: int = 3 * CLIENTS) -> None:
        """Wait until so many more messages were accepted."""
        wanted = self.accepted + messages
        async with self._more:
            await self._more.wait_for(lambda: self.accepted >= wanted or bool(self.wrong))


@contextlib.asynccontextmanager
async def traffic(port: int) -> AsyncIterator[Traffic]:
    flow = Traffic()
    async with asyncio.TaskGroup() as group:
        senders = [group.create_task(flow.send(port)) for _ in range(CLIENTS)]
        yield flow
        for sender in senders:
            sender.cancel()
    assert flow.wrong == []


def files(directory: Path, store: str, limits: Sequence[str] = (LIMIT,)) -> Path:
    plugins = [*limits, "rcpt_ok", "queue/discard"]
    return configure(
        directory,
        {"plugins": plugins, "store": store, "store_timeout": "1", "max_junk_commands": "10000"},
    )


@LOOPS
async def test_redis_comes_and_goes_while_mail_flows(loop: str, tmp_path: Path) -> None:
    with redis_server() as server:
        files(tmp_path, server.url)
        async with serving(tmp_path, loop) as (daemon, port):
            async with traffic(port) as flow:
                await flow.flows()
                server.kill()
                await daemon.logged("store down")
                await flow.flows()
                server.start()
                await daemon.logged("store up again")
                await flow.flows()
                server.pause()
                await daemon.logged("store down")
                await flow.flows()
                server.resume()
                await daemon.logged("store up again")
                await flow.flows()
            daemon.signal(signal.SIGTERM)
            assert await daemon.ended() == 0
    # Twice, or more often where something else held the machine for longer than the timeout.
    told = re.findall(r"store (?:down|up again): ", daemon.log)
    assert len(told) >= 4
    assert told == (["store down: ", "store up again: "] * len(told))[: len(told)], daemon.log
    assert "Traceback" not in daemon.log


@LOOPS
async def test_a_limit_holds_again_after_an_outage(loop: str, tmp_path: Path) -> None:
    with redis_server() as server:
        files(tmp_path, server.url, ["rate_limit messages_per_client 2/1d"])
        async with serving(tmp_path, loop) as (daemon, port), connected(port) as client:
            assert await tries(client, 3) == [250, 250, 451]
            server.pause()
            assert await tries(client, 2) == [250, 250]
            await daemon.logged("store down")
            server.resume()
            await daemon.logged("store up again")
            assert await tries(client, 2) == [451, 451]
            server.kill()
            assert await tries(client, 2) == [250, 250]
            server.start()
            await daemon.logged("store up again")
            # A new server knows nothing of the past.
            assert await tries(client, 3) == [250, 250, 451]


async def test_a_daemon_starts_without_its_store(tmp_path: Path) -> None:
    with redis_server() as server:
        server.kill()
        files(tmp_path, server.url, ["rate_limit messages_per_client 1/1d"])
        async with serving(tmp_path) as (daemon, port), connected(port) as client:
            assert await tries(client, 3) == [250, 250, 250]
            await daemon.logged("store down")
            server.start()
            await daemon.logged("store up again")
            assert await tries(client, 2) == [250, 451]


@LOOPS
async def test_a_file_that_is_locked_and_removed(loop: str, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    files(tmp_path, str(path), ["rate_limit messages_per_client 2/1d"])
    async with serving(tmp_path, loop) as (daemon, port), connected(port) as client:
        assert await tries(client, 3) == [250, 250, 451]
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await tries(client, 2) == [250, 250]
            await daemon.logged("store down")
        await daemon.logged("store up again")
        assert await tries(client, 1) == [451]
        path.unlink()
        assert await tries(client, 3) == [250, 250, 451]


async def test_a_file_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"no database" * 1000)
    files(tmp_path, str(path), ["rate_limit messages_per_client 2/1d"])
    async with serving(tmp_path) as (daemon, port), connected(port) as client:
        assert await tries(client, 3) == [250, 250, 451]
        await daemon.logged(f"store {path} is damaged")
    assert path.with_name("store.sqlite.bad").read_bytes() == b"no database" * 1000


@pytest.mark.parametrize("location", ["{}/no/such/directory/store", "{}", "/dev/null", "/proc/x"])
async def test_a_place_that_cannot_be(location: str, tmp_path: Path) -> None:
    files(tmp_path, location.format(tmp_path), ["rate_limit messages_per_client 1/1d"])
    async with serving(tmp_path) as (daemon, port), connected(port) as client:
        assert await tries(client, 3) == [250, 250, 250]
        await daemon.logged("store down")


@pytest.mark.parametrize(
    ("command", "who"),
    [
        ("CONFIG SET requirepass secret", "redis://:guess@"),
        ("CONFIG SET requirepass secret", "redis://"),
        ("ACL SETUSER mail on >secret ~qpsmtpd|* -@all +get", "redis://mail:secret@"),
        ("REPLICAOF 127.0.0.1 1", "redis://"),
        ("PING", "rediss://"),
        ("PING", "redis+cluster://"),
    ],
)
async def test_a_server_that_does_not_want_us(command: str, who: str, tmp_path: Path) -> None:
    with redis_server() as server:
        server.listen()
        server.command(*command.split())
        limits = ["rate_limit messages_per_client 1/1d"]
        files(tmp_path, f"{who}127.0.0.1:{server.port}", limits)
        async with serving(tmp_path) as (daemon, port), connected(port) as client:
            assert await tries(client, 3) == [250, 250, 250]
            line = await daemon.logged("store down")
    assert "guess" not in line
    assert "secret" not in line


async def test_a_server_that_wants_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    chain, ca_file = tmp_path / "chain", tmp_path / "ca"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    authority.cert_pem.write_to_path(ca_file)
    given = ("--tls-cert-file", str(chain), "--tls-key-file", str(chain))
    with redis_server(*given, "--tls-ca-cert-file", str(ca_file)) as server:
        server.listen("tls-port")
        place = f"127.0.0.1:{server.port}"
        pair = f"ssl_certfile={chain}&ssl_keyfile={chain}"
        for store, outcome in (
            (f"redis://{place}", [250, 250]),
            (f"rediss://{place}?{pair}", [250, 250]),
            (f"rediss://{place}?ssl_ca_certs={ca_file}", [250, 250]),
            (f"rediss://{place}?ssl_ca_certs={ca_file}&{pair}", [250, 451]),
        ):
            files(tmp_path, store, ["rate_limit messages_per_client 1/1d"])
            # A busy machine has its time for the handshake; whom TLS refuses is down at once.
            (tmp_path / "store_timeout").write_text(f"{PATIENCE:g}\n")
            async with serving(tmp_path) as (_, port), connected(port) as client:
                assert await tries(client, 2) == outcome


async def test_a_full_disk(tmp_path: Path) -> None:
    files(tmp_path, str(tmp_path / "store"), ["rate_limit messages_per_client 1/1d"])
    async with serving(tmp_path, file_limit=1000) as (daemon, port), connected(port) as client:
        assert await tries(client, 3) == [250, 250, 250]
        await daemon.logged("store down")


async def test_workers_share_a_limit_also_one_that_was_killed(tmp_path: Path) -> None:
    files(tmp_path, "", ["rate_limit connections_per_client 6/1d reject 1"])
    (tmp_path / "store").unlink()
    state = tmp_path / "state"
    state.mkdir()
    given = {"STATE_DIRECTORY": str(state)}
    async with serving(tmp_path, workers=2, environment=given) as (daemon, port):
        replies = [await greeting(port) for _ in range(6)]
        os.kill(daemon.children()[0], signal.SIGKILL)
        await daemon.logged("worker")
        replies += [await greeting(port) for _ in range(2)]
        assert replies == ["220"] * 6 + ["450"] * 2
    assert (state / "store.sqlite").exists()


async def test_a_reload_takes_another_store(tmp_path: Path) -> None:
    files(tmp_path, str(tmp_path / "one"), ["rate_limit messages_per_client 1/1d"])
    async with serving(tmp_path, debug=True) as (daemon, port), connected(port) as first:
        assert await tries(first, 2) == [250, 451]
        (tmp_path / "store").write_text(f"{tmp_path}/two\n")
        daemon.signal(signal.SIGHUP)
        await daemon.logged("configuration reloaded")
        async with connected(port) as second:
            assert await tries(second, 2) == [250, 451]
        # The first session keeps the configuration, and the store, that it began with.
        assert await tries(first, 1) == [451]


async def greeting(port: int) -> str:
    client = await Client.connect("127.0.0.1", port)
    reply = await client.reply()
    await client.close()
    return reply[:3]


async def tries(client: Client, count: int) -> list[int]:
    """Send messages; the codes that decided about them."""
    codes = []
    for _ in range(count):
        codes += (await client.commands(*ENVELOPE))[2:]
        if codes[-1] == 354:
            codes[-1] = int((await client.deliver())[:3])
        else:
            await client.command("RSET")
    return codes
