# SPDX-License-Identifier: MIT
"""The commands of SMTP, one function each, and the table of all of them.

Every command has the same shape: it gets the connection and the argument, and returns the reply.
MAIL and RCPT live in envelope.py, DATA in transfer.py, BDAT in chunks.py, AUTH in authenticate.py.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Literal

from qpsmtpd.mail import dsn
from qpsmtpd.mail.capabilities import withdraw_extension
from qpsmtpd.mail.trail import Answer
from qpsmtpd.smtp import authenticate, chunks, envelope, presented, replies, transfer
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.otherprotocols import protocol_of
from qpsmtpd.smtp.replies import reply_to
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

Command = Callable[[Connection, str], Awaitable[Reply]]

#: RFC 5321 section 4.5.3.1.2; longer names are refused.
MAX_HELLO_NAME = 255


async def helo(connection: Connection, argument: str) -> Reply:
    """HELO: acts like RSET when repeated (RFC 5321 section 4.1.4)."""
    if connection.session.lmtp:
        return await unrecognized(connection, "HELO", argument)
    reply = await _hello(connection, "helo", argument)
    if reply is not None:
        return reply
    return Reply(250, "", _welcome(connection))


def ehlo(connection: Connection, argument: str) -> Awaitable[Reply]:
    """EHLO: the welcome and the list of extensions."""
    if connection.session.lmtp:
        return unrecognized(connection, "EHLO", argument)
    return _ehlo(connection, argument)


def lhlo(connection: Connection, argument: str) -> Awaitable[Reply]:
    """LHLO: the EHLO of LMTP, which has no other (RFC 2033 section 4.1)."""
    if not connection.session.lmtp:
        return unrecognized(connection, "LHLO", argument)
    return _ehlo(connection, argument)


async def _ehlo(connection: Connection, argument: str) -> Reply:
    reply = await _hello(connection, "ehlo", argument)
    if reply is not None:
        return reply
    if connection.snapshot.settings.dsn == "off":
        withdraw_extension(connection.session, dsn.KEYWORD)
    return Reply(250, "", "\n".join((_welcome(connection), *connection.session.capabilities)))


def _welcome(connection: Connection) -> str:
    return f"{connection.snapshot.services.me} greets {connection.session.client.literal}"


def _extensions(connection: Connection) -> list[str]:
    """The EHLO keywords, each of which works: after those for all, RFC 1870, 3207 and 4954."""
    snapshot = connection.snapshot
    largest = snapshot.largest_message
    mechanisms = authenticate.offered(connection)
    lines = [*snapshot.keywords]
    if largest:
        lines.append(f"SIZE {largest}")
    if snapshot.tls_context is not None and connection.session.tls is None:
        lines.append("STARTTLS")
    if mechanisms:
        lines.append(f"AUTH {' '.join(mechanisms)}")
    settings = snapshot.settings
    if settings.xclient_networks and presented.may_speak(connection, settings.xclient_hosts):
        lines.append(f"XCLIENT {' '.join(presented.XCLIENT)}")
    if settings.xforward_networks and presented.may_speak(connection, settings.xforward_hosts):
        lines.append(f"XFORWARD {' '.join(presented.XFORWARD)}")
    return lines


async def _hello(
    connection: Connection, kind: Literal["helo", "ehlo"], argument: str
) -> Reply | None:
    """What HELO and EHLO share.  Returns the refusal, if there is one."""
    session = connection.session
    host = await _hello_host(connection, f"{kind}_parse", argument)
    if isinstance(host, Reply):
        return connection.out_of_step(kind) or host
    before = session.hello, session.hello_host, session.capabilities
    session.hello, session.hello_host = kind, host
    session.capabilities = _extensions(connection) if kind == "ehlo" else []
    reply = None
    if kind in connection.snapshot.chain.hooks:
        reply = connection.refusal(await connection.run_outside(kind, host), host)
    reply = reply or connection.out_of_step(kind)
    if reply is None:
        if session.transaction is not None:
            await connection.reset_transaction()
    else:
        # RFC 5321 section 4.1.4: the state is what it would be without the command.
        session.hello, session.hello_host, session.capabilities = before
    return reply


async def introduce_as(
    connection: Connection, kind: Literal["helo", "ehlo"], name: str
) -> Reply | None:
    """Ask about a name that somebody else has told for the client.  Returns the refusal."""
    host = await _hello_host(connection, f"{kind}_parse", name)
    if isinstance(host, Reply):
        return host
    session = connection.session
    before = session.hello, session.hello_host
    session.hello, session.hello_host = kind, host
    refusal = connection.refusal(await connection.run_outside(kind, host), host)
    if refusal is not None:
        session.hello, session.hello_host = before
    return refusal


async def _hello_host(connection: Connection, hook: str, argument: str) -> str | Reply:
    """The name of the client, which no next hop, log or header field stumbles over; or the refusal.

    What is not UTF-8 becomes question marks: some programs send the name of a computer in Latin-1.
    """
    host = argument.partition(" ")[0]
    answer = None
    if hook in connection.snapshot.chain.hooks:
        answer = await connection.run_outside(hook, argument)
        if (refusal := connection.refusal(answer, argument)) is not None:
            return refusal
    if answer is not None and isinstance(answer.value, str):
        host = answer.value
    elif not host:
        return replies.HELLO_NEEDS_NAME
    elif len(host.encode("utf-8", "surrogateescape")) > MAX_HELLO_NAME:
        return replies.HELLO_NAME_TOO_LONG
    if host.isascii() and host.isprintable():
        return host
    host = host.encode("utf-8", "replace").decode()
    return host if host.isprintable() else replies.HELLO_BAD_CHARACTERS


async def rset(connection: Connection, argument: str) -> Reply:
    """RSET: forget the transaction."""
    if argument:
        return replies.NO_PARAMETERS
    answer = await connection.run_outside("rset")
    if answer is None or not answer.refused:
        await connection.reset_transaction()
    return replies.OK if answer is None else reply_to(answer)


async def noop(connection: Connection, argument: str) -> Reply:
    """NOOP: an argument is allowed and means nothing (RFC 5321 section 4.1.1.9)."""
    answer = await connection.run("noop", connection.session, argument)
    reply = replies.OK if answer is None else reply_to(answer)
    return connection.out_of_step("noop") or reply


async def vrfy(connection: Connection, argument: str) -> Reply:
    """VRFY: discloses nothing unless a plugin does."""
    reply = replies.VRFY_UNSAID if argument else replies.SYNTAX_ERROR
    if argument:
        answer = await connection.run("vrfy", connection.session, argument)
        reply = reply if answer is None else reply_to(answer)
    return connection.out_of_step("vrfy") or reply


async def help_(connection: Connection, argument: str) -> Reply:
    """HELP: the commands, or what a plugin says."""
    answer = await connection.run("help", connection.session, argument)
    if answer is not None and answer.refused:
        return reply_to(answer)
    text = _text(answer)
    return Reply(214, "2.0.0", text or f"This is qpsmtpd\nCommands: {' '.join(_known(connection))}")


def _known(connection: Connection) -> list[str]:
    """The commands that this client may use."""
    unknown = _NOT_OF_LMTP if connection.session.lmtp else _OF_LMTP
    return sorted(COMMANDS.keys() - unknown - _OF_PROXIES)


async def quit_(connection: Connection, _argument: str) -> Reply:
    """QUIT: say goodbye and close."""
    text = ""
    if "quit" in connection.snapshot.chain.hooks:
        answer = await connection.run("quit", connection.session)
        text = "" if answer is None or answer.refused else _text(answer)
    if connection.wire.pending_input:
        # The session is over in any case.
        connection.forgive_step("quit")
    if text:
        return Reply(221, "2.0.0", text, disconnect=True)
    return replies.goodbye(connection.snapshot.services.me)


def _text(answer: Answer | None) -> str:
    """The text of a verdict, "" without one."""
    return "" if answer is None or answer.verdict is None else answer.verdict.text


async def starttls(connection: Connection, argument: str) -> Reply | None:
    """STARTTLS (RFC 3207): nothing that came before TLS is trusted afterwards."""
    session = connection.session
    if (fault := _starttls_fault(connection, argument)) is not None:
        return connection.out_of_step("starttls") or fault
    context = connection.snapshot.tls_context
    assert context is not None
    if connection.wire.pending_input:
        # Commands smuggled in after STARTTLS would be taken for protected ones.
        connection.log_refusal("starttls", replies.TLS_INJECTION)
        return replies.TLS_INJECTION
    await connection.reset_transaction()
    connection.say(replies.TLS_GO_AHEAD)
    session.tls = await connection.wire.start_tls(context)
    session.hello, session.hello_host = None, ""
    return None


def _starttls_fault(connection: Connection, argument: str) -> Reply | None:
    session = connection.session
    if connection.snapshot.tls_context is None:
        return replies.NOT_IMPLEMENTED
    if argument:
        return replies.NO_PARAMETERS
    if session.tls is not None:
        return replies.TLS_ALREADY
    if session.auth_user:
        # What was learned before TLS must be forgotten, including a login (RFC 3207 section 4.2).
        return replies.TLS_AFTER_AUTH
    return None if connection.incoming is None else replies.UNFINISHED


async def xclient(connection: Connection, argument: str) -> Reply | None:
    """XCLIENT: a proxy that may says who its client is."""
    if not presented.may_speak(connection, connection.snapshot.settings.xclient_hosts):
        return await unrecognized(connection, "XCLIENT", argument)
    return await presented.xclient(connection, argument)


async def xforward(connection: Connection, argument: str) -> Reply:
    """XFORWARD: a mail system that may says where the next message comes from."""
    if not presented.may_speak(connection, connection.snapshot.settings.xforward_hosts):
        return await unrecognized(connection, "XFORWARD", argument)
    return await presented.xforward(connection, argument)


async def unrecognized(connection: Connection, verb: str, argument: str) -> Reply:
    """Any other verb; plugins may know it, or count it."""
    session = connection.session
    if "AUTH" in verb or "AUTH" in argument.upper():
        session.auth_tried = True
    log.debug("unrecognized command %r", session.loggable(verb, argument))
    answer = await connection.run("unrecognized_command", session, verb.lower(), argument)
    if answer is not None:
        reply = reply_to(answer)
    else:
        reply = replies.NOT_IMPLEMENTED if verb in _NOT_IMPLEMENTED else replies.UNRECOGNIZED
    if reply.positive or reply.disconnect:
        return reply
    if verb in _LAST_IN_GROUP and (refusal := connection.out_of_step(verb.lower())) is not None:
        return refusal
    return not_smtp(connection, f"{verb} {argument}".rstrip(" ")) or reply


def not_smtp(connection: Connection, line: str) -> Reply | None:
    """The refusal of a line that belongs to another protocol; None if it does not."""
    protocol = protocol_of(line)
    if not protocol:
        return None
    # Not the line itself: requests and header fields contain passwords and cookies.
    connection.log_refusal("unrecognized_command", replies.NOT_SMTP, protocol)
    return replies.NOT_SMTP


#: All commands by their verb.  STARTTLS returns None because it has replied already.
COMMANDS: dict[str, Callable[[Connection, str], Awaitable[Reply | None]]] = {
    "AUTH": authenticate.auth,
    "BDAT": chunks.bdat,
    "DATA": transfer.data,
    "EHLO": ehlo,
    "HELO": helo,
    "HELP": help_,
    "LHLO": lhlo,
    "MAIL": envelope.mail,
    "NOOP": noop,
    "QUIT": quit_,
    "RCPT": envelope.rcpt,
    "RSET": rset,
    "STARTTLS": starttls,
    "VRFY": vrfy,
    "XCLIENT": xclient,
    "XFORWARD": xforward,
}

#: Not shown to clients that ask for help: only to those who are offered them.
_OF_PROXIES = frozenset({"XCLIENT", "XFORWARD"})
_OF_LMTP = frozenset({"LHLO"})
_NOT_OF_LMTP = frozenset({"EHLO", "HELO"})

#: Commands of SMTP that we know and do not have (RFC 5321 section 4.2.4: 502): we expand no lists,
#: and have no queue to send.
_NOT_IMPLEMENTED = frozenset({"ETRN", "EXPN", "SAML", "SEND", "SOML", "TURN"})

#: Those of them after which a client has to wait (RFC 2920 section 3.1).
_LAST_IN_GROUP = frozenset({"ETRN", "EXPN", "TURN"})

#: Commands that advance a message; the others are counted (`max_junk_commands`).
USEFUL = {verb: COMMANDS[verb] for verb in ("MAIL", "RCPT", "DATA", "BDAT", "QUIT")}
