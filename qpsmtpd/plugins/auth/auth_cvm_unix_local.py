# SPDX-License-Identifier: MIT
"""auth/auth_cvm_unix_local: have a credential validation module (CVM) check logins.

    auth/auth_cvm_unix_local cvm_socket PATH [enable_smtp yes]
        [enable_ssmtp no]

The module listens on a Unix socket, to which the daemon must be able to write. It is asked about
each login (PLAIN, LOGIN: RFC 4954) with protocol 1 of CVM. A user with the right password is let
in; a wrong one is refused with 535 5.7.8, and no other plugin is asked.

Clients that are connected to port 25 are not asked about unless `enable_smtp` is yes, and those of
port 465 are unless `enable_ssmtp` is no; on all other ports everybody is. Behind a proxy, it is the
port of the proxy that counts.

A module that is down, does not answer within `timeout`, or answers with another code does not
make the password wrong: the answer is 454 4.7.0, and the client tries again later.

Differences from the Perl version: there a module that was down was a wrong password, and the port
was the one in the environment variable PORT.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from qpsmtpd.api import AuthAttempt, Finding, Place, Session, System, Verdict, matching, opt
from qpsmtpd.logins import (
    WRONG,
    Login,
    LoginOptions,
    ScannerWire,
    check_back_end,
    connected,
    judge,
)
from qpsmtpd.logins.cvm import log_in
from qpsmtpd.logins.passwordplugin import PasswordPlugin

SMTP_PORT = 25
SSMTP_PORT = 465


@dataclass(frozen=True, kw_only=True)
class AuthCvmUnixLocalOptions(LoginOptions):
    """Options of auth/auth_cvm_unix_local."""

    cvm_socket: str = opt(
        check=matching(lambda text: text.startswith("/"), "an absolute path"),
        doc="The socket of the module.",
    )
    enable_smtp: bool = opt(False, doc="Whether it is asked about clients of port 25.")
    enable_ssmtp: bool = opt(True, doc="Whether it is asked about clients of port 465.")


class AuthCvmUnixLocal(PasswordPlugin[AuthCvmUnixLocalOptions]):
    """Logins, in the opinion of a CVM."""

    async def start(self) -> None:
        options = self.options
        asked = {SMTP_PORT: options.enable_smtp, SSMTP_PORT: options.enable_ssmtp}
        self._ports_without = {port for port, enabled in asked.items() if not enabled}

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether something listens on the socket."""
        yield await check_back_end(system, self.name, self._place, _describe)

    async def judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        if session.local.port in self._ports_without:
            return None
        timeout = self.options.timeout
        return await judge(self.log, session, attempt, self._ask, timeout=timeout, wrong=WRONG)

    async def _ask(self, login: Login) -> bool:
        async with connected(self._place) as wire:
            return await log_in(wire, login)

    @property
    def _place(self) -> Place:
        return Place(path=self.options.cvm_socket)


async def _describe(_wire: ScannerWire) -> str:
    return "somebody listens"
