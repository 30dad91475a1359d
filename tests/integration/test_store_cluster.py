# SPDX-License-Identifier: MIT
"""A store on a real Cluster: what holds for every store, moving slots, and nodes that go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.errors import StoreError
from qpsmtpd.plugin.services import Store
from qpsmtpd.store.cluster import slot_of
from qpsmtpd.store.redisentries import ACL, key_of
from tests.integration.test_store_outage import LOOPS, files, serving, traffic
from tests.redis_groups import Cluster, ClusterNode, caught_up, redis_cluster
from tests.redis_server import redis_server
from tests.unit.client import on_both_loops
from tests.unit.store.stores import Subject, set_clock
from tests.unit.store.test_contract import CONTRACT, Test
from tests.unit.store.test_redis import opened, up_again

# For the time that it takes until they notice that one of them has gone.
pytestmark = pytest.mark.real_systems

LONG = 3600.0
#: Long enough for what is done to each node in turn.
SHORT = 1.0
#: A Cluster that goes on without the slots of a node that is gone.
PARTLY = ("--cluster-require-full-coverage", "no")


@pytest.fixture(scope="module")
def lasting() -> Iterator[Cluster]:
    """A Cluster for tests that leave it as it was."""
    with redis_cluster() as made:
        yield made


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with redis_cluster(more=PARTLY) as made:
        yield made


@pytest.mark.parametrize("test", CONTRACT, ids=lambda test: test.__name__)
@on_both_loops
async def test_contract(lasting: Cluster, test: Test) -> None:
    for server in lasting.masters:
        server.command("FLUSHALL")

    def jump(seconds: float) -> None:
        for server in lasting.masters:
            set_clock(server, seconds)

    async with opened(lasting.url) as store:
        await test(Subject(store, SHORT, lambda: asyncio.sleep(0), jump))


async def test_a_script_may_use_value_and_counter_of_a_key(lasting: Cluster) -> None:
    """Whatever is in the key."""
    async with opened(lasting.url) as store:
        for key in ("a", "{b}c", "}", "x{", "{}", "a|b}"):
            scoped = store.scoped("plugin")
            await scoped.put(key, b"1", LONG)
            await scoped.increment(key, 1, LONG)
            keys = [key_of(f"{kind}|plugin|{key}".encode()).decode() for kind in ("value", "count")]
            assert slot_of(keys[0].encode()) == slot_of(keys[1].encode())
            script = "\"return redis.call('EXISTS', KEYS[1], KEYS[2])\""
            node = lasting.owner(slot_of(keys[0].encode()))
            assert node.command("EVAL", script, "2", *map(_quoted, keys)) == ":2"


def _quoted(word: str) -> str:
    return f'"{word}"'


def key_at(cluster: Cluster, node: ClusterNode, number: int = 0) -> str:
    """A key whose value is on this node."""
    keys = (f"k{n}" for n in range(number * 1000, 1000000))
    return next(key for key in keys if cluster.owner(_slot(key)) is node)


def _slot(key: str) -> int:
    return slot_of(key_of(f"value|{key}".encode()))


async def test_the_rules_of_the_acl_are_enough(lasting: Cluster) -> None:
    for node in lasting.masters:
        rules = ("on", ">secret", *ACL.split())
        assert node.command("ACL", "SETUSER", "mail", *rules) == "+OK"
    async with opened(lasting.url.replace("://", "://mail:secret@")) as store:
        scoped = store.scoped("acl")
        await asyncio.gather(*(scoped.put(f"{number}", b"", LONG) for number in range(20)))
        assert len([item async for item in scoped.items()]) == 20
        assert await scoped.increment("a", 1, LONG) == 1
    for node in lasting.masters:
        assert node.command("ACL", "DRYRUN", "mail", "ASKING") == "+OK"
        node.command("FLUSHALL")


# --- slots that move --------------------------------------------------------------------------


async def test_a_slot_moves_under_way(cluster: Cluster) -> None:
    """ASK while it moves, MOVED afterwards: no change is lost, and none is made twice."""
    source, target = cluster.masters[:2]
    key = key_at(cluster, source)
    slot = str(_slot(key))
    full = key_of(f"value|{key}".encode()).decode()
    async with opened(cluster.url) as store:

        async def change(wanted: int) -> None:
            changed = await store.update(key, lambda old: b"%d" % (int(old or 0) + 1), LONG)
            assert changed == b"%d" % wanted

        await change(1)
        assert target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id) == "+OK"
        assert source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id) == "+OK"
        await change(2)
        where = ("127.0.0.1", str(target.port), _quoted(full), "0", "5000")
        assert source.command("MIGRATE", *where) == "+OK"
        await change(3)
        assert target.command("EXISTS", _quoted(full)).startswith("-MOVED")
        for node in (target, source):
            assert node.command("CLUSTER", "SETSLOT", slot, "NODE", target.id) == "+OK"
        for wanted in (4, 5):
            await change(wanted)
        assert target.command("EXISTS", _quoted(full)) == ":1"


async def test_many_operations_while_slots_move(cluster: Cluster) -> None:
    source, target = cluster.masters[:2]
    keys = [key_at(cluster, source, number) for number in range(20)]
    async with opened(cluster.url) as store:
        await asyncio.gather(*(store.put(key, b"", LONG) for key in keys))
        for key in keys[:10]:
            slot = str(_slot(key))
            target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
            source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
            full = _quoted(key_of(f"value|{key}".encode()).decode())
            source.command("MIGRATE", "127.0.0.1", str(target.port), full, "0", "5000")
        found = await asyncio.gather(*(store.get(key) for key in keys * 3))
        assert found == [b""] * len(keys) * 3


# --- nodes that go ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_dead_node_costs_only_what_is_on_it(
    cluster: Cluster, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    dead, alive = cluster.masters[:2]
    lost, kept = key_at(cluster, dead), key_at(cluster, alive)
    async with opened(cluster.url, 2.0) as store:
        for key in (lost, kept):
            await store.put(key, b"1", LONG)
        getattr(dead, how)()
        began = time.monotonic()
        for _ in range(20):
            outcomes = await asyncio.gather(
                store.get(lost), store.get(kept), return_exceptions=True
            )
            assert isinstance(outcomes[0], StoreError)
            assert outcomes[1] == b"1"
        # Twenty times the deadline would be forty seconds.
        assert time.monotonic() - began < 15
        with pytest.raises(StoreError):
            _ = [item async for item in store.items()]
        dead.resume() if how == "pause" else dead.start()
        await asyncio.to_thread(cluster.agreed)
        assert await _eventually(store, lost) in (b"1", None)
    lines = [record.getMessage() for record in caplog.records if "store" in record.getMessage()]
    assert [line.partition(":")[0] for line in lines] == [
        "node of the store down",
        "node of the store up again",
    ]


async def _eventually(store: Store, key: str) -> bytes | None:
    while True:
        try:
            return await store.get(key)
        except StoreError:
            await asyncio.sleep(0.02)


async def test_the_cluster_is_down_as_a_whole(tmp_path: Path) -> None:
    """With cluster-require-full-coverage, as by default."""
    with redis_cluster() as cluster:
        files(tmp_path, cluster.url)
        async with serving(tmp_path) as (daemon, port), traffic(port) as flow:
            await flow.flows()
            cluster.masters[0].kill()
            await asyncio.to_thread(_down, cluster)
            await flow.flows()
            cluster.masters[0].start()
            await asyncio.to_thread(cluster.agreed)
            await flow.flows()
        assert "Traceback" not in daemon.log


def _down(cluster: Cluster) -> None:
    cluster.agreed("cluster_state:fail")


@LOOPS
async def test_a_dead_slot_while_mail_flows(loop: str, tmp_path: Path, cluster: Cluster) -> None:
    files(tmp_path, cluster.url)
    async with serving(tmp_path, loop) as (daemon, port), traffic(port) as flow:
        for node in cluster.masters:
            node.kill()
            await flow.flows()
            node.start()
            await flow.flows()
    assert "Traceback" not in daemon.log


async def test_a_replica_takes_over() -> None:
    with redis_cluster(replicas=1) as cluster:
        old, replica = cluster.masters[0], cluster.replicas[0]
        key = key_at(cluster, old)
        async with opened(cluster.url) as store:
            await store.put(key, b"1", LONG)
            caught_up(old, replica)
            old.kill()
            assert await _eventually(store, key) == b"1"
            assert replica.command("DBSIZE") == ":1"


async def test_no_node_at_all(cluster: Cluster) -> None:
    for node in cluster.masters:
        node.kill()
    async with opened(cluster.url) as store:
        with pytest.raises(StoreError, match="no node knows the Cluster"):
            await store.get("a")
        for node in cluster.masters:
            node.start()
        await asyncio.to_thread(cluster.agreed)
        await up_again(store)


async def test_a_server_that_is_no_cluster() -> None:
    with redis_server() as server:
        server.listen()
        async with opened(f"redis+cluster://127.0.0.1:{server.port}") as store:
            with pytest.raises(StoreError, match="cluster support disabled"):
                await store.get("a")
