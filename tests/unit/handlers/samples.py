# SPDX-License-Identifier: MIT
"""Handlers, servers and authenticators, as people write them for aiosmtpd."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiosmtpd.handlers import AsyncMessage, Message, Proxy
from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword, auth_mechanism, syntax

HERE = __name__


class Idle:
    """Has no hooks."""


class Says:
    """Every hook does what aiosmtpd asks of it, and says what it was made to say."""

    def __init__(self, status: Any = "250 OK", **statuses: Any) -> None:
        self.statuses, self.status = statuses, status
        self.calls: list[tuple[Any, ...]] = []
        self.server: Any = None
        self.session: Any = None
        self.envelope: Any = None

    def said(self, hook: str, server: Any, session: Any, envelope: Any, *arguments: Any) -> Any:
        self.server, self.session, self.envelope = server, session, envelope
        self.calls.append((hook, *arguments))
        status = self.statuses.get(hook, self.status)
        if isinstance(status, Exception):
            raise status
        return status

    async def handle_HELO(self, server: Any, session: Any, envelope: Any, hostname: str) -> Any:
        session.host_name = hostname
        return self.said("HELO", server, session, envelope, hostname)

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> Any:
        session.host_name = hostname
        status = self.said("EHLO", server, session, envelope, hostname, list(responses))
        return responses if status == "250 OK" else status

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> Any:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.said("MAIL", server, session, envelope, address, options)

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> Any:
        envelope.rcpt_tos.append(address)
        return self.said("RCPT", server, session, envelope, address, options)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> Any:
        return self.said("DATA", server, session, envelope, envelope.content)

    async def handle_RSET(self, server: Any, session: Any, envelope: Any) -> Any:
        return self.said("RSET", server, session, envelope)

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> Any:
        return self.said("NOOP", server, session, envelope, arg)

    async def handle_VRFY(self, server: Any, session: Any, envelope: Any, address: str) -> Any:
        return self.said("VRFY", server, session, envelope, address)

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> Any:
        return self.said("QUIT", server, session, envelope)


class OldEhlo:
    """The form of handle_EHLO with four arguments, which pushes."""

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str) -> str:
        session.host_name = hostname
        await server.push("250-XOLD 1")
        await server.push(b"250-XOLDER")
        return "250 HELP"


class Forgets:
    """Does nothing that hooks must do, and says 250."""

    async def handle_HELO(self, server: Any, session: Any, envelope: Any, hostname: str) -> str:
        return "250 fine"

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        return "250 fine"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        return "250 fine"


class ForgetsRecipients:
    """Says 250 to all, and appends nobody."""

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        return "250 fine"


class Rewrites:
    """Changes what it can."""

    def __init__(self, sender: str = "other@example.org", *recipients: str) -> None:
        self.sender, self.recipients = sender, recipients or ("else@example.test",)

    async def handle_HELO(self, server: Any, session: Any, envelope: Any, hostname: str) -> str:
        session.host_name = "helo.example"
        return f"250 {server.hostname}"

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = "ehlo.example"
        kept = [line for line in responses if "SMTPUTF8" not in line]
        return [*kept[:-1], "250-XNEW 1", kept[-1]]

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = self.sender
        envelope.mail_options.append("SMTPUTF8")
        return "250 2.1.0 Rewritten"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.extend(self.recipients)
        return "251 2.1.5 Rewritten"


class Edits:
    """A filter that changes message and envelope."""

    def __init__(self, content: str | bytes | None = None, *recipients: str) -> None:
        self.content, self.recipients = content, list(recipients)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        envelope.mail_from = "edited@example.org"
        envelope.rcpt_tos = self.recipients
        envelope.content = self.content
        return "250 Edited"


class Blocks:
    """Blocks its thread until it is released."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.released = threading.Event()

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
        self.began.set()
        self.released.wait(20)
        return "250 Released"


class Stubborn:
    """Goes on when it is cancelled, and appends its recipient while the next one is judged."""

    def __init__(self) -> None:
        self.gate, self.late = asyncio.Event(), asyncio.Event()
        self.began = threading.Event()

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address.startswith("slow@"):
            self.began.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                await self.gate.wait()
            envelope.rcpt_tos.append(address)
            self.late.set()
        else:
            self.gate.set()
            await self.late.wait()
            envelope.rcpt_tos.append(address)
        return "250 OK"


class Synchronous:
    """Its hooks are not coroutines."""

    def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
        return f"250 {threading.current_thread().name}"

    def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 Taken"

    def handle_RSET(self, server: Any, session: Any, envelope: Any) -> str:
        raise ValueError("broken")

    def handle_exception(self, error: Exception) -> str:
        return f"451 4.3.5 {error}"


class Explains(Says):
    """Has a say in faults of its own."""

    def __init__(self, answer: Any = "542 5.3.5 Explained", error: str = "broken") -> None:
        super().__init__(ValueError(error))
        self.answer = answer

    async def handle_exception(self, error: Exception) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Encrypts:
    """Judges TLS and proxies."""

    def __init__(self, tls: bool = True, proxy: bool = True) -> None:
        self.tls, self.proxy = tls, proxy
        self.told: list[tuple[Any, ...]] = []

    def handle_STARTTLS(self, server: Any, session: Any, envelope: Any) -> bool:
        self.told.append(("STARTTLS", session.ssl["cipher"], session.host_name))
        return self.tls

    async def handle_PROXY(self, server: Any, session: Any, envelope: Any, proxy_data: Any) -> bool:
        self.told.append(("PROXY", session.peer, str(proxy_data.src_addr), proxy_data.src_port))
        return self.proxy and bool(proxy_data)


class Hangs:
    """Closes the connection."""

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
        server.transport.close()
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        server.transport.abort()
        return "250 Taken"


# --- authentication --------------------------------------------------------------------------


class Mechanisms:
    """Mechanisms of every kind that aiosmtpd's code knows."""

    async def auth_TWO__STEPS(self, server: Any, args: list[str]) -> AuthResult:
        first = await server.challenge_auth("one")
        second = await server.challenge_auth(b"two")
        good = (first, second) == (b"1", b"2")
        return AuthResult(success=good, handled=False, auth_data=LoginPassword(b"stepper", b""))

    async def auth_CARELESS(self, server: Any, args: list[str]) -> AuthResult:
        first = (await server.challenge_auth("one")).decode()
        second = (await server.challenge_auth("two")).decode()
        good = (first, second) == ("1", "2")
        return AuthResult(success=good, handled=False)

    @auth_mechanism("x-named")
    async def auth_by_decorator(self, server: Any, args: list[str]) -> AuthResult:
        return AuthResult(success=True, message="235 2.7.0 Welcome", auth_data="named")

    async def auth_OLD(self, server: Any, args: list[str]) -> Any:
        return {"good": b"old user", "bad": False}.get(args[1], MISSING)

    async def auth_PUSHES(self, server: Any, args: list[str]) -> None:
        await server.push("432 4.7.12 Change your password")

    async def auth_SILENT(self, server: Any, args: list[str]) -> AuthResult:
        return AuthResult(success=False)

    async def auth_RUDE(self, server: Any, args: list[str]) -> None:
        await server.push("250 What?")
        await server.challenge_auth("one")

    async def auth_BROKEN(self, server: Any, args: list[str]) -> AuthResult:
        raise ValueError("broken")


class Everything(Says, Mechanisms):
    """Has hooks and mechanisms, repeats what the client says, and is careful."""

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
        await server.push(f"250-{arg}")
        return f"250 {arg}"

    async def auth_OLD(self, server: Any, args: list[str]) -> Any:
        return MISSING


class OwnPlain:
    """Speaks PLAIN itself."""

    async def auth_PLAIN(self, server: Any, args: list[str]) -> AuthResult:
        return AuthResult(success=True, auth_data=b"plain user")


class Auth:
    """handle_AUTH does everything, if it wants to."""

    async def handle_AUTH(self, server: Any, session: Any, envelope: Any, args: list[str]) -> Any:
        if args[0] == "LOGIN":
            return MISSING
        if args[1:] == ["liar"]:
            return "235 2.7.0 Welcome"
        answer = await server.challenge_auth("who?")
        session.authenticated, session.auth_data = True, answer
        await server.push("235 2.7.0 Welcome")
        return None


def authenticator(
    server: Any, session: Any, envelope: Any, mechanism: str, auth_data: LoginPassword
) -> AuthResult:
    """The newer form."""
    good = auth_data.password == b"secret"
    message = None if good else "535 5.7.8 Never heard of you"
    return AuthResult(success=good, handled=False, message=message, auth_data=auth_data)


class Authenticator:
    """The newer form, as a class."""

    def __call__(
        self, server: Any, session: Any, envelope: Any, mechanism: str, auth_data: LoginPassword
    ) -> AuthResult:
        return authenticator(server, session, envelope, mechanism, auth_data)


def auth_callback(mechanism: str, login: bytes, password: bytes) -> bool:
    """The older form."""
    return password == b"secret"


NOT_CALLABLE = 1


# --- servers ---------------------------------------------------------------------------------


class Pinging(SMTP):
    """A server with a command of its own."""

    @syntax("PING [ignored]")
    async def smtp_PING(self, arg: str | None) -> None:
        await self.push(f"259 Pong {arg}")

    async def smtp_MUTE(self, arg: str | None) -> None:
        """Says nothing."""

    async def smtp_GATE(self, arg: str | None) -> None:
        if not await self.check_helo_needed():
            await self.push("250 Hello")

    def _create_session(self) -> Any:
        session = super()._create_session()
        session.made_by = "Pinging"  # type: ignore[attr-defined, unused-ignore]
        return session


class Meddling(SMTP):
    """A server that changes what the core does itself."""

    async def smtp_MAIL(self, arg: str | None) -> None:
        """Never called."""


# --- messages --------------------------------------------------------------------------------


class Keeps(Message):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []
        self.threads: set[str] = set()

    def handle_message(self, message: Any) -> None:
        self.kept.append(message)
        self.threads.add(threading.current_thread().name)


class KeepsAsync(AsyncMessage):
    """Keeps what it is given, after a wait."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []
        self.loops: set[Any] = set()

    async def handle_message(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.loops |= {self.loop, asyncio.get_running_loop()}
        self.kept.append(message)


class MyProxy(Proxy):
    """Leaves what aiosmtpd's Proxy does as it is."""


# --- arguments -------------------------------------------------------------------------------


class Typed:
    """Takes arguments of several types."""

    def __init__(  # type: ignore[no-untyped-def]
        self,
        name: str,
        port: int,
        *,
        share: float | None = None,
        strict: bool = False,
        path: Path = Path("/x"),
        limit=5,
    ) -> None:
        self.values = (name, port, share, strict, path, limit)


class FromCli:
    """Is made of words by itself."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    @classmethod
    def from_cli(cls, parser: Any, *words: str) -> FromCli:
        if words and words[0] == "wrong":
            parser.error("usage: not wrong")
        return cls(words)


class Unmakeable:
    """Fails."""

    def __init__(self) -> None:
        raise OSError("no such place")


class Exits:
    """Wants to end the process."""

    def __init__(self, now: bool = False) -> None:
        if now:
            raise SystemExit(3)

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
        raise SystemExit("the end")


class TooShort:
    """A hook that cannot be called."""

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 OK"


class Variadic:
    """aiosmtpd cannot tell which form this is."""

    async def handle_EHLO(self, *args: Any) -> str:
        return "250 OK"


class Misspelt:
    """A hook that nobody calls."""

    async def handle_RECPT(self, server: Any, session: Any, envelope: Any, address: str) -> str:
        return "550 Never"


class OfSmtpd:
    """What the module smtpd called."""

    def process_message(self, *arguments: Any, **more: Any) -> None:
        """Never called."""


A_FUNCTION: Callable[[], None] = print
