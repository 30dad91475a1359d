# SPDX-License-Identifier: MIT
"""badrcptto refuses listed recipients to everybody."""

from __future__ import annotations

import pytest

from qpsmtpd.api import ConfigError, Transaction, Verdict, deny
from qpsmtpd.plugins.badrcptto import Badrcptto
from qpsmtpd.testing import a_plugin, a_recipient, a_session, a_transaction

FILE = ["Bad@example.com", "@bad.example.com", "gone@example.com gave notice", r"pattern\.test$"]
REFUSED = deny("Mail to this address is not accepted here", status="5.1.1")


async def verdict_on(address: str, tx: Transaction | None = None) -> Verdict | None:
    plugin = await a_plugin(Badrcptto, config={"badrcptto": FILE})
    return await plugin.hook_rcpt(tx or a_transaction(), a_recipient(address))


@pytest.mark.parametrize(
    "address", ["bad@example.com", "BAD@Example.COM", "any@bad.example.com", "x@a.Pattern.test"]
)
async def test_listed(address: str) -> None:
    tx = a_transaction()
    assert await verdict_on(address, tx) == REFUSED
    assert tx.session.karma == -2


async def test_own_reason() -> None:
    assert await verdict_on("gone@example.com") == deny("gave notice", status="5.1.1")


@pytest.mark.parametrize("address", ["user@example.com", "any@x.bad.example.com", "postmaster"])
async def test_others(address: str) -> None:
    tx = a_transaction()
    assert await verdict_on(address, tx) is None
    assert tx.session.karma == 0


async def test_nobody_is_exempt() -> None:
    relay_client = a_transaction(session=a_session(relay_client=True))
    assert await verdict_on("bad@example.com", relay_client) == REFUSED
    friend = a_transaction()
    friend.session.whitelisted_host = "list.example"
    friend.whitelisted_sender = True
    assert await verdict_on("bad@example.com", friend) == REFUSED


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("a!b@example.com", "Sorry, no bang paths"),
        ("a@spam.example", "Mail to this address is not accepted here"),
        ("user@example.com", None),
        ("bad@example.com", None),
    ],
)
async def test_the_file_of_check_badrcptto_patterns(address: str, text: str | None) -> None:
    config = {"badrcptto": FILE, "badrcptto_patterns": ["!  Sorry, no bang paths", "spam"]}
    plugin = await a_plugin(Badrcptto, "patterns", config=config)
    verdict = await plugin.hook_rcpt(a_transaction(), a_recipient(address))
    assert (verdict.text if verdict else None) == text


async def test_wrong_lines() -> None:
    with pytest.raises(ConfigError, match="badrcptto:1: "):
        await a_plugin(Badrcptto, config={"badrcptto": ["nobody"]})
