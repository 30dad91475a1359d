# SPDX-License-Identifier: MIT
"""rhsbl: lists of domains, their failures, and who is not looked at."""

from typing import Any

import pytest

from qpsmtpd.api import Decision, Verdict
from qpsmtpd.plugins.rhsbl import Rhsbl
from qpsmtpd.testing import FakeResolver, a_plugin, a_session, a_transaction, dns_failure

NAME = "spam.test.rhsbl.test"
LISTED = {("A", NAME): ["127.0.0.2"], ("TXT", NAME): ["spam.test spams"]}
ZONES = {"rhsbl_zones": ["rhsbl.test"]}


async def run(line: str = "", sender: str = "a@Spam.test", **lent: Any) -> Verdict | None:
    session = lent.pop("session", None)
    lent.setdefault("config", ZONES)
    lent.setdefault("dns", LISTED)
    plugin = await a_plugin(Rhsbl, line, **lent)
    tx = a_transaction(sender, session=session)
    return await plugin.hook_mail(tx, tx.reverse_path)


def shape(verdict: Verdict | None) -> tuple[Decision, str, bool] | None:
    return (verdict.decision, verdict.status, verdict.disconnect) if verdict else None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", (Decision.DENY, "5.7.1", False)),
        ("disconnect", (Decision.DENY, "5.7.1", True)),
        ("reject_type temp", (Decision.DEFER, "4.7.1", False)),
        ("reject 0", None),
        ("reject naughty", None),
    ],
)
async def test_a_listed_sender(line: str, expected: tuple[Decision, str, bool] | None) -> None:
    session = a_session()
    assert shape(await run(line, session=session)) == expected
    assert session.karma == -1


@pytest.mark.parametrize(
    ("zones", "says"),
    [
        (["rhsbl.test"], ": spam.test spams"),
        (["rhsbl.test  it is bad"], ": it is bad"),
        (["rhsbl.test\tit is bad"], ": it is bad"),
        (["other.test other", "rhsbl.test it is bad"], ": it is bad"),
    ],
)
async def test_the_text(zones: list[str], says: str) -> None:
    verdict = await run(config={"rhsbl_zones": zones})
    assert verdict is not None
    assert verdict.text == f"Sender's domain is listed by rhsbl.test{says}"


async def test_a_list_that_says_nothing() -> None:
    verdict = await run(dns={("A", NAME): ["127.0.0.2"]})
    assert verdict is not None
    assert verdict.text == "Sender's domain is listed by rhsbl.test"


@pytest.mark.parametrize("sender", ["", "postmaster", "a@[192.0.2.1]"])
async def test_senders_without_domain_are_not_looked_at(sender: str) -> None:
    dns = FakeResolver(LISTED)
    assert await run(sender=sender, dns=dns) is None
    assert dns.asked == []


async def test_who_is_not_listed_passes() -> None:
    assert await run(sender="a@ham.test") is None


async def test_the_immune_pass() -> None:
    assert await run(session=a_session(relay_client=True)) is None


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["127.255.255.254"], ["192.0.2.1"], dns_failure()]
)
async def test_a_list_in_error_lists_nobody(answer: Any) -> None:
    assert await run(dns={("A", NAME): answer}) is None


async def test_silence_lists_nobody() -> None:
    assert await run("timeout 0.01", dns=FakeResolver(silent=True)) is None
