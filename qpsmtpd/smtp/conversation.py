# SPDX-License-Identifier: MIT
"""The conversation with one client, from the greeting to the end (RFC 5321 section 3).

`converse` is the life of a connection: open → commands → close.  It reads a line, finds the
command, sends its reply, and goes on until either side ends it.  It knows nothing of sockets: they
belong to the Wire.
"""

from __future__ import annotations

import logging

from qpsmtpd.config.snapshot import Snapshot
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
from qpsmtpd.smtp.otherprotocols import BINARY
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: RFC 5321 section 4.5.3.1.4 asks for 512 octets; extensions add to it, and paths may be long.
MAX_COMMAND_LINE = 2048

_ENDED_CONNECT, _ENDED_HELLO, _ENDED_MAIL, _ENDED_MESSAGE = (
    FIGURES.series(SESSIONS_ENDED, stage) for stage in ("connect", "hello", "mail", "message")
)


async def converse(connection: Connection) -> None:
    """Speak SMTP with one client until the end.  Raises nothing except on cancellation."""
    bind(connection.session)
    log.debug("connected ip=%s", connection.session.client.ip)
    try:
        await _open_and_serve(connection)
        await connection.wire.flush()
    except ClientGoneError:
        log.debug("client gone")
    except Exception:
        # A fault of ours: the client gets a temporary error, everybody else goes on.
        log.exception("fault in the conversation ip=%s", connection.session.client.ip)
        await _last_words(connection, replies.INTERNAL_ERROR)
    finally:
        await _close(connection)


async def _open_and_serve(connection: Connection) -> None:
    try:
        if await _greet(connection):
            await _serve(connection)
    except ClientTimeoutError as error:
        log.info("timeout ip=%s exceeded=%s", connection.session.client.ip, error)
        await _last_words(connection, replies.TIMED_OUT)
    except ShutdownError:
        await _last_words(connection, replies.SHUTTING_DOWN)


async def _greet(connection: Connection) -> bool:
    """Run the hooks of the connection, then greet or refuse."""
    session = connection.session
    for hook in ("pre_connection", "connect"):
        reply = connection.refusal(await connection.run(hook, session), session.client.ip)
        if reply is not None:
            connection.say(reply)
            return False
    connection.say(Reply(220, "", _greeting(connection.snapshot)))
    return True


def _greeting(snapshot: Snapshot) -> str:
    greeting = snapshot.settings.smtpgreeting
    if not greeting:
        return f"{snapshot.services.me} ESMTP qpsmtpd"
    return greeting if "ESMTP" in greeting.split() else f"{greeting} ESMTP"


async def _serve(connection: Connection) -> None:
    wire, counters = connection.wire, connection.counters
    while not connection.closing:
        reply = None
        if counters.errors or counters.junk_commands or connection.draining:
            reply = _enough(connection)
        if reply is None:
            try:
                line = await wire.read_line(MAX_COMMAND_LINE)
            except LineTooLongError:
                reply = connection.refuse("command", replies.LINE_TOO_LONG)
            else:
                reply = await execute(connection, line)
        if reply is not None:
            connection.say(reply)


def _enough(connection: Connection) -> Reply | None:
    """The reply that ends the connection before the next command, if it is to end."""
    settings = connection.snapshot.settings
    if connection.counters.errors > settings.max_errors:
        return connection.refuse("command", replies.TOO_MANY_ERRORS)
    if connection.counters.junk_commands > settings.max_junk_commands:
        return connection.refuse("command", replies.TOO_MUCH_JUNK)
    if connection.draining and connection.session.transaction is None:
        return connection.refuse("command", replies.SHUTTING_DOWN)
    return None


async def execute(connection: Connection, line: bytes) -> Reply | None:
    """Carry out one command line.  None if the reply has been given already."""
    session = connection.session
    session.commands += 1
    if session.hello != "ehlo" and (refusal := connection.out_of_step()) is not None:
        # We have not said yet that commands may come in groups.
        return connection.refuse("command", refusal)
    text = line.decode("utf-8", "surrogateescape")
    # Most lines are plain, which costs no call of ours.
    if not text.isprintable() and (fault := _fault(connection, line, text)) is not None:
        return connection.refuse("command", fault)
    verb, _, argument = text.partition(" ")
    verb = verb.upper()
    command = COMMANDS.get(verb)
    if verb not in USEFUL:
        connection.counters.junk_commands += 1
    if command is None:
        unknown = await unrecognized(connection, verb, argument)
        return unknown if unknown.code < 400 else connection.refuse("command", unknown)
    if connection.traced:
        log.debug("command %r", verb if verb == "AUTH" else text)
    reply = await command(connection, argument.strip(" \t"))
    if reply is None or reply.code < 400:
        return reply
    return connection.refuse(verb.lower(), reply)


def _fault(connection: Connection, line: bytes, text: str) -> Reply | None:
    if line[0] in BINARY:
        return not_smtp(connection, text)
    return replies.line_fault(line)


async def _last_words(connection: Connection, reply: Reply) -> None:
    """Say why the connection ends, if the client is still listening."""
    try:
        connection.say(connection.refuse("connection", reply))
        await connection.wire.flush()
    except ClientGoneError:
        pass


async def _close(connection: Connection) -> None:
    session = connection.session
    chain = connection.snapshot.chain
    await connection.reset_transaction()
    for hook in ("disconnect", "post_connection"):
        if hook in chain.hooks:
            await chain.notify(hook, session)
    await session.end_tasks()
    # Tasks in them remember the session: this spares Python's collector a circle.
    session.notes.clear()
    log.debug("closed ip=%s commands=%d", session.client.ip, session.commands)
    FIGURES.values[_farthest(session).cell] += 1


def _farthest(session: Session) -> Series:
    """Counts the stage that a session came to."""
    if session.messages:
        return _ENDED_MESSAGE
    if session.transactions:
        return _ENDED_MAIL
    return _ENDED_CONNECT if session.hello is None else _ENDED_HELLO
