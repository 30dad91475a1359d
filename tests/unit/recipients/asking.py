# SPDX-License-Identifier: MIT
"""What plugins say about recipients, in one line."""

from __future__ import annotations

from typing import Any

from qpsmtpd.api import Plugin, Transaction
from qpsmtpd.testing import a_recipient, a_session, a_transaction

USER, NOBODY = "user@example.test", "nobody@example.test"
OURS = {"rcpthosts": ["example.test"]}

NO = "550 5.1.1 No such user here"
LATER = "451 4.3.0 The recipient cannot be looked up now, please try again later"


async def reply(
    plugin: Plugin[Any], address: str, tx: Transaction | None = None, **client: Any
) -> str:
    """Code, status and text; "" for no opinion."""
    tx = tx or a_transaction(session=a_session(ehlo="client.example", **client))
    verdict = await plugin.hook_verify_recipient(tx, a_recipient(address))
    return "" if verdict is None else f"{verdict.code} {verdict.status} {verdict.text}"
