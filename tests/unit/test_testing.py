# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/testing.py, where no other test would notice a fault."""

from __future__ import annotations

import pytest

from qpsmtpd.plugin.base import Plugin
from qpsmtpd.testing import a_plugin, a_transaction, give_body


async def test_give_body() -> None:
    tx = a_transaction(message="Subject: x\n\nabcde\n")
    heard: list[bytes] = []
    plugin = await a_plugin(Plugin)
    tx.tap(plugin, heard.append)
    give_body(tx, 3)
    assert heard == [b"abc", b"de\r", b"\n"]
    with pytest.raises(RuntimeError):
        tx.tap(plugin, heard.append)


def test_where_the_envelope_may_change() -> None:
    assert a_transaction("a@example.com", "b@example.test").envelope_changeable
    assert a_transaction(message="").envelope_changeable
    assert not a_transaction().envelope_changeable
