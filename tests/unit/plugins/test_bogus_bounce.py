# SPDX-License-Identifier: MIT
"""bogus_bounce: one recipient, no return path; and only from the null sender."""

from __future__ import annotations

import pytest

from qpsmtpd.api import ConfigError, Transaction, Verdict, defer, deny
from qpsmtpd.plugins.bogus_bounce import BogusBounce
from qpsmtpd.testing import a_plugin, a_session, a_transaction

TWO = ("a@example.org", "b@example.org")
RECIPIENTS = deny("A non-delivery report has only one recipient", status="5.7.1")
RETURN_PATH = deny("A non-delivery report has no return path (RFC 3834)", status="5.7.1")


async def verdict_on(tx: Transaction, line: str = "deny") -> Verdict | None:
    return await (await a_plugin(BogusBounce, line)).hook_data_post(tx)


def a_bounce(*recipients: str, path: str = "", relay_client: bool = False) -> Transaction:
    session = a_session(relay_client=relay_client)
    field = f"Return-Path: {path}\n" if path else ""
    message = f"{field}Subject: failure\n\nbody\n"
    return a_transaction("", *(recipients or TWO[:1]), session=session, message=message)


async def test_good_ones() -> None:
    assert await verdict_on(a_bounce()) is None
    assert await verdict_on(a_bounce(path="<>")) is None


async def test_two_recipients() -> None:
    assert await verdict_on(a_bounce(*TWO)) == RECIPIENTS


async def test_return_path() -> None:
    assert await verdict_on(a_bounce(path="<a@b.c>")) == RETURN_PATH


async def test_other_senders_and_relay_clients() -> None:
    message = "Return-Path: <a@b.c>\n\n"
    assert await verdict_on(a_transaction("a@b.c", *TWO, message=message)) is None
    assert await verdict_on(a_bounce(*TWO, relay_client=True)) is None


@pytest.mark.parametrize("line", ["", "log", "action log", "reject 0", "deny reject 0"])
async def test_only_logged(line: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert await verdict_on(a_bounce(*TWO), line) is None
    assert "tolerated=yes" in caplog.text


@pytest.mark.parametrize("line", ["reject 1", "action deny", "action=deny", "log reject 1"])
async def test_refused(line: str) -> None:
    assert await verdict_on(a_bounce(*TWO), line) == RECIPIENTS


@pytest.mark.parametrize("line", ["denysoft", "action denysoft", "reject 1 reject_type temp"])
async def test_refused_for_now(line: str) -> None:
    assert await verdict_on(a_bounce(*TWO), line) == defer(RECIPIENTS.text, status="4.7.1")


async def test_left_to_naughty() -> None:
    tx = a_bounce(*TWO)
    assert await verdict_on(tx, "reject naughty") is None
    assert tx.session.has_deferred_rejects


async def test_unknown_action() -> None:
    with pytest.raises(ConfigError):
        await a_plugin(BogusBounce, "action nonsense")
