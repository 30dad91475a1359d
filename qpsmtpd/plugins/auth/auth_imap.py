# SPDX-License-Identifier: MIT
"""auth/auth_imap: have an IMAP server check logins.

    auth/auth_imap HOST [PORT]

    auth/auth_imap imap.example.com 993

For each login (PLAIN, LOGIN: RFC 4954), the plugin logs in to the server with the same name and
password (RFC 9051), and leaves. If the server takes them, the user is let in; if it refuses them,
the login is refused with 535 5.7.8, and no other plugin is asked.

A server on another machine has to have TLS, with port 993 from the start, else by STARTTLS, and a
certificate that is valid for HOST: whoever could stand in for it would get all passwords, and could
let himself in. With `tls=require` the certificate is not looked at, and with `tls=off` passwords
cross the network in the clear. For a server on this machine (127.0.0.1, ::1, localhost) the default
is `off`.

A server that is down, does not answer within `timeout`, says that it cannot tell now (RFC 5530:
UNAVAILABLE, SERVERBUG and the like), or talks nonsense does not make the password wrong: the answer
is 454 4.7.0, and the client tries again later.

Differences from the Perl version: that always asked in the clear, and offered CRAM-MD5, with which
no IMAP server can help.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qpsmtpd.api import (
    AuthAttempt,
    Finding,
    Place,
    Session,
    System,
    Verdict,
    opt,
)
from qpsmtpd.logins import (
    WRONG,
    Login,
    LoginOptions,
    ScannerWire,
    check_back_end,
    check_host,
    connected,
    context_of,
    is_here,
    judge,
)
from qpsmtpd.logins.imap import IMAPS_PORT, PORT, describe, log_in
from qpsmtpd.logins.passwordplugin import PasswordPlugin


@dataclass(frozen=True, kw_only=True)
class AuthImapOptions(LoginOptions):
    """Options of auth/auth_imap."""

    host: str = opt(positional=True, check=check_host, doc="The server.")
    port: int = opt(PORT, positional=True, least=1, most=65535, doc="Its port.")
    tls: Literal["off", "require", "verify"] | None = opt(
        None,
        doc="Whether it has to have TLS, and with a valid certificate; by default verify, or off "
        "for a server on this machine.",
    )
    ca: Path | None = opt(
        None, doc="Certificates of who vouches for the server; without it, those of the system."
    )

    @property
    def mode(self) -> Literal["off", "require", "verify"]:
        """The mode of TLS."""
        return self.tls or ("off" if is_here(self.host) else "verify")

    def check(self) -> list[str]:
        """Problems that show only once all options are known."""
        return ["ca: needs tls=verify"] if self.ca and self.mode != "verify" else []


class AuthImap(PasswordPlugin[AuthImapOptions]):
    """Logins, in the opinion of an IMAP server."""

    async def start(self) -> None:
        self._context = await asyncio.to_thread(self._make_context)

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the server answers, and permits logins."""
        context, host, implicit = self._make_context(), self.options.host, self._implicit

        async def greet(wire: ScannerWire) -> str:
            return await describe(wire, context, host, implicit=implicit)

        yield await check_back_end(system, self.name, self._place, greet)

    async def judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        timeout = self.options.timeout
        return await judge(self.log, session, attempt, self._ask, timeout=timeout, wrong=WRONG)

    async def _ask(self, login: Login) -> bool:
        async with connected(self._place) as wire:
            return await log_in(
                wire, login, self._context, self.options.host, implicit=self._implicit
            )

    @property
    def _place(self) -> Place:
        return Place(self.options.host, self.options.port)

    @property
    def _implicit(self) -> bool:
        return self.options.port == IMAPS_PORT

    def _make_context(self) -> ssl.SSLContext | None:
        options = self.options
        return context_of(self.name, options.mode, options.ca, self.services.config)
