# SPDX-License-Identifier: MIT
"""resolvable_fromhost: domains that take bounces, and what becomes of the others."""

import asyncio
from typing import Any

import pytest

from qpsmtpd.api import ConfigError, Decision, DnsAnswer, RecordType, Session, Verdict
from qpsmtpd.plugins.resolvable_fromhost import ResolvableFromhost
from qpsmtpd.testing import (
    FakeResolver,
    Records,
    a_plugin,
    a_session,
    a_transaction,
    dns_failure,
)

INVALID = {"invalid_resolvable_fromhost": ["10.0.0.0/8", "127.0.0.0/8", "fc00::/7"]}
DNS: Records = {
    ("MX", "good.test"): [(10, "mx.test"), (20, "none.test")],
    ("A", "mx.test"): ["192.0.2.1"],
    ("MX", "good6.test"): [(10, "mx6.test")],
    ("AAAA", "mx6.test"): ["2001:db8::1"],
    ("MX", "second.test"): [(10, "private.test"), (20, "mx.test")],
    ("A", "private.test"): ["10.1.2.3", "127.0.0.1"],
    ("AAAA", "private.test"): ["fd00::1"],
    ("MX", "privatemx.test"): [(10, "private.test")],
    ("MX", "nowhere.test"): [(10, "none.test")],
    ("MX", "null.test"): [(0, "")],
    ("MX", "ip.test"): [(10, "192.0.2.7")],
    ("MX", "privateip.test"): [(10, "10.0.0.1")],
    ("A", "mixed.test"): ["10.0.0.1", "192.0.2.1"],
    ("MX", "mixedmx.test"): [(10, "mixed.test")],
    ("A", "a.test"): ["192.0.2.1"],
    ("AAAA", "aaaa.test"): ["2001:db8::1"],
    ("MX", "failing.test"): dns_failure(),
    ("A", "failing.test"): ["192.0.2.1"],
    ("A", "failingmx.test"): dns_failure(),
    ("MX", "viafailing.test"): [(10, "failingmx.test")],
    ("MX", "halffailing.test"): [(10, "failingmx.test"), (20, "mx.test")],
}


async def run(
    sender: str, line: str = "", *, session: Session | None = None, **lent: Any
) -> Verdict | None:
    lent.setdefault("config", INVALID)
    lent.setdefault("dns", DNS)
    plugin = await a_plugin(ResolvableFromhost, line, **lent)
    tx = a_transaction(sender, session=session)
    return await plugin.hook_mail(tx, tx.reverse_path)


def shape(verdict: Verdict | None) -> tuple[Decision, str] | None:
    return (verdict.decision, verdict.status) if verdict else None


SOFT = Decision.DEFER
HARD = Decision.DENY


@pytest.mark.parametrize(
    ("domain", "karma"),
    [
        ("good.test", 0),
        ("good6.test", 0),
        ("second.test", 0),
        ("ip.test", 0),
        ("mixedmx.test", 0),
        ("halffailing.test", 0),
        ("a.test", -1),
        ("aaaa.test", -1),
        ("mixed.test", -1),
        ("[10.0.0.1]", -1),
    ],
)
async def test_domains_that_pass(domain: str, karma: int) -> None:
    session = a_session()
    assert await run(f"a@{domain}", session=session) is None
    assert session.karma == karma


@pytest.mark.parametrize(
    ("domain", "status", "karma"),
    [
        ("absent.test", "4.1.8", -2),
        ("private.test", "4.1.8", -2),
        ("privatemx.test", "4.1.8", -1),
        ("privateip.test", "4.1.8", -1),
        ("nowhere.test", "4.1.8", -1),
        ("null.test", "4.7.27", -1),
    ],
)
async def test_domains_that_do_not(domain: str, status: str, karma: int) -> None:
    session = a_session()
    assert shape(await run(f"a@{domain}", session=session)) == (SOFT, status)
    assert session.karma == karma
    hard = await run(f"a@{domain}", "reject_type perm")
    assert shape(hard) == (HARD, "5" + status[1:])
    assert await run(f"a@{domain}", "reject 0") is None
    naughty = a_session()
    assert await run(f"a@{domain}", "reject naughty", session=naughty) is None
    assert naughty.has_deferred_rejects


@pytest.mark.parametrize("domain", ["192.0.2.1", "1.2.3.4", "127.1", "0192.0.2.1", "0x7f.0.0.1"])
async def test_an_address_without_brackets_is_not_a_domain(domain: str) -> None:
    dns = FakeResolver({("A", domain): ["192.0.2.1"], ("MX", domain): [(10, "mx.test")]})
    verdict = await run(f"a@{domain}", "reject_type perm", dns=dns)
    assert verdict is not None
    assert (verdict.text, verdict.status) == (
        "Sender address needs a fully qualified domain name",
        "5.1.8",
    )
    assert dns.asked == []


@pytest.mark.parametrize("domain", ["bücher.test", "BÜCHER.test", "XN--bcher-kva.test"])
async def test_the_dns_is_asked_about_a_labels(domain: str) -> None:
    dns = FakeResolver({("A", "xn--bcher-kva.test"): ["192.0.2.1"]})
    assert await run(f"a@{domain}", dns=dns) is None
    assert {name for _, name in dns.asked} == {"xn--bcher-kva.test"}


async def test_a_sender_without_domain() -> None:
    assert shape(await run("postmaster")) == (SOFT, "4.1.8")
    assert shape(await run("postmaster", "reject_type hard")) == (HARD, "5.1.8")


@pytest.mark.parametrize("domain", ["failing.test", "failingmx.test", "viafailing.test"])
@pytest.mark.parametrize(
    "line", ["", "reject_type perm", "reject_type disconnect", "reject naughty"]
)
async def test_a_failure_of_the_dns_always_defers(domain: str, line: str) -> None:
    verdict = await run(f"a@{domain}", line)
    assert shape(verdict) == (SOFT, "4.4.3")
    assert verdict is not None
    assert not verdict.disconnect


async def test_a_failure_with_reject_0_is_only_logged() -> None:
    assert await run("a@failing.test", "reject 0") is None


async def test_silence_defers() -> None:
    verdict = await run("a@a.test", "timeout 0.01", dns=FakeResolver(silent=True))
    assert shape(verdict) == (SOFT, "4.4.3")


async def test_the_null_sender_and_the_immune_pass() -> None:
    dns = FakeResolver(DNS)
    assert await run("", dns=dns) is None
    assert await run("a@absent.test", dns=dns, session=a_session(relay_client=True)) is None
    assert dns.asked == []


async def test_without_a_list_every_address_is_valid() -> None:
    assert await run("a@privatemx.test", config={}) is None


async def test_a_wrong_line() -> None:
    with pytest.raises(ConfigError, match="invalid_resolvable_fromhost:1"):
        await run("", config={"invalid_resolvable_fromhost": ["10.0.0"]})


async def test_hosts_are_asked_about_at_once_and_not_too_many() -> None:
    class AllAtOnce(FakeResolver):
        """Answers when twenty questions are under way, and not before."""

        enough = asyncio.Event()

        async def mx(self, name: str) -> list[tuple[int, str]]:
            return [(number, f"h{number}.test") for number in range(50)]

        async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
            self.asked.append((kind, name))
            if len(self.asked) == 20:
                self.enough.set()
            await self.enough.wait()
            return DnsAnswer((), False)

    dns = AllAtOnce()
    assert shape(await run("a@many.test", dns=dns)) == (SOFT, "4.1.8")
    assert len(dns.asked) == 20
