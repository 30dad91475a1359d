# SPDX-License-Identifier: MIT
"""VpopmailPlugin: what the plugins have in common that read vpopmail's users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from qpsmtpd.logins.judging import LoginOptions
from qpsmtpd.logins.passwordplugin import PasswordPlugin
from qpsmtpd.logins.vpopmail import Account, judge_account
from qpsmtpd.mail.session import AuthAttempt, Session
from qpsmtpd.mail.verdict import Verdict
from qpsmtpd.plugin.options import opt


@dataclass(frozen=True, kw_only=True)
class VpopmailOptions(LoginOptions):
    """Options of both plugins."""

    cram_md5: bool = opt(
        False, doc="Whether to offer CRAM-MD5, as vpopmail keeps all passwords in clear text."
    )


O = TypeVar("O", bound=VpopmailOptions)  # noqa: E741 (the options class of a plugin)


class VpopmailPlugin(PasswordPlugin[O]):
    """Judges logins by the user that `find` finds."""

    def unusable_mechanisms(self) -> Sequence[str]:
        return () if self.options.cram_md5 else ("CRAM-MD5",)

    async def hook_auth_cram_md5(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self.judge(session, attempt)

    async def judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        timeout = self.options.timeout
        return await judge_account(
            self.log, self.services, session, attempt, self.find, timeout=timeout
        )

    async def find(self, name: str, domain: str) -> Account | None:
        """The user of this name; to be overridden.  Raises ScannerError."""
        raise NotImplementedError
