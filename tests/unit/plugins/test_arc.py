# SPDX-License-Identifier: MIT
"""arc: where the result goes, which chains count, and who is not checked."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from qpsmtpd.api import ARC_RESULT, Session, Transaction
from qpsmtpd.plugins.arc import Arc
from qpsmtpd.testing import Records, a_plugin, a_session, a_transaction, dns_failure, give_body
from tests.unit.mailauth.chains import chain_of
from tests.unit.mailauth.signing import BODY, FIELDS, KEY_NAME, rsa_record

DNS: Records = {("TXT", KEY_NAME): [rsa_record()]}
SEALED = chain_of(2, BODY) + b"\r\n" + BODY


async def run(
    message: bytes, line: str = "", *, session: Session | None = None, dns: Any = DNS
) -> Transaction:
    """A transaction once the plugin has seen it all."""
    plugin = await a_plugin(Arc, line, dns=dns)
    tx = a_transaction(session=session, message=message)
    assert await plugin.hook_data_headers_end(tx) is None
    give_body(tx, 5)
    assert await plugin.hook_data_post_headers(tx) is None
    await tx.end_tasks()
    return tx


@pytest.mark.parametrize(
    ("message", "line", "result", "reason", "comment"),
    [
        (SEALED, "", "pass", "", "untrusted sealer"),
        (SEALED, "b.example,c.example", "pass", "", "untrusted sealer"),
        (SEALED, "sealers b.example,A.example", "pass", "", ""),
        (SEALED + b"x\r\n", "a.example", "fail", "body hash did not verify", ""),
        (FIELDS + b"\r\n" + BODY, "a.example", "none", "", ""),
    ],
)
async def test_results(message: bytes, line: str, result: str, reason: str, comment: str) -> None:
    tx = await run(message, line)
    [found] = tx.auth_results
    assert (found.method, found.result, found.reason, found.comment) == (
        *("arc", result),
        *(reason, comment),
    )
    assert found.get("header.oldest-pass") == ("0" if result == "pass" else None)
    assert tx.notes[ARC_RESULT].result == result
    assert tx.notes[ARC_RESULT].trusted == (result == "pass" and not comment)


async def test_a_dns_that_fails() -> None:
    """There is no word for that in Authentication-Results."""
    tx = await run(SEALED, dns={("TXT", KEY_NAME): dns_failure()})
    [found] = tx.auth_results
    assert (found.result, found.reason) == ("fail", "key cannot be looked up")
    assert tx.notes[ARC_RESULT].result == "temperror"


@pytest.mark.parametrize("exempt", ["auth_user", "relay_client", "whitelisted_host"])
async def test_who_is_not_checked(exempt: str) -> None:
    session = a_session(ehlo="client.example")
    setattr(session, exempt, "user" if exempt == "auth_user" else True)
    tx = await run(SEALED, session=session)
    assert list(tx.auth_results) == []
    assert ARC_RESULT not in tx.notes
    assert tx.tasks is None


async def test_without_a_chain_nothing_is_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tx = await run(FIELDS + b"\r\n" + BODY)
    assert tx.tasks is None
    assert caplog.records == []


async def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await run(SEALED, "a.example")
    assert [record.getMessage() for record in caplog.records] == [
        "arc=pass sealers='a.example,a.example' trusted=yes why=''"
    ]
