# SPDX-License-Identifier: MIT
"""What the parts of the daemon count: each thing once, under the right name."""

from __future__ import annotations

import asyncio
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qpsmtpd.daemon.sampling import STAGES, say_open, stage_of
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.errors import DnsError, PeerError, StoreError
from qpsmtpd.logs.outlets import FileOutlet
from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics import counting as counters
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.metrics.memory import CELLS, NAME_BYTES, Head, slot_in
from qpsmtpd.metrics.metric import Metric
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.nexthop.target import Target
from qpsmtpd.plugin.blocking import BlockingPool
from qpsmtpd.plugin.breaker import Breaker
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.store.guard import Guard
from qpsmtpd.store.operation import Get
from qpsmtpd.testing import FakeClock, a_message, a_transaction, dns_failure, serve
from tests.dns_server import DnsServer
from tests.unit.client import Client
from tests.unit.metrics.examples import nothing
from tests.unit.nexthop.fake import FakeHop
from tests.unit.nexthop.test_pool import hand_over
from tests.unit.store.test_guard import Backend

Counted = dict[str, float]

#: Times the room for figures that a process of the daemon has.
ROOM = 16


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tests before these ones, with all their plugins and paths, may have left none."""
    monkeypatch.setattr(counters, "MOST_SERIES", sys.maxsize)
    head = Head("", 0, 0.0, 0.0, 0, cells=ROOM * CELLS, names=ROOM * NAME_BYTES)
    before = FIGURES._slot
    FIGURES.use(slot_in(memoryview(mmap.mmap(-1, head.size)), head, 0))
    yield
    FIGURES.use(before)


def counts() -> dict[tuple[Metric, tuple[str, ...]], float]:
    """The counters, and how many measurements each histogram has."""
    FIGURES.write()
    found: dict[tuple[Metric, tuple[str, ...]], float] = {}
    for (metric, labels), series in FIGURES._series.items():
        cells = FIGURES.values[series.cell : series.cell + metric.cells].tolist()
        if not metric.sampled:
            found[metric, labels] = sum(cells[:-1]) if metric.buckets else cells[0]
    return found


@contextmanager
def counting(*metrics: Metric) -> Iterator[Counted]:
    """What is counted within, by the names of these metrics and the labels, once it is over."""
    before, new = counts(), Counted()
    yield new
    for (metric, labels), value in counts().items():
        gained = value - before.get((metric, labels), 0.0)
        if metric in metrics and gained:
            new[" ".join((metric.name.removeprefix("qpsmtpd_"), *labels))] = gained


def sampled(metric: Metric) -> dict[tuple[str, ...], float]:
    """What is said of this metric now."""
    FIGURES.sample(nothing)
    return {labels: value for (found, labels), value in said_now() if found is metric}


def said_now() -> Iterator[tuple[tuple[Metric, tuple[str, ...]], float]]:
    for key, series in FIGURES._series.items():
        value = FIGURES.values[series.cell]
        if value == value:  # otherwise nobody says anything
            yield key, value


PLUGIN = """
import asyncio

from qpsmtpd.api import *

class Says(Plugin[NoOptions]):
    async def hook_mail(self, tx, sender):
        user = tx.sender.partition("@")[0]
        if user == "waits":
            await asyncio.sleep(0)
            return deny("No")
        if user == "fails":
            raise RuntimeError
        if user == "later":
            return defer("Later")
        if user == "passes":
            tx.auth_results.append(AuthResult("spf", "pass"))

    async def hook_queue(self, tx):
        return defer("Full") if tx.sender.startswith("passes") else accept()
"""

SENDERS = {"good": "250", "passes": "250", "waits": "550", "later": "450", "fails": "451"}


async def test_a_session(tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(PLUGIN)
    files = {
        "plugin_dirs": [str(tmp_path)],
        "plugins": ["says", "rcpt_ok"],
        "rcpthosts": ["example.test"],
        "reverse_lookup": ["no"],
    }
    metrics = (
        catalogue.CONNECTIONS,
        catalogue.MESSAGES,
        catalogue.MESSAGE_SECONDS,
        catalogue.REFUSALS,
        catalogue.PLUGIN_ANSWERS,
        catalogue.PLUGIN_SECONDS,
        catalogue.AUTHENTICATION,
        catalogue.SESSIONS_ENDED,
    )
    with counting(*metrics) as counted:
        async with serve(files) as serving:
            client = await Client.of(serving)
            await client.command("EHLO client.example")
            for user, code in SENDERS.items():
                reply = await client.command(f"MAIL FROM:<{user}@client.example>")
                assert reply.startswith(code)
                if code == "250":
                    await client.command("RCPT TO:<user@example.test>")
                    await client.command("DATA")
                    await client.deliver(b"Subject: x\r\n\r\nx\r\n")
            await client.command("QUIT")
            await client.close()
    assert counted == {
        "connections": 1,
        "sessions_ended message": 1,
        "messages accepted": 1,
        "messages deferred": 1,
        "message_seconds": 2,
        "refusals says mail refused": 1,
        "refusals says mail deferred": 2,
        "plugin_answers says mail deny": 1,
        "plugin_answers says mail defer": 1,
        "plugin_answers says mail fault": 1,
        "plugin_answers says queue accept": 1,
        "plugin_answers says queue defer": 1,
        "plugin_answers rcpt_ok rcpt accept": 2,
        "plugin_seconds says mail": 2,
        "authentication spf pass": 1,
    }


async def test_look_ups() -> None:
    records: Any = {
        ("A", "a.test"): ["192.0.2.1"],
        ("TXT", "a.test"): [],
        ("A", "broken.test"): dns_failure(),
    }
    with counting(catalogue.DNS_LOOKUPS, catalogue.DNS_SECONDS) as counted:
        async with DnsServer(records) as server:
            resolver = DnsResolver([server.address])
            assert await resolver.a("a.test") == await resolver.a("A.test") == ["192.0.2.1"]
            await resolver.look_up("AAAA", "nowhere.test")
            with pytest.raises(DnsError):
                await resolver.a("broken.test")
            await resolver.close()
    assert counted == {
        "dns_lookups A found": 1,
        "dns_lookups AAAA nxdomain": 1,
        "dns_lookups A error": 1,
        "dns_lookup_seconds": 3,
    }


async def test_a_next_hop_and_one_that_is_gone() -> None:
    async with FakeHop() as hop:
        good = Target(host="127.0.0.1", port=hop.port, hello="x")
        gone = Target(path="/nowhere/socket", hello="x")
        places = str(good), str(gone)
        metrics = catalogue.NEXT_HOP_TRANSACTIONS, catalogue.NEXT_HOP_CONNECTS
        with counting(*metrics, catalogue.NEXT_HOP_SECONDS) as counted:
            pool = Pool(gone, size=3, idle=9, others=[good])
            assert await pool.run(hand_over) == 250
            assert sampled(catalogue.NEXT_HOP_CONNECTIONS)[places[1], "idle"] == 1
            assert sampled(catalogue.NEXT_HOP_CONNECTIONS)[places[1], "busy"] == 0
            await pool.close()
    assert counted == {
        f"next_hop_connects {places[1]} failed": 1,
        f"next_hop_connects {places[0]} done": 1,
        f"next_hop_transactions {places[0]} done": 1,
        f"next_hop_seconds {places[0]}": 1,
    }


async def test_a_store_that_goes_down() -> None:
    backend = Backend()
    store = Guard(backend, 9.0)
    with counting(catalogue.STORE_OPERATIONS, catalogue.STORE_OUTAGES) as counted:
        await store.ask(Get(b"x"))
        before = sampled(catalogue.STORE_DOWN)[()]
        backend.error = OSError("gone")
        for _ in range(2):
            with pytest.raises(StoreError):
                await store.ask(Get(b"x"))
        assert sampled(catalogue.STORE_DOWN)[()] == before + 1
        await store.close()
    assert counted == {
        "store_operations done": 1,
        "store_operations failed": 2,
        "store_outages": 1,
    }


def test_a_scanner_that_goes_down() -> None:
    breaker = Breaker(FakeClock(), "scanner", "/run/counted")
    labels = ("scanner", "/run/counted")
    assert sampled(catalogue.SERVICE_DOWN)[labels] == 0
    with counting(catalogue.SERVICE_FAILURES, catalogue.SERVICE_OUTAGES) as counted:
        breaker.failed(PeerError("gone", unreachable=True))
        breaker.failed(PeerError("gone", unreachable=True))
    assert sampled(catalogue.SERVICE_DOWN)[labels] == 1
    assert counted == {
        "service_failures scanner /run/counted": 2,
        "service_outages scanner /run/counted": 1,
    }
    del breaker
    assert labels not in sampled(catalogue.SERVICE_DOWN)


async def test_calls_in_threads() -> None:
    pool = BlockingPool()
    before = sampled(catalogue.BLOCKING_CALLS)[()]
    loop, begun, gate = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def block() -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

    call = asyncio.create_task(pool.run(block))
    await begun.wait()
    assert sampled(catalogue.BLOCKING_CALLS)[()] == before + 1
    gate.set()
    await call
    assert sampled(catalogue.BLOCKING_CALLS)[()] == before
    await pool.close()


def test_log_lines_that_are_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "nowhere" / "log")
    with counting(catalogue.LOG_LINES_LOST) as counted:
        FileOutlet(path).write(b"a line\n")
    assert counted == {f"log_lines_lost {path}": 1}
    assert "lines_lost=1" in capsys.readouterr().err


# --- what connections are at ----------------------------------------------------------------


def a_connection(**attributes: Any) -> Connection:
    session = SimpleNamespace(commands=3, transaction=None)
    given = {"session": session, "incoming": None, "deciding": False, **attributes}
    return cast("Connection", SimpleNamespace(**given))


def test_stages() -> None:
    assert stage_of(None) == stage_of(a_connection()) == "command"
    new = SimpleNamespace(commands=0, transaction=None)
    assert stage_of(a_connection(session=new)) == "connect"
    transaction = a_transaction()
    session = SimpleNamespace(commands=3, transaction=transaction)
    assert stage_of(a_connection(session=session)) == "mail"
    assert stage_of(a_connection(session=session, incoming=object())) == "data"
    deciding = a_connection(session=session, deciding=True)
    assert stage_of(deciding) == "data"
    transaction.message = a_message()
    assert stage_of(deciding) == "decision"
    transaction.trail.hook = "queue"
    assert stage_of(deciding) == "queue"


def test_what_is_open() -> None:
    protocols: Any = [SimpleNamespace(connection=a_connection()) for _ in range(3)]
    FIGURES.sample(lambda: say_open(protocols=protocols, before_header=2, limit=9, memory=700))
    said = {(metric.name, labels): value for (metric, labels), value in said_now()}
    stages = {stage: said["qpsmtpd_connections_open", (stage,)] for stage in STAGES}
    assert stages == {**dict.fromkeys(STAGES, 0), "command": 3, "proxy": 2}
    assert said["qpsmtpd_connections_limit", ()] == 9
    assert said["qpsmtpd_spool_memory_bytes", ()] == 700
