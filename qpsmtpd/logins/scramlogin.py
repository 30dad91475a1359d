# SPDX-License-Identifier: MIT
"""ScramLogins: SCRAM for a plugin that has verifiers, step by step in its `hook_auth_exchange`.

A user that does not exist gets an exchange as well, with a salt that is always the same for this
name.  So there is a secret that makes such salts, and that all processes share by the store: no
client can tell a made-up salt from a real one, now, after a restart or at another machine.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from qpsmtpd.errors import StoreError
from qpsmtpd.logins import scram
from qpsmtpd.logins.judging import WRONG
from qpsmtpd.logins.saslprep import saslprep
from qpsmtpd.logins.scram import MECHANISM, MECHANISM_PLUS, ClientFirst, Exchange, ScramError
from qpsmtpd.logins.verifier import Verifier
from qpsmtpd.mail.session import AuthExchange, Challenge, Session
from qpsmtpd.mail.verdict import Verdict, accept
from qpsmtpd.plugin.services import Store

MECHANISMS = (MECHANISM, MECHANISM_PLUS)

#: The verifier of a user (the prepared name); a made-up one if there is no such user.
FindVerifier = Callable[[str], Awaitable[Verifier]]

_SECRET = "scram secret"  # noqa: S105 (the name of it)
_SECRET_LIFETIME = 10 * 365 * 86400.0  # seconds
_GIVEN_UP = b"*"


@dataclass(frozen=True, slots=True)
class _Proven:
    """The client has proven that it is this user, and is being told so."""

    user: str


class SharedSecret:
    """32 octets that all processes have which share the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shared: bytes | None = None
        self._own = secrets.token_bytes(32)

    async def get(self) -> bytes:
        """The secret; one of this process alone while the store is down."""
        if self._shared is None:
            try:
                there = await self._store.add(_SECRET, self._own, _SECRET_LIFETIME)
            except StoreError:
                return self._own
            self._shared = there or self._own
        return self._shared


class ScramLogins:
    """The server's side of the exchanges of one plugin."""

    def __init__(self, log: logging.Logger, find: FindVerifier) -> None:
        self._log = log
        self._find = find

    async def step(self, session: Session, exchange: AuthExchange) -> Challenge | Verdict | None:
        """What comes next; for a plugin's `hook_auth_exchange`."""
        if exchange.response is None and exchange.state is None:
            return Challenge("")
        if exchange.response == _GIVEN_UP:
            return None
        try:
            return await self._answer(session, exchange)
        except (ScramError, ValueError) as error:
            text = str(error) if isinstance(error, ScramError) else "not in base64"
            self._log.info("refused mechanism=%s: %s", exchange.mechanism, text)
            return WRONG

    async def _answer(self, session: Session, exchange: AuthExchange) -> Challenge | Verdict:
        match exchange.state:
            case Exchange() as begun:
                return self._finish(exchange, begun)
            case _Proven(user) if exchange.data == b"":
                exchange.user = user
                return accept()
            case _Proven():
                raise ScramError("the client says something after the last message")
        return await self._begin(session, exchange)

    async def _begin(self, session: Session, exchange: AuthExchange) -> Challenge:
        first = scram.parse_first(exchange.data)
        channel = session.tls.unique if session.tls else b""
        scram.check_binding(first, exchange.mechanism, offered=bool(channel))
        if first.identity not in ("", first.user):
            raise ScramError("it wants to act as somebody else")
        nonce = secrets.token_urlsafe(18)
        begun = Exchange.begin(first, await self._find(_prepared(first.user)), nonce, channel)
        exchange.state = begun
        return Challenge.of(begun.server_first.encode())

    def _finish(self, exchange: AuthExchange, begun: Exchange) -> Challenge | Verdict:
        first: ClientFirst = begun.first
        final = begun.finish(exchange.data)
        if final is None:
            exchange.user = first.user  # for the log
            self._log.info(
                "wrong password or unknown user=%r mechanism=%s", first.user, exchange.mechanism
            )
            return WRONG
        exchange.state = _Proven(first.user)
        return Challenge.of(final.encode())


def _prepared(user: str) -> str:
    """The prepared name (RFC 5802 section 5.1); what cannot be prepared is nobody's name."""
    try:
        return saslprep(user)
    except ValueError:
        return user
