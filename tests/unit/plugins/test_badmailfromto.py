# SPDX-License-Identifier: MIT
"""badmailfromto refuses pairs of sender and recipient."""

from __future__ import annotations

import pytest

from qpsmtpd.api import ConfigError, Verdict, deny
from qpsmtpd.plugins.badmailfromto import Badmailfromto
from qpsmtpd.testing import a_plugin, a_recipient, a_session, a_transaction

FILE = ["Spammer@example.com\tUser@example.org", "@example.com other@example.org"]
REFUSED = deny("Mail from this sender to this address is not accepted here", status="5.7.1")


async def verdict_on(sender: str, recipient: str, relay_client: bool = False) -> Verdict | None:
    plugin = await a_plugin(Badmailfromto, config={"badmailfromto": FILE})
    tx = a_transaction(sender, session=a_session(relay_client=relay_client))
    return await plugin.hook_rcpt(tx, a_recipient(recipient))


@pytest.mark.parametrize(
    ("sender", "recipient"),
    [
        ("spammer@example.com", "user@example.org"),
        ("SPAMMER@example.com", "USER@example.org"),
        ("spammer@example.com", "other@example.org"),
        ("anybody@example.com", "other@example.org"),
    ],
)
async def test_listed_pairs(sender: str, recipient: str) -> None:
    assert await verdict_on(sender, recipient) == REFUSED
    assert await verdict_on(sender, recipient, relay_client=True) is None


@pytest.mark.parametrize(
    ("sender", "recipient"),
    [
        ("anybody@example.com", "user@example.org"),
        ("spammer@example.com", "third@example.org"),
        ("spammer@sub.example.com", "other@example.org"),
        ("spammer@example.com", "postmaster"),
        ("", "user@example.org"),
        ("postmaster", "user@example.org"),
    ],
)
async def test_other_pairs(sender: str, recipient: str) -> None:
    assert await verdict_on(sender, recipient) is None


@pytest.mark.parametrize("line", ["a@b.c", "a@b.c d@e.f g@h.i", "b.c d@e.f", "a@b.c @e.f", ""])
async def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError, match="badmailfromto:1: must be"):
        await a_plugin(Badmailfromto, config={"badmailfromto": [line]})
