# SPDX-License-Identifier: MIT
"""Many connections at once, with real processes: limits, floods, no descriptors, even workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from qpsmtpd.daemon.admission import LOG_INTERVAL
from tests.unit.client import Client, catching, uvloop_factory
from tests.unit.daemon_process import Daemon, configure, running

MB = 1 << 20

#: EHLO tells which worker it is; and with names of its own uses up the descriptors, or gives back.
WORKER = """
import os
from qpsmtpd.api import *

class Worker(Plugin[NoOptions]):
    async def start(self):
        self.taken = []

    async def hook_ehlo(self, session, host):
        session.capabilities.append(f"XPID {os.getpid()}")
        if host == "take.all":
            try:
                while True:
                    self.taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
        elif host == "give.back":
            for descriptor in self.taken:
                os.close(descriptor)
            self.taken.clear()
"""


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment that makes the daemon use this event loop."""
    if request.param == "uvloop":
        uvloop_factory()
    return {"QPSMTPD_EVENT_LOOP": request.param}


def configured(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "worker.py").write_text(WORKER)
    return configure(tmp_path, {**catching(tmp_path, "worker"), **files})


async def connect(port: int, ip: str = "127.0.0.1") -> tuple[str, Client]:
    """Connect from this address; the first reply, and the client."""
    client = await Client.connect("127.0.0.1", port, local_addr=(ip, 0))
    return await client.reply(), client


async def connect_all(port: int, *ips: str) -> tuple[list[str], list[Client]]:
    """Connect from these addresses, one after the other; the codes of the first replies."""
    opened = [await connect(port, ip) for ip in ips]
    return [reply[:9] for reply, _ in opened], [client for _, client in opened]


async def worker_of(client: Client) -> int:
    """The process id of the worker that serves this client."""
    reply = await client.command("EHLO x")
    return int(reply.partition("XPID ")[2].split()[0])


async def close(*clients: Client) -> None:
    for client in clients:
        await client.close()


# --- limits -----------------------------------------------------------------------------------


async def test_limits_are_those_of_all_workers(tmp_path: Path, loop: dict[str, str]) -> None:
    """What a worker has counted is gone when it is killed."""
    limits = {"max_from_ip": "50", "max_from_network": "55", "admission_exempt": "192.0.2.1"}
    directory = configured(tmp_path, max_connections="60", **limits)
    async with running(directory, workers=2, environment=loop) as daemon:
        port = await daemon.port()
        await daemon.ready()
        ips = ["127.0.0.1"] * 52 + ["127.0.0.2"] * 6 + ["127.0.1.1"] * 6
        codes, clients = await connect_all(port, *ips)
        assert [code[:3] for code in codes].count("220") == 60
        assert codes[50:52] == ["421 4.7.0"] * 2
        assert codes[57] == "421 4.7.0"
        assert codes[63] == "421 4.3.2"
        inside = [client for code, client in zip(codes, clients, strict=True) if code < "4"]
        workers = [await worker_of(client) for client in inside]
        victim = workers[0]
        assert len(set(workers)) == 2
        os.kill(victim, signal.SIGKILL)
        await daemon.logged(f"worker ended pid={victim}")
        await daemon.logged("worker started pid=")
        lost = workers[:50].count(victim)
        again, more = await connect_all(port, *["127.0.0.1"] * (lost + 1))
        assert again[:lost] == ["220 mx.ex"] * lost
        assert again[lost][:3] == "421"
        await close(*clients, *more)


async def test_a_flood_of_refused_clients(tmp_path: Path, loop: dict[str, str]) -> None:
    """It costs no memory, the log is not flooded, and who is inside is served."""
    directory = configured(tmp_path, max_connections="1")
    async with running(directory, environment=loop, debug=False, patience=150) as daemon:
        await daemon.ready()
        port = _port_of(daemon)
        _, inside = await connect(port)
        await asyncio.to_thread(_flood, port, 1000)
        before = daemon.memory()[0]
        began = time.monotonic()
        await asyncio.to_thread(_flood, port, 9_000)
        assert daemon.memory()[0] - before < 4 * MB
        assert await inside.command("NOOP") == "250 2.0.0 OK"
        await inside.close()
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
        lines = [line for line in daemon.lines if "too many connections" in line]
        assert 1 <= len(lines) <= 2 + (time.monotonic() - began) / LOG_INTERVAL


def _port_of(daemon: Daemon) -> int:
    """The port that it listens on, which it does not log by itself."""
    inodes = set()
    for path in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            inodes.add(str(path.readlink()).removeprefix("socket:[").rstrip("]"))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return int(fields[1].rpartition(":")[2], 16)
    raise AssertionError("it does not listen")


def _flood(port: int, count: int) -> None:
    """Connect from many addresses, some at a time, and read that it was in vain."""

    def connect_some(first: int) -> None:
        for number in range(first, first + count // 4):
            source = f"127.{1 + number % 50}.{number // 250 % 250}.{1 + number % 250}"
            with socket.create_connection(("127.0.0.1", port), 20, (source, 0)) as client:
                told = b"".join(iter(lambda: client.recv(1000), b""))
            assert told == b"421 4.3.2 Too many connections, please try again later\r\n"
            counted.append(number)

    counted: list[int] = []
    threads = [threading.Thread(target=connect_some, args=[n * count]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counted) == count


# --- descriptors ------------------------------------------------------------------------------


async def test_few_descriptors(tmp_path: Path, loop: dict[str, str]) -> None:
    """It says at start what they are enough for, and refuses what would be more."""
    directory = configured(tmp_path, max_connections="1000")
    async with running(directory, environment=loop, open_files=260) as daemon:
        warning = await daemon.logged("max_connections")
        assert "1000 connections are more than 260 open files" in warning
        assert "is 40: raise that limit" in warning
        port = await daemon.port()
        codes, clients = await connect_all(port, *["127.0.0.1"] * 42)
        assert codes[39:] == ["220 mx.ex", "421 4.3.2", "421 4.3.2"]
        await daemon.logged("too many connections for the limit of open files limit=40")
        await close(*clients)


async def test_no_descriptors(tmp_path: Path, loop: dict[str, str]) -> None:
    """Something else has used them up: clients wait until there are some; the log says it once."""
    async with running(configured(tmp_path), environment=loop, open_files=260) as daemon:
        port = await daemon.port()
        _, inside = await connect(port)
        assert "XPID" in await inside.command("EHLO take.all")
        await daemon.logged("cannot accept connections for now: Too many open files limit=260")
        outside = [await Client.connect("127.0.0.1", port) for _ in range(30)]
        # Each is a turn of its event loop, and ten a second are attempts to accept.
        used = daemon.cpu_seconds()
        for _ in range(50):
            await inside.command("NOOP")
        assert daemon.cpu_seconds() - used < 1
        assert "XPID" in await inside.command("EHLO give.back")
        for client in outside:
            assert (await client.reply())[:4] == "220 "
        await daemon.logged("accepting connections again seconds=")
        assert daemon.log.count("cannot accept connections") == 1
        assert "Traceback" not in daemon.log
        await close(inside, *outside)


# --- even workers -----------------------------------------------------------------------------


async def test_all_of_a_burst_are_served(tmp_path: Path, loop: dict[str, str]) -> None:
    """By which worker each is, the scheduler decides; but both come to have some."""
    async with running(configured(tmp_path), workers=2, environment=loop) as daemon:
        port = await daemon.port()
        await daemon.ready()
        workers: Counter[int] = Counter()
        while len(workers) < 2:
            opened = await asyncio.gather(*(connect(port) for _ in range(300)))
            assert {reply[:3] for reply, _ in opened} == {"220"}
            clients = [client for _, client in opened]
            workers += Counter(await asyncio.gather(*map(worker_of, clients)))
            await close(*clients)
        assert sorted(workers) == daemon.children()


async def test_a_worker_that_was_away_catches_up(tmp_path: Path, loop: dict[str, str]) -> None:
    """And while it is away, the other one serves everybody."""
    async with running(configured(tmp_path), workers=2, environment=loop) as daemon:
        port = await daemon.port()
        await daemon.ready()
        away, here = daemon.children()
        os.kill(away, signal.SIGSTOP)
        codes, clients = await connect_all(port, *["127.0.0.1"] * 100)
        assert {code[:3] for code in codes} == {"220"}
        assert {await worker_of(client) for client in clients} == {here}
        os.kill(away, signal.SIGCONT)
        caught_up = 0
        while caught_up < 30:
            _, client = await connect(port)
            clients.append(client)
            caught_up += await worker_of(client) == away
        await close(*clients)
