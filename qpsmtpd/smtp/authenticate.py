# SPDX-License-Identifier: MIT
"""The command AUTH (RFC 4954) with PLAIN (RFC 4616), LOGIN and CRAM-MD5 (RFC 2195).

Each mechanism turns the exchange with the client into an AuthAttempt; plugins judge it.  Other
mechanisms are implemented by plugins, one challenge at a time.

Nobody learns from a failed login which users exist: whatever the reason, the reply is the same, and
comes at the same moment.  And nobody can guess quickly: that moment is the later, the more logins
from the same address have failed, on whatever connections (`Snapshot.failed_logins`).  A login
counts as failed from its beginning until it turns out not to be, so that many at once gain nothing.
"""

from __future__ import annotations

import base64
import binascii
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

from qpsmtpd.mail.ip import network_of
from qpsmtpd.mail.session import AuthAttempt, AuthExchange, Challenge
from qpsmtpd.mail.trail import Answer
from qpsmtpd.metrics.catalogue import LOGINS
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.plugin.chain import FAULT
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.connection import ClientGoneError, Connection, LineTooLongError
from qpsmtpd.smtp.replies import reply_to
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: RFC 4954 section 4: a line of the exchange has at most 12288 octets of base64.
MAX_LINE = 12288
#: The answer of a client that gives up.
CANCELLED = b"*"

#: The longest pause before the answer to a failed login, in seconds.
LONGEST_PAUSE = 30.0
#: Codes of RFC 4954 that a plugin may refuse a login with, because they speak of the exchange and
#: not of the user; temporary ones are others.
_ABOUT_THE_EXCHANGE = frozenset({500, 501, 504, 534, 538})

#: Mechanisms of which the client says something that anybody could use (RFC 7628 section 3).
_WITH_TLS_ONLY = frozenset({"OAUTHBEARER", "XOAUTH2"})

# A mechanism returns the attempt, or the reply that ends the exchange.
Mechanism = Callable[[Connection, str], Awaitable[AuthAttempt | Reply]]


class _ExchangeEndedError(Exception):
    """The exchange cannot go on; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


async def auth(connection: Connection, argument: str) -> Reply:
    """AUTH: run the mechanism, ask the plugins, remember the user."""
    connection.session.auth_tried = True
    if not connection.snapshot.auth_mechanisms or connection.session.hello != "ehlo":
        return replies.UNRECOGNIZED
    fault = connection.out_of_step("auth") or _sequence_fault(connection)
    if fault is not None:
        return fault
    parsed = await _parse(connection, argument)
    if isinstance(parsed, Reply):
        return parsed
    mechanism, initial = parsed
    if mechanism not in connection.snapshot.auth_mechanisms:
        return replies.AUTH_UNKNOWN_MECHANISM
    if not _possible(connection, mechanism):
        in_the_clear = connection.session.tls is None
        return replies.AUTH_NEEDS_TLS if in_the_clear else replies.AUTH_UNKNOWN_MECHANISM
    reply = await _log_in(connection, mechanism, initial)
    if reply.positive or reply.disconnect:
        return reply
    return connection.out_of_step("auth") or reply


def offered(connection: Connection) -> tuple[str, ...]:
    """The mechanisms to announce now: none before TLS if `tls_before_auth` requires it."""
    if _needs_tls(connection):
        return ()
    mechanisms = connection.snapshot.auth_mechanisms
    return tuple(name for name in mechanisms if _possible(connection, name))


def _possible(connection: Connection, mechanism: str) -> bool:
    """Whether this session has the TLS that a mechanism needs, whatever the settings are."""
    tls = connection.session.tls
    if mechanism.endswith("-PLUS"):
        return tls is not None and bool(tls.unique)
    return tls is not None or mechanism not in _WITH_TLS_ONLY


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


# --- the brake ---------------------------------------------------------------------------------


class _Outcome(NamedTuple):
    """How an exchange ended; `answered`: when the client had said its last word (monotonic)."""

    reply: Reply
    answered: float

    @property
    def failed(self) -> bool:
        """Whether this is a failed login; one that plugins could not judge is none."""
        return self.reply.code >= 500 and self.reply is not replies.AUTH_CANCELLED

    @property
    def name(self) -> str:
        """What it is counted as."""
        if self.reply.positive:
            return "succeeded"
        if self.failed:
            return "failed"
        return "cancelled" if self.reply is replies.AUTH_CANCELLED else "unjudged"


async def _log_in(connection: Connection, mechanism: str, initial: str) -> Reply:
    """Carry out an exchange, with the brake on."""
    client = _client(connection)
    failures = connection.snapshot.failed_logins
    number = await failures.add(client)
    outcome: _Outcome | None = None
    try:
        if _too_many(connection, number):
            connection.log_refusal("auth", replies.AUTH_TOO_MANY_FROM_CLIENT)
            return replies.AUTH_TOO_MANY_FROM_CLIENT
        outcome = await _exchange(connection, mechanism, initial)
        FIGURES.count(LOGINS, outcome.name)
    finally:
        if outcome is None or not outcome.failed:
            await failures.take_back(client)
    return await _answer(connection, outcome, number)


def _client(connection: Connection) -> str:
    """Whose failures are counted: an IPv4 address, or the network of an IPv6 address."""
    address = connection.session.client_address
    if address.version == 4:
        return str(address)
    prefix = connection.snapshot.settings.network_prefix_ipv6
    return network_of(address, prefix)


def _too_many(connection: Connection, number: int) -> bool:
    settings = connection.snapshot.settings
    if not settings.max_auth_failures_from_ip or number <= settings.max_auth_failures_from_ip:
        return False
    return connection.session.client_address not in settings.exempt


async def _answer(connection: Connection, outcome: _Outcome, number: int) -> Reply:
    """Count a failure in the session, and let the client wait for the reply."""
    reply = outcome.reply
    if reply.positive or reply is replies.AUTH_CANCELLED:
        return reply
    connection.counters.auth_failures += 1
    settings = connection.snapshot.settings
    if outcome.failed and settings.auth_failure_pause:
        waited = connection.snapshot.services.clock.monotonic() - outcome.answered
        await connection.wire.pause(_pause(settings.auth_failure_pause, number, waited))
    too_many = connection.counters.auth_failures >= settings.max_auth_failures
    return replies.AUTH_TOO_MANY if too_many and not reply.disconnect else reply


def _pause(base: float, number: int, passed: float) -> float:
    """Seconds until the reply to the failure with this number, of which some have passed.

    If the judgement took longer than the whole pause, it is the next multiple of it.
    """
    whole = min(base * 2.0 ** min(number - 1, 20), max(base, LONGEST_PAUSE))
    return whole - passed % whole


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
        line = await connection.wire.read_line(MAX_LINE, answer=True)
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


async def _exchange(connection: Connection, mechanism: str, initial: str) -> _Outcome:
    """Exchange challenges and answers, and let the plugins judge."""
    clock = connection.snapshot.services.clock
    try:
        if mechanism in connection.snapshot.plugin_mechanisms:
            return await _by_plugin(connection, mechanism, initial)
        attempt = await MECHANISMS[mechanism](connection, initial)
    except _ExchangeEndedError as ended:
        attempt = ended.reply
    answered = clock.monotonic()
    if isinstance(attempt, AuthAttempt):
        return _Outcome(await _judge(connection, attempt), answered)
    if attempt is not replies.AUTH_CANCELLED:
        connection.log_refusal("auth", attempt)
        await connection.report_refusal("auth", attempt)
    return _Outcome(attempt, answered)


async def _by_plugin(connection: Connection, mechanism: str, initial: str) -> _Outcome:
    """Pass challenges and answers between a plugin and the client until the plugin decides."""
    session, clock = connection.session, connection.snapshot.services.clock
    response = initial.encode("utf-8", "surrogateescape") if initial else None
    exchange = AuthExchange(mechanism, response)
    answered = clock.monotonic()
    answer = await connection.run("auth_exchange", session, exchange)
    while answer is not None and isinstance(answer.value, Challenge):
        if exchange.response == CANCELLED:
            break
        exchange.response = await _answer_in(connection, exchange, answer.value)
        answered = clock.monotonic()
        answer = await connection.run("auth_exchange", session, exchange)
    if exchange.response == CANCELLED:
        if not exchange.refused:
            return _Outcome(replies.AUTH_CANCELLED, answered)
        answer = None
    if answer is not None and not answer.refused and not exchange.user:
        log.error(
            "fault hook=auth_exchange plugin=%s ip=%s: accepted without a user",
            answer.plugin,
            session.client.ip,
        )
        answer = replace(answer, value=FAULT, outcome="fault")
        session.trail.decide(answer)
    return _Outcome(await _conclude(connection, answer, exchange.user, mechanism), answered)


async def _answer_in(connection: Connection, exchange: AuthExchange, challenge: Challenge) -> bytes:
    """What the client answers; one that was refused and leaves without a word has failed."""
    try:
        return await _answer_to(connection, challenge.text)
    except (ClientGoneError, _ExchangeEndedError):
        if exchange.refused:
            raise _ExchangeEndedError(replies.AUTH_FAILED) from None
        raise


# --- the judgement --------------------------------------------------------------------------


async def _judge(connection: Connection, attempt: AuthAttempt) -> Reply:
    hook = f"auth_{attempt.mechanism.lower().replace('-', '_')}"
    session = connection.session
    answer = await connection.run(hook, session, attempt)
    if answer is None:
        answer = await connection.run("auth", session, attempt)
    return await _conclude(connection, answer, attempt.user, attempt.mechanism)


async def _conclude(
    connection: Connection, answer: Answer | None, user: str, mechanism: str
) -> Reply:
    """Act on what the plugins said about a login."""
    session = connection.session
    if answer is None:
        connection.log_refusal("auth", replies.AUTH_FAILED, user)
        await connection.report_refusal("auth", replies.AUTH_FAILED)
        return replies.AUTH_FAILED
    reply = reply_to(answer)
    if answer.refused:
        # What the plugin says is for the log: to the client all failures look the same.
        connection.log_refusal("auth", reply, user, answer.plugin)
        return _without_reason(reply)
    session.auth_user = user
    session.auth_mechanism = mechanism
    session.relay_client = True
    session.deferred_rejects.clear()
    return reply


def _without_reason(reply: Reply) -> Reply:
    """The one reply to failed logins, unless this one says nothing about the user."""
    if reply.code < 500 or reply.code in _ABOUT_THE_EXCHANGE:
        return reply
    return replace(replies.AUTH_FAILED, disconnect=reply.disconnect, recorded=True)
