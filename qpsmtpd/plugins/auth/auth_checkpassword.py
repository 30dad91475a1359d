# SPDX-License-Identifier: MIT
"""auth/auth_checkpassword: have a program with the interface of checkpassword check logins.

    auth/auth_checkpassword checkpw PROGRAM [true /bin/true]

Or the line has no options, and the first line of the file `smtpauth-checkpassword` is a command,
such as

    /usr/local/vpopmail/bin/vchkpw /bin/true

The program is run for each login (PLAIN, LOGIN: RFC 4954), without a shell, and gets name and
password through descriptor 3, so that no list of processes shows them. Exit status 0 lets the user
in. With one of `wrong` the next plugin is asked. After any other status (111 is that of a temporary
problem), or when the program does not end within `timeout`, the answer is 454 4.7.0, and the client
tries again later. A name and password of more than 500 octets together count as wrong.

Most such programs need the rights of another user, as of root to read /etc/shadow. The daemon has
no such rights, and its unit lets nothing that it starts have them: sudo cannot be used. What works
is a program with a set-id bit that only the daemon's group can run, and that the hand-over runs:

    chown root:qpsmtpd /usr/local/bin/checkpassword
    chmod 4710 /usr/local/bin/checkpassword
    systemctl edit qpsmtpd-handover@.service

There the whole command, in quotation marks, becomes one more argument of ExecStart= (of which an
empty one has to come first). `qpsmtpd doctor` says what is missing. A program that needs no other
rights, such as one that asks a server or reads a file of its own, needs nothing of this.

Differences from the Perl version: sudo is not used, and an error of the program is not a wrong
password.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from qpsmtpd.api import (
    AuthAttempt,
    ConfigError,
    Finding,
    Session,
    System,
    Verdict,
    matching,
    opt,
)
from qpsmtpd.logins import Login, LoginOptions, check_login_program, judge
from qpsmtpd.logins.checkpassword import WRONG, log_in
from qpsmtpd.logins.passwordplugin import PasswordPlugin
from qpsmtpd.nexthop.program import Programs

FILE = "smtpauth-checkpassword"

_absolute = matching(lambda text: text.startswith("/"), "the absolute path of a program")


@dataclass(frozen=True, kw_only=True)
class AuthCheckpasswordOptions(LoginOptions):
    """Options of auth/auth_checkpassword."""

    checkpw: str | None = opt(None, check=_absolute, doc="The program that checks passwords.")
    true: str = opt(
        "/bin/true", check=_absolute, doc="The program that it runs if the password is right."
    )
    wrong: tuple[int, ...] = opt(
        WRONG, least=1, most=255, doc="Exit statuses that mean a wrong name or password."
    )
    programs: int = opt(10, least=1, doc="How many each worker runs at once; others wait.")


class AuthCheckpassword(PasswordPlugin[AuthCheckpasswordOptions]):
    """Logins, in the opinion of a program."""

    files = {"smtpauth-checkpassword": "The program and its arguments, if no option names them."}

    async def start(self) -> None:
        self._words = await self._command()
        self._programs = Programs(self.options.programs)

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the program can be run, with the rights that its file gives it."""
        yield check_login_program(system, " ".join(await self._command()))

    async def judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        timeout = self.options.timeout
        return await judge(self.log, session, attempt, self._ask, timeout=timeout)

    async def _ask(self, login: Login) -> bool:
        options = self.options
        return await log_in(self._programs, self._words, options.wrong, login, options.timeout)

    async def _command(self) -> list[str]:
        if self.options.checkpw is not None:
            return [self.options.checkpw, self.options.true]
        entries = await self.services.config.entries(FILE)
        if not entries:
            raise ConfigError(self.name, f"needs `checkpw PROGRAM`, or the file {FILE}")
        if not entries[0].text.startswith("/"):
            raise ConfigError(entries[0].where, "must begin with the absolute path of a program")
        return entries[0].text.split()
