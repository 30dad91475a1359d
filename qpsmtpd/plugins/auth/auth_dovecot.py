# SPDX-License-Identifier: MIT
"""auth/auth_dovecot: have Dovecot check logins.

    auth/auth_dovecot [SOCKET or HOST:PORT]

Dovecot knows its users by whatever its configuration says (system users, files, SQL, LDAP), so
that mail is sent with the same name and password as it is read with. The plugin speaks the
authentication protocol to a socket that Dovecot opens for it, in the file
/etc/dovecot/conf.d/10-master.conf:

    service auth {
      unix_listener auth-qpsmtpd {
        mode = 0660
        group = qpsmtpd
      }
    }

With a right password (PLAIN, LOGIN: RFC 4954), the user is let in. Otherwise the next plugin is
asked, and if none lets the user in, the login is refused with 535 5.7.8. Dovecot is told the
addresses and ports of the client and of the daemon, and whether the session has TLS (`rip`, `lip`,
`rport`, `lport`, `secured`), for its settings `allow_nets` and the like.

If Dovecot is not there, does not answer within `timeout`, or says that it cannot tell now, the
answer is 454 4.7.0, and the client tries again later. The same is true of anything that it says and
that makes no sense.

This is new: the Perl version had no such plugin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from qpsmtpd.api import (
    AuthAttempt,
    Finding,
    Session,
    System,
    Verdict,
    matching,
    opt,
    parse_place,
)
from qpsmtpd.logins import (
    Login,
    LoginOptions,
    ScannerWire,
    check_back_end,
    connected,
    judge,
)
from qpsmtpd.logins.dovecot import greeting, log_in
from qpsmtpd.logins.passwordplugin import PasswordPlugin

SOCKET = "/run/dovecot/auth-qpsmtpd"


@dataclass(frozen=True, kw_only=True)
class AuthDovecotOptions(LoginOptions):
    """Options of auth/auth_dovecot."""

    place: str = opt(SOCKET, positional=True, check=parse_place, doc="Where it listens.")
    service: str = opt(
        "smtp",
        check=matching(str.isalnum, "letters and digits"),
        doc="The name of the service that Dovecot is told.",
    )


class AuthDovecot(PasswordPlugin[AuthDovecotOptions]):
    """Logins, in the opinion of Dovecot."""

    async def start(self) -> None:
        self._place = parse_place(self.options.place)

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether Dovecot answers, and has the mechanism PLAIN."""
        place = parse_place(self.options.place)
        command = "systemctl enable --now dovecot.service"
        yield await check_back_end(system, self.name, place, _describe, command)

    async def judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        timeout = self.options.timeout
        return await judge(self.log, session, attempt, self._ask, timeout=timeout)

    async def _ask(self, login: Login) -> bool:
        async with connected(self._place) as wire:
            return await log_in(wire, login, self.options.service)


async def _describe(wire: ScannerWire) -> str:
    return f"Dovecot with {', '.join(await greeting(wire))}"
