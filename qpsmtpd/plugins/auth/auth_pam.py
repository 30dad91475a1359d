# SPDX-License-Identifier: MIT
"""auth/auth_pam: have PAM check logins, as those of the users of this machine.

    auth/auth_pam [SERVICE]

    auth/auth_pam smtp domain example.org

PAM asks whatever it is configured to ask: /etc/shadow, sssd, a directory, and so on. What holds is
the file /etc/pam.d/SERVICE, or /etc/pam.d/other if there is none, which on Debian means the
system's users. The password has to be right (auth), and the account has to be in order (account):
users whose account or password has expired are not let in, and root never is.

The daemon may not read what PAM reads. So a helper outside of its sandbox asks, as root, a new one
for each login. Its unit is not in use until somebody wants it:

    systemctl enable --now qpsmtpd-pam.socket

It asks for services that are named in the unit only, which is "smtp" alone. For another one, add it
to the line ExecStart= with "systemctl edit qpsmtpd-pam@.service" (an empty ExecStart= has to come
first). The unit permits little: modules that write files or change their user, such as those for
one-time passwords, may need more. `qpsmtpd doctor` asks the helper.

With a right password (PLAIN, LOGIN: RFC 4954) the user is let in. Otherwise the next plugin is
asked, and if none lets the user in, the login is refused with 535 5.7.8. PAM gets the name as the
client says it. With the option `domain`, user@DOMAIN is the user "user" of this machine, and names
of other domains are not asked about.

If the helper is not there, has too much to do, or does not answer within `timeout`, or PAM says
that it cannot tell now, the answer is 454 4.7.0, and the client tries again later. With Debian's
common-auth a module that does not work looks like a wrong password, for pam_deny speaks last; a
file /etc/pam.d/smtp of your own can say otherwise.

This is new: the Perl version had no such plugin.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass

from qpsmtpd.api import (
    AuthAttempt,
    Domain,
    Finding,
    Session,
    System,
    Verdict,
    canonical_domain,
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
from qpsmtpd.logins.pam import SOCKET, greeting, log_in
from qpsmtpd.logins.passwordplugin import PasswordPlugin

_UNIT = "qpsmtpd-pam.socket"

_is_service = matching(
    lambda text: text.isascii() and text.replace("-", "").replace("_", "").isalnum(),
    "the name of a file in /etc/pam.d",
)


@dataclass(frozen=True, kw_only=True)
class AuthPamOptions(LoginOptions):
    """Options of auth/auth_pam."""

    service: str = opt("smtp", positional=True, check=_is_service, doc="The service of PAM.")
    domain: Domain | None = opt(
        None, doc="The domain whose names are those of this machine, without it."
    )
    place: str = opt(SOCKET, check=parse_place, doc="Where the helper listens.")
    connections: int = opt(
        10, least=1, doc="How many logins each worker asks about at once; others wait."
    )


class AuthPam(PasswordPlugin[AuthPamOptions]):
    """Logins, in the opinion of PAM."""

    async def start(self) -> None:
        self._place = parse_place(self.options.place)
        self._slots = asyncio.Semaphore(self.options.connections)

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the helper answers, and asks for this service."""
        place, command = parse_place(self.options.place), f"systemctl enable --now {_UNIT}"
        yield await check_back_end(system, self.name, place, self._describe, command)
        file = f"/etc/pam.d/{self.options.service}"
        rules = file if system.exists(file) else "/etc/pam.d/other"
        yield Finding.ok(self.name, f"the rules are those of {rules}")

    async def judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        name = self._name_here(attempt.user)
        if name is None:
            return None
        attempt = dataclasses.replace(attempt, user=name)
        return await judge(self.log, session, attempt, self._ask, timeout=self.options.timeout)

    def _name_here(self, user: str) -> str | None:
        """The name of a user on this machine; None for users of other domains."""
        name, at, domain = user.rpartition("@")
        if not at or self.options.domain is None:
            return user
        return name if canonical_domain(domain) == self.options.domain else None

    async def _ask(self, login: Login) -> bool:
        async with self._slots, connected(self._place) as wire:
            return await log_in(wire, login, self.options.service)

    async def _describe(self, wire: ScannerWire) -> str:
        await greeting(wire, self.options.service)
        return f"PAM can be asked, service {self.options.service}"
