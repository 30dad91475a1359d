# SPDX-License-Identifier: MIT
"""The conversation with one client, from the greeting to the end (RFC 5321 section 3).

`converse` is the life of a connection: open → commands → close.  It reads a line, finds the
command, sends its reply, and goes on until either side ends it.  It knows nothing of sockets: they
belong to the Wire.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from contextlib import suppress

from qpsmtpd.logs.records import bind
from qpsmtpd.mail.session import Session
from qpsmtpd.metrics.catalogue import SESSIONS_ENDED
from qpsmtpd.metrics.counting import FIGURES, Series
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.commands import COMMANDS, USEFUL, not_smtp, unrecognized
from qpsmtpd.smtp.connection import (
    ClientGoneError,
    ClientTimeoutError,
    Connection,
    LineTooLongError,
    ShutdownError,
)
from qpsmtpd.smtp.introduction import ask_at_connect, prepare
from qpsmtpd.smtp.otherprotocols import BINARY
from qpsmtpd.smtp.presented import end_forwarded
from qpsmtpd.smtp.proxied import Proxied
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: RFC 5321 section 4.5.3.1.4 asks for 512 octets; extensions add to it, and paths may be long.
MAX_COMMAND_LINE = 2048

_ENDED_CONNECT, _ENDED_HELLO, _ENDED_MAIL, _ENDED_MESSAGE = (
    FIGURES.series(SESSIONS_ENDED, stage) for stage in ("connect", "hello", "mail", "message")
)


# The methods by themselves: Python looks for those of what a module has imported each time.
_useful, _command = USEFUL.get, COMMANDS.get


async def converse(connection: Connection) -> None:
    """Speak SMTP with one client until the end.  Raises nothing except on cancellation."""
    bind(connection.session)
    if connection.traced:
        log.debug("connected ip=%s", connection.session.client.ip)
    try:
        try:
            if await _greet(connection):
                await _serve(connection)
        except ClientTimeoutError as error:
            log.info("timeout ip=%s exceeded=%s", connection.session.client.ip, error)
            await _last_words(connection, replies.TIMED_OUT)
        except ShutdownError:
            await _last_words(connection, replies.SHUTTING_DOWN)
        await connection.wire.flush()
    except ClientGoneError:
        log.debug("client gone")
    except Exception:
        # A fault of ours: the client gets a temporary error, everybody else goes on.
        log.exception("fault in the conversation ip=%s", connection.session.client.ip)
        await _last_words(connection, replies.INTERNAL_ERROR)
    finally:
        await _close(connection)


async def _greet(connection: Connection) -> bool:
    """Run the hooks of the connection, then greet or refuse."""
    reply = await ask_at_connect(connection)
    if reply is None and connection.wire.pending_input:
        reply = _talked_early(connection)
    if reply is not None:
        await _refuse_connection(connection, reply)
        return False
    _end_greeting(connection)
    return True


def _end_greeting(connection: Connection) -> None:
    """Greet, or say the last line of the greeting, if the first one has gone out already."""
    session = connection.session
    session.teased = False
    connection.say(connection.snapshot.greetings[session.lmtp])


def _talked_early(connection: Connection) -> Reply | None:
    """The refusal for a client that has said something, unless a plugin decides about it."""
    session = connection.session
    if connection.proxied is not None:
        # Whoever speaks for a client has been greeted long since.
        return None
    session.talked_early = True
    if session.early_talk_is_judged:
        return None
    reply = connection.out_of_step("connect")
    return None if reply is None else connection.refuse("connect", reply)


async def _refuse_connection(connection: Connection, reply: Reply) -> None:
    """Refuse in place of the greeting; if that has begun, in place of the first reply."""
    if connection.session.teased:
        _end_greeting(connection)
        with suppress(LineTooLongError):
            line = await connection.wire.read_line(MAX_COMMAND_LINE)
            if line.strip().upper() == b"QUIT":
                reply = replies.goodbye(connection.snapshot.services.me)
    connection.say(reply)


async def _serve(connection: Connection) -> None:
    read_line, counters = connection.wire.read_line, connection.counters
    while not connection.closing:
        # The first junk command is mostly EHLO, and never one too many.
        if (counters.errors or counters.junk_commands > 1 or connection.draining) and (
            reply := _enough(connection)
        ) is not None:
            connection.say(reply)
            continue
        try:
            line = await read_line(MAX_COMMAND_LINE)
        except LineTooLongError:
            reply = connection.refuse("command", replies.LINE_TOO_LONG)
        else:
            reply = await execute(connection, line)
            if reply is not None and reply.code >= 400:
                reply = connection.refuse(_verb_of(line), reply)
        if reply is not None:
            connection.say(reply)
            # A client may be idle for long, and EHLO with its reply takes half a kilobyte.
            reply, line = None, b""
        elif connection.proxied is not None and connection.proxied.greeting_due:
            connection.proxied.greeting_due = False
            await _greet(connection)


def _enough(connection: Connection) -> Reply | None:
    """The reply that ends the connection before the next command, if it is to end."""
    counters, pace = connection.counters, connection.snapshot.pace
    if counters.errors > pace.max_errors or counters.junk_commands > pace.max_junk_commands:
        reply = _exceeded(connection)
        if reply is not None:
            return connection.refuse("command", reply)
    if connection.draining and connection.session.transaction is None:
        return connection.refuse("command", replies.SHUTTING_DOWN)
    return None


def _exceeded(connection: Connection) -> Reply | None:
    """The refusal of more; for those whom we know, stress takes nothing away."""
    counters, snapshot = connection.counters, connection.snapshot
    allowed = snapshot.settings if connection.exempt else snapshot.pace
    if counters.errors > allowed.max_errors:
        return replies.TOO_MANY_ERRORS
    return replies.TOO_MUCH_JUNK if counters.junk_commands > allowed.max_junk_commands else None


def execute(connection: Connection, line: bytes) -> Awaitable[Reply | None]:
    """Carry out one command line.  Awaiting it gives the reply; None if that has been given."""
    session = connection.session
    session.commands += 1
    if connection.wire.pending_input and session.hello != "ehlo":
        # We have not said yet that commands may come in groups.
        refusal = connection.out_of_step("command")
        if refusal is not None:
            return _refused(connection, refusal)
    text = line.decode("utf-8", "surrogateescape")
    # Most lines are plain, which costs no call of ours.
    if not text.isprintable() and (fault := _fault(connection, line, text)) is not None:
        return _refused(connection, fault)
    verb, _, argument = text.partition(" ")
    verb = verb.upper()
    command = _useful(verb)
    if command is None:
        connection.counters.junk_commands += 1
        command = _command(verb)
    if command is None:
        return _unknown(connection, verb, argument)
    if connection.traced:
        log.debug("command %r", verb if verb == "AUTH" else text)
    argument = argument.strip(" \t")
    if connection.proxied is None:
        # The command's own coroutine: nobody need wait for one that waits for it.
        return command(connection, argument)
    return _prepared(connection, connection.proxied, verb, argument)


def _verb_of(line: bytes) -> str:
    return line.partition(b" ")[0].decode("utf-8", "surrogateescape").lower()


async def _refused(connection: Connection, reply: Reply) -> Reply:
    return connection.refuse("command", reply)


async def _unknown(connection: Connection, verb: str, argument: str) -> Reply:
    reply = await unrecognized(connection, verb, argument)
    return reply if reply.code < 400 else connection.refuse("command", reply)


async def _prepared(
    connection: Connection, proxied: Proxied, verb: str, argument: str
) -> Reply | None:
    """Carry out a command of somebody who speaks for others."""
    refusal = await prepare(connection, proxied, verb)
    return await COMMANDS[verb](connection, argument) if refusal is None else refusal


def _fault(connection: Connection, line: bytes, text: str) -> Reply | None:
    if line[0] in BINARY:
        return not_smtp(connection, text)
    return replies.line_fault(line)


async def _last_words(connection: Connection, reply: Reply) -> None:
    """Say why the connection ends, if the client is still listening."""
    try:
        if connection.session.teased:
            _end_greeting(connection)
        connection.say(connection.refuse("connection", reply))
        await connection.wire.flush()
    except ClientGoneError:
        pass


async def _close(connection: Connection) -> None:
    if connection.proxied is not None:
        await end_forwarded(connection, connection.proxied)
    session = connection.session
    await connection.end_session()
    if connection.traced:
        log.debug("closed ip=%s commands=%d", session.client.ip, session.commands)
    FIGURES.values[_farthest(session).cell] += 1


def _farthest(session: Session) -> Series:
    """Counts the stage that a session came to."""
    if session.messages:
        return _ENDED_MESSAGE
    if session.transactions:
        return _ENDED_MAIL
    return _ENDED_CONNECT if session.hello is None else _ENDED_HELLO
