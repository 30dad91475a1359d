# SPDX-License-Identifier: MIT
"""logging/adaptive: what is written at once, what with the prefix, what never."""

from __future__ import annotations

import logging
import os

import pytest

from qpsmtpd.mail.session import Transaction
from qpsmtpd.plugins.logging import adaptive
from qpsmtpd.plugins.logging.adaptive import Adaptive
from qpsmtpd.testing import a_plugin, a_transaction
from tests.unit.plugins.logging.records import a_record, pass_on

PID = os.getpid()


async def logged(plugin: Adaptive, tx: Transaction, *levels: int) -> None:
    for level in levels:
        pass_on(plugin, a_record(f"at {level}", level, session=tx.session.id))


async def test_accepted_message_is_written_again(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(Adaptive)
    tx = a_transaction()
    await logged(plugin, tx, logging.INFO, logging.WARNING, logging.ERROR)
    assert capsys.readouterr().err.splitlines() == [
        f"{PID} {tx.session.id}: at 30",
        f"{PID} {tx.session.id}: at 40",
    ]
    await plugin.hook_queue_post(tx)
    await plugin.hook_reset_transaction(tx)
    assert capsys.readouterr().err == f"`{PID} {tx.session.id}: at 40\n"


async def test_accept_may_be_more_talkative(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(Adaptive, "accept LOGINFO reject LOGERROR prefix +")
    tx = a_transaction()
    await logged(plugin, tx, logging.DEBUG, logging.INFO)
    assert capsys.readouterr().err == ""
    await plugin.hook_queue_post(tx)
    await plugin.hook_reset_transaction(tx)
    assert capsys.readouterr().err == f"+{PID} {tx.session.id}: at 20\n"
    assert plugin.log_level == logging.INFO


async def test_refused_message_is_not_written_again(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(Adaptive)
    tx = a_transaction()
    await logged(plugin, tx, logging.ERROR)
    capsys.readouterr()
    await plugin.hook_reset_transaction(tx)
    assert capsys.readouterr().err == ""


async def test_refusal_does_not_last(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(Adaptive)
    tx = a_transaction()
    await logged(plugin, tx, logging.ERROR)
    await plugin.hook_reset_transaction(tx)
    await logged(plugin, tx, logging.CRITICAL)
    await plugin.hook_queue_post(tx)
    capsys.readouterr()
    await plugin.hook_reset_transaction(tx)
    assert capsys.readouterr().err == f"`{PID} {tx.session.id}: at 50\n"


async def test_sessions_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(Adaptive)
    one, two = a_transaction(), a_transaction()
    await logged(plugin, one, logging.ERROR)
    await logged(plugin, two, logging.CRITICAL)
    await plugin.hook_queue_post(two)
    capsys.readouterr()
    await plugin.hook_reset_transaction(one)
    await plugin.hook_reset_transaction(two)
    assert capsys.readouterr().err == f"`{PID} {two.session.id}: at 50\n"


async def test_prefix_is_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(Adaptive)
    tx = a_transaction()
    pass_on(plugin, a_record("a\nb", logging.ERROR, session=tx.session.id))
    await plugin.hook_queue_post(tx)
    capsys.readouterr()
    await plugin.hook_reset_transaction(tx)
    assert all(line.startswith("`") for line in capsys.readouterr().err.splitlines())


async def test_memory_is_bounded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptive, "MOST_SESSIONS", 3)
    plugin = await a_plugin(Adaptive)
    for _ in range(5):
        tx = a_transaction()
        await logged(plugin, tx, *[logging.ERROR] * (adaptive.MOST_LINES + 5))
    assert len(plugin._memories) == 3
    assert len(plugin._memories[tx.session.id].lines) == adaptive.MOST_LINES
    await plugin.hook_post_connection(tx.session)
    assert len(plugin._memories) == 2


async def test_lines_of_no_session_are_not_remembered() -> None:
    plugin = await a_plugin(Adaptive)
    pass_on(plugin, a_record(level=logging.ERROR, session=""))
    assert not plugin._memories
