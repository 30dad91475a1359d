# SPDX-License-Identifier: MIT
"""A real Redis: log-in, TLS, what a server may refuse, and replies that come too late."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import trustme

from qpsmtpd.errors import StoreError
from qpsmtpd.store import guard
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import SharedStore, shared_store
from tests.redis_server import redis_server
from tests.unit.client import PATIENCE, on_both_loops

LONG = 3600.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RETRY", 0.01)
    monkeypatch.setattr(guard, "RELAPSE", 0)


@contextlib.asynccontextmanager
async def opened(url: str, timeout: float = PATIENCE) -> AsyncIterator[SharedStore]:
    store = shared_store(parse_location(url), timeout)
    try:
        yield store
    finally:
        await store.close()


async def up_again(store: SharedStore) -> None:
    """Wait for it."""
    while True:
        try:
            await store.get("anything")
        except StoreError:
            await asyncio.sleep(0.01)
        else:
            return


@on_both_loops
async def test_a_password() -> None:
    with redis_server("--requirepass", "se/cret") as server:
        async with opened(f"unix://:se%2Fcret@{server.socket}") as store:
            await store.put("a", b"1", LONG)
            assert await store.get("a") == b"1"
        for wrong in (f"unix://:guess@{server.socket}", server.url):
            async with opened(wrong) as store:
                with pytest.raises(StoreError) as caught:
                    await store.get("a")
                assert "guess" not in str(caught.value)


@on_both_loops
async def test_a_user() -> None:
    rule = "user mail on >secret ~qpsmtpd|* +@all"
    with redis_server("--user", *rule.split()[1:]) as server:
        async with opened(f"unix://mail:secret@{server.socket}") as store:
            assert await store.increment("a", 1, LONG) == 1


@on_both_loops
async def test_a_database() -> None:
    with redis_server() as server:
        async with opened(server.url) as zero, opened(f"{server.url}?db=1") as one:
            await zero.put("a", b"0", LONG)
            await one.put("a", b"1", LONG)
            assert [await zero.get("a"), await one.get("a")] == [b"0", b"1"]


@on_both_loops
async def test_tls() -> None:
    authority, other = trustme.CA(), trustme.CA()
    with authority.cert_pem.tempfile() as ca_file, other.cert_pem.tempfile() as other_file:
        certificate = authority.issue_cert("127.0.0.1")
        with (
            certificate.private_key_and_cert_chain_pem.tempfile() as chain,
            redis_server(*_tls_arguments(chain, ca_file)) as server,
        ):
            server.listen("tls-port")
            place = f"rediss://127.0.0.1:{server.port}?ssl_ca_certs="
            async with opened(f"{place}{ca_file}") as store:
                assert await store.increment("a", 1, LONG) == 1
            async with opened(f"{place}{other_file}") as store:
                with pytest.raises(StoreError, match=r"(?i)certificate"):
                    await store.increment("a", 1, LONG)
            async with opened(f"rediss://localhost:{server.port}?ssl_ca_certs={ca_file}") as store:
                with pytest.raises(StoreError, match=r"(?i)certificate"):
                    await store.increment("a", 1, LONG)


def _tls_arguments(chain: str, ca_file: str) -> tuple[str, ...]:
    files = ("--tls-cert-file", chain, "--tls-key-file", chain, "--tls-ca-cert-file", ca_file)
    return (*files, "--tls-auth-clients", "no")


@on_both_loops
async def test_a_server_that_is_full() -> None:
    with redis_server() as server:
        async with opened(server.url) as store:
            await store.put("a", b"1", LONG)
            server.command("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StoreError, match="command not allowed when used memory"):
                await store.put("a", b"2", LONG)
            # It can still be read from, but that is not enough to be up.
            with pytest.raises(StoreError):
                await store.get("a")
            server.command("CONFIG", "SET", "maxmemory", "0")
            await up_again(store)
            await store.put("a", b"3", LONG)


@on_both_loops
async def test_a_late_reply_is_for_nobody() -> None:
    """What was asked before the deadline is answered when the server goes on, and not read."""
    with redis_server() as server:
        async with opened(server.url) as store:
            for key in ("a", "b"):
                await store.put(key, key.encode(), LONG)
            for _ in range(3):
                server.pause()
                store._guard._timeout = 0.05
                with pytest.raises(StoreError, match="no answer within"):
                    await store.get("a")
                store._guard._timeout = PATIENCE
                server.resume()
                await up_again(store)
                assert [await store.get(key) for key in ("b", "a", "c")] == [b"b", b"a", None]


@on_both_loops
async def test_a_connection_that_was_closed_while_idle() -> None:
    with redis_server() as server:
        async with opened(server.url) as store:
            for _ in range(3):
                assert await store.get("a") is None
                server.command("CLIENT", "KILL", "TYPE", "normal")


@on_both_loops
async def test_a_server_that_starts_anew_meanwhile() -> None:
    with redis_server() as server:
        async with opened(server.url) as store:
            assert await store.increment("a", 1, LONG) == 1
            server.kill()
            server.start()
            assert await store.increment("a", 1, LONG) == 1


@on_both_loops
async def test_no_server() -> None:
    with redis_server() as server:
        server.kill()
        async with opened(server.url) as store:
            with pytest.raises(StoreError):
                await store.get("a")
            server.start()
            await up_again(store)


@on_both_loops
async def test_two_machines_count_together() -> None:
    with redis_server() as server:
        async with opened(server.url) as one, opened(server.url) as other:
            calls = [store.increment("a", 1, LONG) for store in (one, other) * 100]
            assert sorted(await asyncio.gather(*calls)) == list(range(1, 201))
