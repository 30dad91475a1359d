# SPDX-License-Identifier: MIT
"""The command AUTH (RFC 4954) with PLAIN (RFC 4616), LOGIN and CRAM-MD5 (RFC 2195).

Each mechanism turns the exchange with the client into an AuthAttempt; plugins judge it.  Other
mechanisms are implemented by plugins, one challenge at a time.
"""

from __future__ import annotations

import base64
import binascii
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

from qpsmtpd.mail.session import AuthAttempt, AuthExchange, Challenge
from qpsmtpd.mail.trail import CORE, Answer
from qpsmtpd.plugin.chain import FAULT
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.connection import Connection, LineTooLongError
from qpsmtpd.smtp.replies import reply_to
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: RFC 4954 section 4: a line of the exchange has at most 12288 octets of base64.
MAX_LINE = 12288
#: The answer of a client that gives up.
CANCELLED = b"*"

# A mechanism returns the attempt, or the reply that ends the exchange.
Mechanism = Callable[[Connection, str], Awaitable[AuthAttempt | Reply]]


class _ExchangeEndedError(Exception):
    """The exchange cannot go on; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


async def auth(connection: Connection, argument: str) -> Reply:
    """AUTH: run the mechanism, ask the plugins, remember the user."""
    if not connection.snapshot.auth_mechanisms or connection.session.hello != "ehlo":
        return replies.UNRECOGNIZED
    fault = _sequence_fault(connection)
    if fault is not None:
        return fault
    parsed = await _parse(connection, argument)
    if isinstance(parsed, Reply):
        return parsed
    mechanism, initial = parsed
    if mechanism not in connection.snapshot.auth_mechanisms:
        return replies.AUTH_UNKNOWN_MECHANISM
    try:
        if mechanism in connection.snapshot.plugin_mechanisms:
            return await _by_plugin(connection, mechanism, initial)
        attempt = await MECHANISMS[mechanism](connection, initial)
    except _ExchangeEndedError as ended:
        return _ended(connection, ended.reply)
    return await _judge(connection, attempt)


def offered(connection: Connection) -> tuple[str, ...]:
    """The mechanisms to announce now: none before TLS if `tls_before_auth` requires it."""
    return () if _needs_tls(connection) else connection.snapshot.auth_mechanisms


def _needs_tls(connection: Connection) -> bool:
    return bool(
        connection.snapshot.settings.tls_before_auth
        and connection.snapshot.tls_context is not None
        and connection.session.tls is None
    )


def _sequence_fault(connection: Connection) -> Reply | None:
    if connection.session.auth_user:
        return replies.AUTH_ALREADY
    if connection.session.transaction is not None:
        return replies.AUTH_NOT_NOW
    return replies.AUTH_NEEDS_TLS if _needs_tls(connection) else None


async def _parse(connection: Connection, argument: str) -> tuple[str, str] | Reply:
    if "auth_parse" in connection.snapshot.chain.hooks:
        answer = await connection.run("auth_parse", connection.session, argument)
        if (refusal := connection.refusal(answer)) is not None:
            return refusal
        if answer is not None and isinstance(answer.value, tuple):
            return str(answer.value[0]).upper(), str(answer.value[1])
    words = argument.split()
    if not 1 <= len(words) <= 2:
        return replies.SYNTAX_ERROR
    return words[0].upper(), words[1] if len(words) == 2 else ""


# --- the exchange ---------------------------------------------------------------------------


async def _ask(connection: Connection, challenge: bytes) -> bytes:
    """Send a challenge and return the client's decoded answer."""
    line = await _answer_to(connection, base64.b64encode(challenge).decode())
    if line == CANCELLED:
        raise _ExchangeEndedError(replies.AUTH_CANCELLED)
    return _decode(line)


async def _answer_to(connection: Connection, challenge: str) -> bytes:
    """Send a challenge that is base64 already, and return the line that answers it."""
    connection.say(Reply(334, "", challenge))
    try:
        line = await connection.wire.read_line(MAX_LINE)
    except LineTooLongError:
        raise _ExchangeEndedError(replies.AUTH_TOO_LONG) from None
    if (fault := replies.line_fault(line)) is not None:
        raise _ExchangeEndedError(fault)
    return line


def _decode(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise _ExchangeEndedError(replies.AUTH_BAD_BASE64) from None


async def _initial(connection: Connection, initial: str, challenge: bytes) -> bytes:
    """The initial response of the command line, or the answer to a challenge."""
    if not initial:
        return await _ask(connection, challenge)
    # RFC 4954 section 4: a lone "=" is an empty initial response.
    return b"" if initial == "=" else _decode(initial.encode("utf-8", "surrogateescape"))


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _ExchangeEndedError(replies.AUTH_BAD_BASE64) from None


async def _plain(connection: Connection, initial: str) -> AuthAttempt | Reply:
    parts = (await _initial(connection, initial, b"")).split(b"\0")
    if len(parts) != 3:
        return replies.AUTH_BAD_BASE64
    identity, user, password = map(_text, parts)
    if not user or not password or identity not in ("", user):
        return replies.AUTH_FAILED
    return AuthAttempt("PLAIN", user, password)


async def _login(connection: Connection, initial: str) -> AuthAttempt | Reply:
    user = _text(await _initial(connection, initial, b"Username:"))
    password = _text(await _ask(connection, b"Password:"))
    return AuthAttempt("LOGIN", user, password) if user and password else replies.AUTH_FAILED


async def _cram_md5(connection: Connection, initial: str) -> AuthAttempt | Reply:
    if initial:
        return replies.SYNTAX_ERROR
    me = connection.snapshot.services.me
    challenge = f"<{secrets.token_hex(8)}.{int(time.time()):x}@{me}>".encode()
    user, _, digest = _text(await _ask(connection, challenge)).rpartition(" ")
    if not user or not digest:
        return replies.AUTH_FAILED
    return AuthAttempt("CRAM-MD5", user, None, digest, challenge)


MECHANISMS: dict[str, Mechanism] = {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5}


# --- a plugin's mechanism ------------------------------------------------------------------


async def _by_plugin(connection: Connection, mechanism: str, initial: str) -> Reply:
    """Pass challenges and answers between a plugin and the client until the plugin decides."""
    session = connection.session
    response = initial.encode("utf-8", "surrogateescape") if initial else None
    exchange = AuthExchange(mechanism, response)
    answer = await connection.run("auth_exchange", session, exchange)
    while answer is not None and isinstance(answer.value, Challenge):
        if exchange.response == CANCELLED:
            break
        exchange.response = await _answer_to(connection, answer.value.text)
        answer = await connection.run("auth_exchange", session, exchange)
    if exchange.response == CANCELLED:
        return replies.AUTH_CANCELLED
    if answer is not None and not answer.refused and not exchange.user:
        log.error(
            "fault hook=auth_exchange plugin=%s ip=%s: accepted without a user",
            answer.plugin,
            session.client.ip,
        )
        answer = answer._replace(value=FAULT, outcome="fault")
        session.trail.decide(answer)
    return _conclude(connection, answer, exchange.user, mechanism)


# --- the judgement --------------------------------------------------------------------------


async def _judge(connection: Connection, attempt: AuthAttempt | Reply) -> Reply:
    if isinstance(attempt, Reply):
        return _ended(connection, attempt)
    hook = f"auth_{attempt.mechanism.lower().replace('-', '_')}"
    session = connection.session
    answer = await connection.run(hook, session, attempt)
    if answer is None:
        answer = await connection.run("auth", session, attempt)
    return _conclude(connection, answer, attempt.user, attempt.mechanism)


def _conclude(connection: Connection, answer: Answer | None, user: str, mechanism: str) -> Reply:
    """Act on what the plugins said about a login."""
    session = connection.session
    if answer is None or answer.refused:
        reply = replies.AUTH_FAILED if answer is None else reply_to(answer)
        plugin = CORE if answer is None else answer.plugin
        connection.log_refusal("auth", reply, user, plugin)
        return _failed(connection, reply)
    session.auth_user = user
    session.auth_mechanism = mechanism
    session.relay_client = True
    session.deferred_rejects.clear()
    return reply_to(answer)


def _ended(connection: Connection, reply: Reply) -> Reply:
    """An exchange led to no attempt.  It is a failed login, unless the client gave it up."""
    if reply is replies.AUTH_CANCELLED:
        return reply
    connection.log_refusal("auth", reply)
    return _failed(connection, reply)


def _failed(connection: Connection, reply: Reply) -> Reply:
    """Count the failure: too many of them end the connection."""
    connection.counters.auth_failures += 1
    if reply.disconnect:
        return reply
    if connection.counters.auth_failures >= connection.snapshot.settings.max_auth_failures:
        return replies.AUTH_TOO_MANY
    return reply
