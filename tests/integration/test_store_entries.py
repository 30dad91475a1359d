# SPDX-License-Identifier: MIT
"""What is in Redis after all kinds of sessions: every key has our layout, and comes to an end."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from qpsmtpd.store.redisentries import ACL
from qpsmtpd.testing import serve
from tests.integration.test_dmarc_reports import OPTIONS, message
from tests.integration.test_store_lies import FAR_DNS, PROXIED, from_afar
from tests.redis_server import RedisServer, redis_server
from tests.unit.client import catching

CHAIN = (
    *("sender_permitted_from", "dkim", f"dmarc reject 1 {OPTIONS} 127.0.0.1:1"),
    *("karma strikes 1 reject 0", "auth/auth_flat_file", "rate_limit messages_per_client 100/1d"),
)
#: Then nobody gets as far as the others want.
GREYLISTING = "greylisting black_timeout 1 per_recipient 1"
WRONG = base64.b64encode(b"\0me@example.test\0wrong").decode()
#: As long as anything may be remembered: the option history_days of karma allows ten years.
LONGEST = 3650 * 86400
OPERATIONS = 8
_KEY = re.compile(
    r"qpsmtpd\|3\|(value|count)\|\{(?P<scope>[a-z _/]+)\|.*\}|qpsmtpd\|3\|probe\|\{\}"
)


async def test_every_entry_ends(tmp_path: Path) -> None:
    with redis_server() as server:
        files = {**PROXIED, "store": [server.url], "flat_auth_pw": ["me@example.test:secret"]}
        for chain in (CHAIN, (GREYLISTING,)):
            async with serve({**files, **catching(tmp_path, *chain)}, dns=FAR_DNS) as serving:
                await _sessions(serving.host, serving.port)
        store = shared_store(parse_location(server.url), 10.0)
        names = [name async for name, _ in store.items()]
        await store.close()
        keys = server.texts("KEYS", "*")
        lives = {key: int(server.command("PTTL", f'"{key}"')[1:]) for key in keys}
    assert len(names) <= len(keys)
    assert {key for key, life in lives.items() if not 0 < life <= LONGEST * 1000} == set()
    matches = {key: _KEY.fullmatch(key) for key in keys}
    assert [key for key, match in matches.items() if match is None] == []
    scopes = {match["scope"] for match in matches.values() if match}
    assert scopes >= {"karma", "greylisting", "rate_limit", "dmarc reports", "failed logins"}


async def _sessions(host: str, port: int) -> None:
    for author in ("a@client.example", "ceo@victim.example", "x{y}@client.example"):
        await _session(host, port, author)
    await _failed_login(host, port)


async def _session(host: str, port: int, author: str) -> None:
    client = await from_afar(host, port)
    await client.reply()
    # The space costs karma.
    await client.commands("EHLO client.example", f"MAIL FROM: <{author}>")
    if await client.commands("RCPT TO:<user@example.test>", "DATA") == [250, 354]:
        await client.deliver(message(author))
    await client.commands("NONSENSE", "QUIT")
    await client.close()


async def _failed_login(host: str, port: int) -> None:
    client = await from_afar(host, port)
    await client.reply()
    await client.commands("EHLO client.example", f"AUTH PLAIN {WRONG}")
    await client.close()


async def test_the_rules_of_the_acl_are_enough(tmp_path: Path) -> None:
    """And a user that has only these may do nothing else."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    with redis_server() as server:
        assert server.command("ACL", "SETUSER", "mail", "on", ">secret", *ACL.split()) == "+OK"
        place = server.url.replace("unix://", "unix://mail@")
        store = shared_store(parse_location(f"{place}?password_file={password}"), 10.0)
        scoped = store.scoped("test")
        await scoped.put("a", b"1", 60)
        assert await scoped.add("a", b"2", 60) == b"1"
        assert await scoped.update("a", lambda _old: b"3", 60) == b"3"
        assert await scoped.increment("a", 2, 60) == await scoped.count("a") == 2
        assert [item async for item in scoped.items()] == [("a", b"3")]
        await scoped.delete("a")
        await store.close()
        for words in (("GET", "other"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*")):
            said = server.command("ACL", "DRYRUN", "mail", *words)
            assert "no permissions" in said or said.startswith("$"), said
            assert said != "+OK"


async def test_operations_of_a_message(tmp_path: Path) -> None:
    """As many as qpsmtpd-scaling(7) counts with, for a client that is known."""
    chain = (*CHAIN, "greylisting black_timeout 1")
    with redis_server() as server:
        files = {**PROXIED, "store": [server.url], **catching(tmp_path, *chain)}
        async with serve(files, dns=FAR_DNS) as serving:
            store = shared_store(parse_location(server.url), 10.0)
            await store.scoped("greylisting").put("known/192.0.2.0/24", b"9999999999", 3600)
            await store.close()
            await _session(serving.host, serving.port, "a@client.example")
            before = _scripts(server)
            for _ in range(10):
                await _session(serving.host, serving.port, "a@client.example")
        # What is asked at the end of the last session is carried out by now.
        made = (_scripts(server) - before) / 10
    assert OPERATIONS - 2 <= made <= OPERATIONS, made


def _scripts(server: RedisServer) -> int:
    found = re.search(r"cmdstat_eval:calls=(\d+)", server.ask("INFO", "commandstats"))
    assert found
    return int(found[1])
