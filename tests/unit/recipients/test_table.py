# SPDX-License-Identifier: MIT
"""RecipientTable: whom it is asked about, what a no means, and when it is not believed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import (
    ConfigError,
    Plugin,
    Recipient,
    Transaction,
    Verdict,
    our_domains,
    parse_forward_path,
)
from qpsmtpd.plugin.breaker import RETRY
from qpsmtpd.recipients import RecipientTable, TableKey, TableOptions, check_backend
from qpsmtpd.recipients.memory import RECENT
from qpsmtpd.recipients.table import CANARY_LIVES, table_keys
from qpsmtpd.scanners import ScannerError
from qpsmtpd.testing import FakeClock, FakeStore, a_plugin, a_transaction
from tests.unit.recipients.asking import LATER, NO, NOBODY, USER, reply


class FakeBackend:
    """A table in memory.  `fault` is what it raises; a `silent` one never answers."""

    def __init__(self, *addresses: str, name: str = "fake") -> None:
        self.addresses = set(addresses)
        self.name = name
        self.fault: Exception | None = None
        self.silent = False
        self.closed = False
        self.asked: list[str] = []

    def __str__(self) -> str:
        return self.name

    async def find(self, keys: Sequence[TableKey]) -> bool:
        self.asked.extend(key.address for key in keys)
        if self.silent:
            await asyncio.Event().wait()
        if self.fault:
            raise self.fault
        return any(key.address in self.addresses for key in keys)

    async def close(self) -> None:
        self.closed = True


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """As those of plugins."""


class Tabular(Plugin[Options]):
    """A plugin with fake tables."""

    files = {"rcpthosts": "", "morercpthosts.cdb": ""}
    backends: Sequence[FakeBackend] = ()

    async def start(self) -> None:
        ours = await our_domains(self.services)
        self.table = RecipientTable(self, self.options, self.backends, ours)

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return await self.table.judge(tx, recipient)


CONFIG = {"rcpthosts": ["example.test", ".below.test", "bücher.test"]}


async def a_table(*backends: FakeBackend, line: str = "", **lent: Any) -> Tabular:
    class Made(Tabular):
        pass

    Made.backends = backends
    lent.setdefault("name", "rcpt_fake")
    return await a_plugin(Made, line, config=CONFIG, **lent)


# --- who is asked about whom ----------------------------------------------------------------


async def test_known_and_unknown() -> None:
    plugin = await a_table(FakeBackend(USER))
    assert await reply(plugin, USER) == ""
    assert await reply(plugin, "USER@Example.TEST") == ""
    assert await reply(plugin, NOBODY) == NO


@pytest.mark.parametrize("relay_client", [False, True])
@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("nobody@elsewhere.example", ""),
        ("nobody@below.test", ""),
        ("postmaster", ""),
        ("nobody@[192.0.2.1]", ""),
        ("nobody@mx.example", NO),
        ("nobody@a.below.test", NO),
        ("nobody@xn--bcher-kva.test", NO),
        ("postmaster@example.test", NO),
    ],
)
async def test_only_recipients_of_our_domains(
    address: str, verdict: str, relay_client: bool
) -> None:
    backend = FakeBackend()
    plugin = await a_table(backend)
    assert await reply(plugin, address, relay_client=relay_client) == verdict
    assert bool(backend.asked) is bool(verdict)


async def test_it_accepts_nobody() -> None:
    """Whatever the table has: the verdict is a refusal, or no opinion."""
    addresses = (USER, "user@elsewhere.example", "user%elsewhere.example@example.test")
    plugin = await a_table(FakeBackend(*addresses))
    assert [await reply(plugin, address) for address in addresses] == ["", "", ""]


async def test_domains_of_the_line() -> None:
    backend = FakeBackend()
    plugin = await a_table(backend, line="domains example.test,elsewhere.example")
    assert await reply(plugin, NOBODY) == NO
    assert await reply(plugin, "nobody@a.below.test") == ""
    assert await reply(plugin, "nobody@elsewhere.example") == ""
    assert backend.asked == [NOBODY]
    [warning] = plugin.services.config.warnings  # type: ignore[attr-defined]
    assert "elsewhere.example is not a domain that we accept mail for" in warning


async def test_two_tables_for_a_domain() -> None:
    first = await a_table(FakeBackend("a@example.test"), line="unknown next", name="rcpt_fake:1")
    backend = FakeBackend("b@example.test")
    second = await a_table(backend, name="rcpt_fake:2")
    tx = a_transaction()
    for address, verdict in (("a", ""), ("b", ""), ("c", NO)):
        assert await reply(first, f"{address}@example.test", tx) == ""
        assert await reply(second, f"{address}@example.test", tx) == verdict
    assert backend.asked == ["b@example.test", "c@example.test"]


@pytest.mark.parametrize(
    "line",
    [
        "unknown maybe",
        "on_error deny",
        "timeout 0",
        "timeout 51",
        "connections 0",
        "delimiter ++",
        "canary postmaster",
        "canary @",
        "domains a..b",
    ],
)
async def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_table(FakeBackend(), line=line)


# --- keys -----------------------------------------------------------------------------------


def keys(address: str, **options: Any) -> list[str]:
    parsed = parse_forward_path(f"<{address}>", utf8=True)
    return [key.address for key in table_keys(parsed, Options(**options))]


def test_keys() -> None:
    assert keys("User+x@example.test") == ["user+x@example.test"]
    assert keys("u+x+y@example.test", delimiter="+", catch_all=True) == [
        "u+x+y@example.test",
        "u@example.test",
        "@example.test",
    ]
    assert keys("+x@example.test", delimiter="+") == ["+x@example.test"]
    assert keys("Ü@bücher.test", catch_all=True) == ["ü@xn--bcher-kva.test", "@xn--bcher-kva.test"]
    assert keys('"a@b c"@example.test') == ["a@b c@example.test"]


@given(st.text("ab+@ .", min_size=1, max_size=20))
def test_all_keys_are_of_the_same_domain(user: str) -> None:
    quoted = user.replace("\\", "").replace('"', "")
    for key in keys(f'"{quoted}"@example.test', delimiter="+", catch_all=True):
        assert key.endswith("@example.test")


# --- failures -------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "expected"), [("", LATER), ("on_error pass", "")])
async def test_a_failure_refuses_nobody_for_good(line: str, expected: str) -> None:
    backend = FakeBackend(USER)
    plugin = await a_table(backend, line=line)
    backend.fault = ScannerError("talks nonsense")
    assert await reply(plugin, USER) == expected
    assert await reply(plugin, NOBODY) == expected
    backend.fault = None
    assert await reply(plugin, NOBODY) == NO


async def test_silence() -> None:
    backend = FakeBackend(USER)
    backend.silent = True
    assert await reply(await a_table(backend, line="timeout 0.1"), USER) == LATER


async def test_who_is_down_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    backend, clock = FakeBackend(USER), FakeClock()
    plugin = await a_table(backend, clock=clock)
    backend.fault = ScannerError("cannot connect", unreachable=True)
    assert [await reply(plugin, USER) for _ in range(3)] == [LATER] * 3
    assert len(backend.asked) == 1
    backend.fault = None
    clock.advance(RETRY)
    assert await reply(plugin, USER) == ""
    assert "recipient table down: fake: cannot connect" in caplog.text
    assert "recipient table up again: fake" in caplog.text


async def test_the_second_place_stands_in() -> None:
    first, second = FakeBackend(USER), FakeBackend(USER, name="second")
    plugin = await a_table(first, second)
    first.fault = ScannerError("cannot connect", unreachable=True)
    assert await reply(plugin, NOBODY) == NO
    assert await reply(plugin, USER) == ""
    assert (len(first.asked), len(second.asked)) == (1, 2)
    second.fault = ScannerError("broken")
    assert await reply(plugin, "other@example.test") == LATER


async def test_a_silent_place_leaves_time_for_the_second() -> None:
    first, second = FakeBackend(), FakeBackend(name="second")
    first.silent = True
    assert await reply(await a_table(first, second, line="timeout 0.2"), NOBODY) == NO


async def test_what_waits_too_long_for_its_turn() -> None:
    backend = FakeBackend(USER)
    backend.silent = True
    plugin = await a_table(backend, line="connections 1 timeout 0.1")
    replies = await asyncio.gather(*(reply(plugin, f"{n}@example.test") for n in range(3)))
    assert replies == [LATER] * 3


async def test_a_fault_of_ours_is_raised() -> None:
    backend = FakeBackend()
    backend.fault = RuntimeError("a fault")
    with pytest.raises(RuntimeError):
        await reply(await a_table(backend), USER)


# --- canary ---------------------------------------------------------------------------------


async def test_an_empty_table_refuses_nobody() -> None:
    backend, clock = FakeBackend(), FakeClock()
    plugin = await a_table(backend, line=f"canary {USER}", clock=clock)
    assert await reply(plugin, NOBODY) == LATER
    backend.addresses.add(USER)
    assert await reply(plugin, NOBODY) == NO
    backend.addresses.clear()
    assert await reply(plugin, "other@example.test") == NO  # it lives for a while
    clock.advance(CANARY_LIVES)
    assert await reply(plugin, "third@example.test") == LATER
    assert await reply(plugin, NOBODY) == LATER


# --- memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "lasts"), [(USER, 600 + RECENT), (NOBODY, 60)])
async def test_what_is_known_is_remembered(address: str, lasts: float) -> None:
    backend, clock = FakeBackend(USER), FakeClock()
    plugin = await a_table(backend, clock=clock)
    first = await reply(plugin, address)
    clock.advance(min(lasts, 600) - 1)
    assert await reply(plugin, address) == first
    assert len(backend.asked) == 1
    clock.advance(lasts - min(lasts, 600) + 1)
    assert await reply(plugin, address) == first
    assert len(backend.asked) == 2


async def test_nothing_is_remembered_if_so_said() -> None:
    backend = FakeBackend(USER)
    plugin = await a_table(backend, line="positive 0 negative 0")
    for address in (USER, USER, NOBODY, NOBODY):
        await reply(plugin, address)
    assert len(backend.asked) == 4


async def test_a_short_memory_is_short_without_the_store_too() -> None:
    backend, clock = FakeBackend(USER), FakeClock()
    plugin = await a_table(
        backend, line="positive 5", store=FakeStore(clock, down=True), clock=clock
    )
    await reply(plugin, USER)
    clock.advance(4)
    await reply(plugin, USER)
    clock.advance(1)
    await reply(plugin, USER)
    assert len(backend.asked) == 2


async def test_other_options_have_a_memory_of_their_own() -> None:
    store = FakeStore()
    assert await reply(await a_table(FakeBackend(), store=store), USER) == NO
    other = await a_table(FakeBackend(USER), store=store, line="timeout 5")
    assert await reply(other, USER) == ""


async def test_the_store_is_not_needed() -> None:
    plugin = await a_table(FakeBackend(USER), store=FakeStore(down=True))
    assert await reply(plugin, USER) == ""
    assert await reply(plugin, NOBODY) == NO


# --- the rest -------------------------------------------------------------------------------


async def test_close() -> None:
    backend = FakeBackend()
    plugin = await a_table(backend)
    await plugin.table.close()
    assert backend.closed


async def test_doctor() -> None:
    backend = FakeBackend()
    assert str(await check_backend("t", Options(), backend)).count("answers")
    assert "does not have" in str(await check_backend("t", Options(canary=USER), backend))
    backend.fault = ScannerError("is broken")
    assert "is broken" in str(await check_backend("t", Options(), backend))
    assert backend.closed
