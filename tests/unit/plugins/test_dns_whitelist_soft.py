# SPDX-License-Identifier: MIT
"""dns_whitelist_soft: who is exempt, and that nobody is when lists fail."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import Session
from qpsmtpd.plugins.dns_whitelist_soft import DnsWhitelistSoft
from qpsmtpd.testing import (
    FakeResolver,
    FakeSystem,
    a_plugin,
    a_session,
    a_transaction,
    dns_failure,
    findings_of,
)

IP = "192.0.2.9"
NAME = "9.2.0.192.wl.test"
LISTED = {("A", NAME): ["127.0.5.1"]}
ZONES = {"whitelist_zones": ["wl.test"]}


async def run(line: str = "", *, session: Session | None = None, **lent: Any) -> Session:
    session = session or a_session(IP)
    lent.setdefault("config", ZONES)
    lent.setdefault("dns", LISTED)
    plugin = await a_plugin(DnsWhitelistSoft, line, **lent)
    assert await plugin.hook_connect(session) is None
    assert session.whitelisted_host in ("", "known")
    for _ in range(2):
        assert await plugin.hook_mail(a_transaction(session=session), None) is None
    await session.end_tasks()
    return session


@pytest.mark.parametrize(
    ("zone", "name"), [("wl.test", "wl.test"), ("wl.test  trusted there", "trusted there")]
)
async def test_a_listed_client_is_exempt_from_mail_on(zone: str, name: str) -> None:
    session = await run(config={"whitelist_zones": ["other.test", zone]})
    assert session.whitelisted_host == name


async def test_ipv6() -> None:
    name = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.wl.test"
    session = await run(session=a_session("2001:db8::1"), dns={("A", name): ["127.0.0.2"]})
    assert session.whitelisted_host == "wl.test"


@pytest.mark.parametrize(
    "answer",
    [[], ["127.0.0.1"], ["127.0.0.255"], ["127.255.255.254"], ["192.0.2.1"], dns_failure()],
)
async def test_no_sensible_answer_exempts_nobody(answer: Any) -> None:
    assert (await run(dns={("A", NAME): answer})).whitelisted_host == ""


async def test_silence_exempts_nobody() -> None:
    session = await run("timeout 0.01", dns=FakeResolver(silent=True))
    assert session.whitelisted_host == ""


async def test_who_is_exempt_already_is_not_asked_about() -> None:
    dns = FakeResolver(LISTED)
    session = a_session(IP)
    session.whitelisted_host = "known"
    await run(session=session, dns=dns)
    assert dns.asked == []
    assert session.whitelisted_host == "known"


async def test_the_lookups_end_with_the_session() -> None:
    dns = FakeResolver(silent=True)
    plugin = await a_plugin(DnsWhitelistSoft, config=ZONES, dns=dns)
    session = a_session(IP)
    await plugin.hook_connect(session)
    tasks = session.notes[plugin._lookups]
    await asyncio.sleep(0)
    assert dns.asked == [("A", NAME)]
    await session.end_tasks()
    await asyncio.wait(tasks)
    assert tasks[0].cancelled()


async def test_without_zones_nothing_happens() -> None:
    dns = FakeResolver()
    await run(config={}, dns=dns)
    assert dns.asked == []


async def test_findings(tmp_path: Path) -> None:
    """One that has everybody would exempt everybody."""
    zones = ["wl.test  trusted there", "all.test", "down.test"]
    dns = {
        ("A", "2.0.0.127.wl.test"): ["127.0.0.2"],
        ("A", "1.0.0.127.all.test"): ["127.0.0.2"],
        ("A", "2.0.0.127.down.test"): dns_failure(),
    }
    plugin = await a_plugin(DnsWhitelistSoft, config={"whitelist_zones": zones}, dns=dns)
    found = await findings_of(plugin, FakeSystem(tmp_path))
    assert [(f.severity.name, f.subject) for f in found] == [
        ("OK", "list wl.test"),
        ("ERROR", "list all.test"),
        ("WARNING", "list down.test"),
    ]
