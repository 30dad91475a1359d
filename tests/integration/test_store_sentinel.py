# SPDX-License-Identifier: MIT
"""A store that real Sentinels find: fail-overs while mail flows, and Sentinels that are no help."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.errors import StoreError
from qpsmtpd.store.redisentries import ACL
from tests.integration.test_store_outage import LOOPS, connected, files, serving, traffic, tries
from tests.redis_groups import SERVICE, SentinelGroup, sentinel_group, until
from tests.unit.store.test_redis import opened, up_again

# For the time that it takes until they notice that one of them has gone.
pytestmark = pytest.mark.real_systems

LONG = 3600.0


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    with sentinel_group() as made:
        yield made


@LOOPS
async def test_the_master_dies_while_mail_flows(
    loop: str, tmp_path: Path, group: SentinelGroup
) -> None:
    files(tmp_path, group.url)
    async with serving(tmp_path, loop) as (daemon, port):
        async with traffic(port) as flow:
            await flow.flows()
            old = group.master
            old.kill()
            await daemon.logged("store down")
            await flow.flows()
            await daemon.logged("store up again")
            await flow.flows()
        assert group.master is not old
        assert group.master.command("DBSIZE") != ":0"
    assert "Traceback" not in daemon.log


async def test_a_limit_holds_on_the_new_master(tmp_path: Path, group: SentinelGroup) -> None:
    files(tmp_path, group.url, ["rate_limit messages_per_client 2/1d"])
    async with serving(tmp_path) as (daemon, port), connected(port) as client:
        assert await tries(client, 3) == [250, 250, 451]
        # What the replica has not got yet would be lost.
        group.caught_up()
        group.master.kill()
        assert (await tries(client, 1))[0] in (250, 451)
        await daemon.logged("store up again")
        assert await tries(client, 1) == [451]


async def test_without_any_master_mail_is_taken(tmp_path: Path, group: SentinelGroup) -> None:
    files(tmp_path, group.url, ["rate_limit messages_per_client 1/1d"])
    for server in group.servers:
        server.kill()
    async with serving(tmp_path) as (daemon, port), connected(port) as client:
        assert await tries(client, 3) == [250] * 3
        await daemon.logged("store down")


async def test_a_planned_change_of_the_master_loses_no_count(group: SentinelGroup) -> None:
    async with opened(group.url) as store:
        assert await store.increment("a", 1, LONG) == 1
        old = group.master
        group.caught_up()
        assert group.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE) == "+OK"
        await asyncio.to_thread(until, lambda: "role:slave" in old.ask("INFO", "replication"))
        await up_again(store)
        assert await store.increment("a", 1, LONG) == 2
        assert group.master is not old


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_one_sentinel_is_enough(group: SentinelGroup, how: str) -> None:
    for sentinel in group.sentinels[:-1]:
        getattr(sentinel, how)()
    async with opened(group.url, 2.0) as store:
        assert await store.increment("a", 1, LONG) == 1
    for sentinel in group.sentinels[:-1]:
        if how == "pause":
            sentinel.resume()


async def test_sentinels_that_are_no_help(group: SentinelGroup) -> None:
    async with opened(group.url.replace(f"/{SERVICE}", "/other")) as store:
        with pytest.raises(StoreError, match="knows no master with the name other"):
            await store.get("a")
    wrong = f"redis+sentinel://127.0.0.1:{group.master.port}/{SERVICE}"
    async with opened(wrong) as store:
        with pytest.raises(StoreError, match=r"(?i)unknown command.*SENTINEL"):
            await store.get("a")
    for sentinel in group.sentinels:
        sentinel.pause()
    async with opened(group.url, 0.4) as store:
        began = time.monotonic()
        with pytest.raises(StoreError):
            await store.get("a")
        assert time.monotonic() - began < 20
    for sentinel in group.sentinels:
        sentinel.resume()


async def test_the_rules_of_the_acl_are_enough(group: SentinelGroup) -> None:
    for server in group.servers:
        assert server.command("ACL", "SETUSER", "me", "on", ">secret", *ACL.split()) == "+OK"
    async with opened(group.url.replace("://", "://me:secret@")) as store:
        assert await store.increment("a", 1, LONG) == 1


async def test_passwords_everywhere(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for file, password in ((ours, "se/cret"), (theirs, "watch")):
        file.write_text(f"{password}\n")
        file.chmod(0o600)
    server = ("--requirepass", "se/cret", "--masterauth", "se/cret")
    # With a password of their own they use it among each other as well.
    watching = (
        f"sentinel auth-pass {SERVICE} se/cret",
        *("requirepass watch", "sentinel sentinel-pass watch"),
    )
    passwords = ("se/cret", "watch")
    with sentinel_group(server=server, sentinel=watching, passwords=passwords) as group:
        query = f"?password_file={ours}&sentinel_password_file={theirs}"
        async with opened(f"{group.url}{query}") as store:
            assert await store.increment("a", 1, LONG) == 1
        ours.write_text("guess\n")
        async with opened(f"{group.url}{query}") as store:
            with pytest.raises(StoreError) as caught:
                await store.get("a")
            assert "guess" not in str(caught.value)
            # A new password counts without a reload.
            ours.write_text("se/cret\n")
            await up_again(store)
