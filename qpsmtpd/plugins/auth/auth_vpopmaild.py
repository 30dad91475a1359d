# SPDX-License-Identifier: MIT
"""auth/auth_vpopmaild: have vpopmail's daemon check logins.

    auth/auth_vpopmaild [host HOST] [port PORT]

For each login (PLAIN, LOGIN: RFC 4954) the daemon is asked with its command `login`. If it says
+OK, the user is let in; if it says -ERR, the next plugin is asked. vpopmaild knows the users of
auth/auth_vpopmail and auth/auth_vpopmail_sql as well, wherever vpopmail keeps them.

A vpopmaild that is down, does not answer within `timeout`, or says anything else does not make
the password wrong: the answer is 454 4.7.0, and the client tries again later.

The protocol has no TLS, so vpopmaild should run on this machine. Nor does it have a form for names
and passwords with spaces in them: such a login counts as wrong.

Differences from the Perl version: a vpopmaild that is down was a wrong password there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from qpsmtpd.api import AuthAttempt, Finding, Place, Session, System, Verdict, opt
from qpsmtpd.logins import (
    Login,
    LoginOptions,
    ScannerWire,
    check_back_end,
    check_host,
    connected,
    judge,
)
from qpsmtpd.logins.passwordplugin import PasswordPlugin
from qpsmtpd.logins.vpopmaild import PORT, can_say, greeting, log_in


@dataclass(frozen=True, kw_only=True)
class AuthVpopmaildOptions(LoginOptions):
    """Options of auth/auth_vpopmaild."""

    host: str = opt("localhost", check=check_host, doc="Where vpopmaild is.")
    port: int = opt(PORT, least=1, most=65535, doc="Its port.")


class AuthVpopmaild(PasswordPlugin[AuthVpopmaildOptions]):
    """Logins, in the opinion of vpopmaild."""

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether vpopmaild answers."""
        yield await check_back_end(system, self.name, self._place, _describe)

    async def judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        timeout = self.options.timeout
        return await judge(self.log, session, attempt, self._ask, timeout=timeout)

    async def _ask(self, login: Login) -> bool:
        if not can_say(login):
            return False
        async with connected(self._place) as wire:
            return await log_in(wire, login)

    @property
    def _place(self) -> Place:
        return Place(self.options.host, self.options.port)


async def _describe(wire: ScannerWire) -> str:
    await greeting(wire)
    return "vpopmaild"
