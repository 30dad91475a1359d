# SPDX-License-Identifier: MIT
"""A handler for aiosmtpd, as its documentation describes them: the dialogues run it."""

from __future__ import annotations

from typing import Any

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword, syntax


class Policy:
    """Has every hook that a client can see the answer of."""

    async def handle_HELO(self, server: Any, session: Any, envelope: Any, hostname: str) -> str:
        if hostname == "liar.example":
            return "550 5.7.1 You are not"
        session.host_name = hostname
        return f"250 {server.hostname}"

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        kept = [line for line in responses if line != "250-SMTPUTF8"]
        return [*kept[:-1], "250-XPOLICY", kept[-1]]

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> Any:
        if address == "missing@client.example":
            return MISSING
        if address == "nothing@client.example":
            return None
        if address == "broken@client.example":
            raise ValueError(address)
        if address == "leave@client.example":
            return "421 4.7.0 Leave"
        envelope.mail_from = address
        return b"250-2.1.0 Welcome,\r\n250 2.1.0 sender"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 5.1.1 No such user here"
        if not address.startswith("forgotten@"):
            envelope.rcpt_tos.append(address.replace("alias@", "user@"))
        return "250 2.1.5 Welcome"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if b"Subject: spam" in envelope.content:
            return "554 5.7.1 No spam"
        if b"Subject: nothing" in envelope.content:
            return ""
        return f"250 2.6.0 For {' and '.join(envelope.rcpt_tos)}"

    async def handle_RSET(self, server: Any, session: Any, envelope: Any) -> str:
        return f"250 2.0.0 Forgot {envelope.mail_from}"

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
        return f"250 2.0.0 Doing {arg}"

    async def handle_VRFY(self, server: Any, session: Any, envelope: Any, address: str) -> str:
        return f"252 2.5.1 Perhaps {address}"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        return "221 2.0.0 See you"

    async def auth_PIN(self, server: Any, args: list[str]) -> AuthResult:
        pin = await server.challenge_auth("PIN?")
        if pin is MISSING:
            return AuthResult(success=False)
        return AuthResult(
            success=pin == b"1234", handled=False, auth_data=LoginPassword(b"joe", pin)
        )


class Explaining(Policy):
    """Says itself what a fault is answered with."""

    async def handle_exception(self, error: Exception) -> str:
        return "451 4.3.5 We are looking into it"


class PingServer(SMTP):
    """A server with one command more."""

    @syntax("PING [ignored]")
    async def smtp_PING(self, arg: str | None) -> None:
        await self.push("259 Pong")


def judge(server: Any, session: Any, envelope: Any, mechanism: str, auth_data: Any) -> AuthResult:
    """The authenticator."""
    good = auth_data == LoginPassword(b"joe", b"secret")
    return AuthResult(success=good, handled=False, auth_data=auth_data)
