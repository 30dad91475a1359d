# SPDX-License-Identifier: MIT
"""random_error fails as often as it is told, and never for good."""

from __future__ import annotations

import random

import pytest

from qpsmtpd.api import ConfigError, Verdict, defer
from qpsmtpd.plugins.random_error import RandomError
from qpsmtpd.testing import a_plugin, a_recipient, a_session, a_transaction


async def pass_all(plugin: RandomError) -> list[Verdict | None]:
    """The verdicts on a session with one message."""
    session = a_session()
    tx = a_transaction(session=session)
    return [
        await plugin.hook_connect(session),
        await plugin.hook_ehlo(session, "client.example"),
        await plugin.hook_mail(tx, tx.reverse_path),
        await plugin.hook_rcpt(tx, a_recipient()),
        await plugin.hook_data(tx),
        await plugin.hook_data_post(tx),
    ]


async def test_never_and_always() -> None:
    assert await pass_all(await a_plugin(RandomError, "0")) == [None] * 6
    assert None not in await pass_all(await a_plugin(RandomError, "100"))


@pytest.mark.parametrize(("line", "share"), [("", 0.01), ("30", 0.3), ("percent 50", 0.5)])
async def test_share_of_failures(line: str, share: float) -> None:
    plugin = await a_plugin(RandomError, line)
    plugin.random = random.Random(1)
    failed = [any(await pass_all(plugin)) for _ in range(2000)]
    assert sum(failed) / 2000 == pytest.approx(share, abs=0.03)


async def test_kinds_of_failures() -> None:
    plugin = await a_plugin(RandomError, "100")
    plugin.random = random.Random(1)
    verdicts = [verdict for _ in range(200) for verdict in await pass_all(plugin)]
    hard = verdicts.count(defer("Random failure", disconnect=True))
    assert hard / 1200 == pytest.approx(0.4, abs=0.05)
    assert hard + verdicts.count(defer("Random failure")) == 1200


@pytest.mark.parametrize("line", ["-1", "101", "often"])
async def test_wrong_percentages(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(RandomError, line)
