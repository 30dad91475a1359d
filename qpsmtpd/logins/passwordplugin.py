# SPDX-License-Identifier: MIT
"""PasswordPlugin: what plugins have in common that judge logins by the password."""

from __future__ import annotations

from typing import TypeVar

from qpsmtpd.mail.session import AuthAttempt, Session
from qpsmtpd.mail.verdict import Verdict
from qpsmtpd.plugin.base import Plugin

O = TypeVar("O")  # noqa: E741 (the options class of a plugin)


class PasswordPlugin(Plugin[O]):
    """Judges a login the same way whichever mechanism has brought the password."""

    async def hook_auth_plain(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self.judge(session, attempt)

    async def hook_auth_login(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self.judge(session, attempt)

    async def judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        """What the back end says; to be overridden."""
        raise NotImplementedError
