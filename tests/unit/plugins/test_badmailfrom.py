# SPDX-License-Identifier: MIT
"""badmailfrom refuses listed senders, and leaves trusted clients and the null sender alone."""

from __future__ import annotations

import pytest

from qpsmtpd.api import ConfigError, Transaction, Verdict, defer, deny
from qpsmtpd.plugins.badmailfrom import Badmailfrom
from qpsmtpd.testing import a_plugin, a_session, a_transaction

FILE = ["matt@test.net", "matt@test.com Yer a spammin so-and-so", "@bad.example"]
TEXT = "Mail from this sender is not accepted here"


async def verdict_on(tx: Transaction, line: str = "") -> Verdict | None:
    plugin = await a_plugin(Badmailfrom, line, config={"badmailfrom": FILE})
    return await plugin.hook_mail(tx, tx.reverse_path)


async def test_listed_sender() -> None:
    tx = a_transaction("matt@test.net")
    assert await verdict_on(tx) == deny(TEXT, status="5.7.1")
    assert tx.session.karma == -1


async def test_own_reason() -> None:
    verdict = await verdict_on(a_transaction("Matt@test.com"))
    assert verdict == deny("Yer a spammin so-and-so", status="5.7.1")


@pytest.mark.parametrize("sender", ["", "matt@test.org", "matt@sub.bad.example"])
async def test_others(sender: str) -> None:
    tx = a_transaction(sender)
    assert await verdict_on(tx) is None
    assert tx.session.karma == 0


async def test_an_empty_list() -> None:
    plugin = await a_plugin(Badmailfrom)
    tx = a_transaction("matt@test.net")
    assert await plugin.hook_mail(tx, tx.reverse_path) is None


async def test_the_trusted_are_immune() -> None:
    assert await verdict_on(a_transaction("x@bad.example", session=a_session())) is not None
    assert (
        await verdict_on(a_transaction("x@bad.example", session=a_session(relay_client=True)))
        is None
    )


async def test_reject_options() -> None:
    assert await verdict_on(a_transaction("matt@test.net"), "reject 0") is None
    assert await verdict_on(a_transaction("matt@test.net"), "reject_type temp") == defer(
        TEXT, status="4.7.1"
    )
    tx = a_transaction("matt@test.net")
    assert await verdict_on(tx, "reject naughty") is None
    assert tx.session.deferred_rejects == [TEXT]


async def test_wrong_lines() -> None:
    with pytest.raises(ConfigError, match="badmailfrom:1: "):
        await a_plugin(Badmailfrom, config={"badmailfrom": ["bad.example"]})


async def test_the_file_of_check_badmailfrom_patterns() -> None:
    patterns = [r"^return.*@.*\.verp\.example$  no VERP", "bulk"]
    config = {"badmailfrom": FILE, "badmailfrom_patterns": patterns}
    plugin = await a_plugin(Badmailfrom, "patterns", config=config)
    for sender, text in {
        "return-1@a.verp.example": "no VERP",
        "x@bulk.example": TEXT,
        "matt@test.net": None,
    }.items():
        tx = a_transaction(sender)
        verdict = await plugin.hook_mail(tx, tx.reverse_path)
        assert (verdict.text if verdict else None) == text
