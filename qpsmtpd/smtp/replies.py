# SPDX-License-Identifier: MIT
"""Replies: the standard replies, and the table that turns a verdict of a hook into a reply.

The codes of the table are those of the Perl version (behaviour of its hooks), with enhanced status
codes (RFC 3463) added; every text is fixed, so that logs and peers can compare it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from qpsmtpd.mail.trail import Answer
from qpsmtpd.mail.verdict import ACCEPT, Decision, Verdict
from qpsmtpd.plugin.base import fit_status
from qpsmtpd.smtp.datareader import DataFault
from qpsmtpd.smtp.reply import Reply

OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
GO_AHEAD = Reply(354, "", "Go ahead, end with a dot on a line by itself")
LEFT_TO_HOST = Reply(250, "2.0.0", "Message passed")
CHUNK_OK = Reply(250, "2.0.0", "Chunk taken")
VRFY_UNSAID = Reply(252, "2.5.0", "Cannot verify, but will accept a message and try to deliver it")

SYNTAX_ERROR = Reply(501, "5.5.4", "Syntax error in command")
NO_PARAMETERS = Reply(501, "5.5.4", "No parameters allowed")
BAD_SENDER = Reply(501, "5.1.7", "Bad sender address syntax")
BAD_RECIPIENT = Reply(501, "5.1.3", "Bad recipient address syntax")
BAD_PARAMETER = Reply(501, "5.5.4", "Bad parameter value")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognized")
UTF8_NEEDED = Reply(553, "5.6.7", "Address needs SMTPUTF8")
UNRECOGNIZED = Reply(500, "5.5.1", "Command not recognized")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long")
BAD_CHARACTERS = Reply(500, "5.5.2", "Bad characters in command")
NOT_SMTP = Reply(521, "5.5.1", "This is an SMTP server, closing connection", disconnect=True)
OUT_OF_STEP = Reply(
    554, "5.5.1", "You did not wait for our reply, closing connection", disconnect=True
)
BARE_LF = Reply(521, "5.5.2", "Lines must end with CRLF, closing connection", disconnect=True)
SMUGGLING = Reply(
    550, "5.5.2", "Bare CR or LF in message not allowed, closing connection", disconnect=True
)
HELLO_FIRST = Reply(503, "5.5.1", "Send HELO or EHLO first")
EHLO_FIRST = Reply(503, "5.5.1", "Send EHLO first")
HELLO_NEEDS_NAME = Reply(501, "5.5.4", "A host name is required")
HELLO_NAME_TOO_LONG = Reply(501, "5.5.4", "Host name too long")
HELLO_BAD_CHARACTERS = Reply(501, "5.5.4", "Bad characters in host name")
MAIL_FIRST = Reply(503, "5.5.1", "Send MAIL first")
RCPT_FIRST = Reply(503, "5.5.1", "Send RCPT first")
DATA_IS_BINARY = Reply(503, "5.5.1", "BINARYMIME needs BDAT")
UNFINISHED = Reply(503, "5.5.1", "Send the rest of the message first, or RSET")
IN_TRANSACTION = Reply(503, "5.5.1", "Not permitted during a transaction")
BAD_ATTRIBUTE = Reply(501, "5.5.4", "Bad attribute")
BAD_CHUNK = Reply(521, "5.5.4", "Syntax: BDAT octets [LAST], closing connection", disconnect=True)
TOO_BIG = Reply(552, "5.3.4", "Message too big")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")
NOBODY_DECIDED_RECIPIENT = Reply(
    450, "4.7.1", "Recipient not accepted for now, please try again later"
)
NOBODY_QUEUED = Reply(451, "4.3.0", "Message not queued, please try again later")
SPOOL_FULL = Reply(452, "4.3.1", "Insufficient system storage")
SPOOL_FAILED = Reply(451, "4.3.0", "Message cannot be stored, please try again later")

TIMED_OUT = Reply(421, "4.4.2", "Timeout, closing connection", disconnect=True)
SHUTTING_DOWN = Reply(421, "4.3.2", "Service shutting down", disconnect=True)
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing connection", disconnect=True)
TOO_MUCH_JUNK = Reply(421, "4.7.0", "Too many commands, closing connection", disconnect=True)
TOO_MANY_CONNECTIONS = Reply(
    421, "4.3.2", "Too many connections, please try again later", disconnect=True
)
TOO_MANY_FROM_CLIENT = Reply(
    421, "4.7.0", "Too many connections from you, try again later", disconnect=True
)
TOO_MANY_FROM_NETWORK = Reply(
    421, "4.7.0", "Too many connections from your network, try again later", disconnect=True
)
CLIENT_UNKNOWN = Reply(421, "4.3.5", "Client address unknown", disconnect=True)
INTERNAL_ERROR = Reply(421, "4.3.0", "Internal error, closing connection", disconnect=True)

TLS_GO_AHEAD = Reply(220, "2.0.0", "Ready to start TLS")
TLS_ALREADY = Reply(503, "5.5.1", "TLS already active")
TLS_AFTER_AUTH = Reply(503, "5.5.1", "STARTTLS not permitted after AUTH")
TLS_INJECTION = Reply(554, "5.5.1", "Data after STARTTLS, closing connection", disconnect=True)

AUTH_UNKNOWN_MECHANISM = Reply(504, "5.5.4", "Unrecognized authentication mechanism")
AUTH_ALREADY = Reply(503, "5.5.1", "Already authenticated")
AUTH_NOT_NOW = Reply(503, "5.5.1", "AUTH not permitted during a transaction")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "Encryption required for authentication")
AUTH_FAILED = Reply(535, "5.7.8", "Authentication credentials invalid")
AUTH_CANCELLED = Reply(501, "5.7.0", "Authentication cancelled")
AUTH_BAD_BASE64 = Reply(501, "5.5.2", "Cannot decode response")
AUTH_TOO_LONG = Reply(500, "5.5.6", "Authentication exchange line too long")
AUTH_TOO_MANY = Reply(421, "4.7.0", "Too many failed authentications", disconnect=True)
AUTH_TOO_MANY_FROM_CLIENT = Reply(
    421, "4.7.0", "Too many failed authentications from you, try again later", disconnect=True
)

DATA_FAULTS = {
    DataFault.BARE_LINE_END: Reply(550, "5.5.2", "Bare CR or LF in message not allowed"),
    DataFault.NUL: Reply(550, "5.5.2", "NUL in message not allowed"),
    DataFault.LINE_TOO_LONG: Reply(550, "5.6.0", "Line too long in message"),
    DataFault.HEADER_TOO_LARGE: Reply(552, "5.3.4", "Message header too large"),
    DataFault.TOO_MANY_HEADERS: Reply(552, "5.3.4", "Too many header fields"),
    DataFault.TOO_BIG: TOO_BIG,
    DataFault.NO_MEMORY: SPOOL_FULL,
}


@dataclass(frozen=True, slots=True)
class HookReplies:
    """The replies of one hook where the verdict itself names none.

    deny, defer: codes of refusals; *_disconnect: where a disconnecting one has another code.
    closes: every refusal closes the connection.
    """

    deny: int
    defer: int
    deny_status: str = "5.7.1"
    defer_status: str = "4.7.1"
    deny_text: str = "Refused"
    defer_text: str = "Refused for now, please try again later"
    deny_disconnect: int = 0
    defer_disconnect: int = 0
    accept: Reply = OK
    closes: bool = False


_MESSAGE = HookReplies(
    552,
    452,
    deny_text="Message refused",
    defer_text="Message refused for now, please try again later",
    accept=Reply(250, "2.0.0", "Message accepted"),
)
_RECIPIENT = HookReplies(
    550, 450, deny_text="Recipient refused", defer_disconnect=421, accept=RECIPIENT_OK
)
_HELLO = HookReplies(550, 450, deny_text="Host name refused")
_AUTH = HookReplies(
    535,
    535,
    deny_status="5.7.8",
    defer_status="5.7.8",
    deny_text=AUTH_FAILED.text,
    defer_text=AUTH_FAILED.text,
    accept=Reply(235, "2.7.0", "Authentication successful"),
)
_PARSE = HookReplies(501, 501, "5.5.4", "5.5.4", "Syntax error in command", "Syntax error")

#: Every hook whose verdict becomes a reply.
HOOK_REPLIES: dict[str, HookReplies] = {
    "pre_connection": HookReplies(
        550, 451, deny_text="Service not available to you", defer_status="4.7.0", closes=True
    ),
    "connect": HookReplies(550, 450, deny_text="Connection refused", closes=True),
    "helo": _HELLO,
    "ehlo": _HELLO,
    "helo_parse": _PARSE,
    "ehlo_parse": _PARSE,
    "mail_parse": _PARSE,
    "rcpt_parse": _PARSE,
    "auth_parse": _PARSE,
    "mail_pre": _PARSE,
    "rcpt_pre": _PARSE,
    "auth": _AUTH,
    "auth_plain": _AUTH,
    "auth_login": _AUTH,
    "auth_cram_md5": _AUTH,
    "auth_exchange": _AUTH,
    "mail": HookReplies(
        550, 450, deny_text="Sender refused", defer_disconnect=421, accept=SENDER_OK
    ),
    "rcpt": _RECIPIENT,
    "verify_recipient": _RECIPIENT,
    "data": HookReplies(554, 451, deny_text="Message refused", defer_disconnect=421),
    "data_headers_end": HookReplies(554, 421, deny_text="Message refused", closes=True),
    "data_post_headers": _MESSAGE,
    "received_line": _MESSAGE,
    "data_post": _MESSAGE,
    "queue_pre": _MESSAGE,
    "sign": _MESSAGE,
    "queue": _MESSAGE,
    "vrfy": HookReplies(554, 450, accept=Reply(250, "2.5.0", "User OK")),
    "noop": HookReplies(500, 500, deny_status="5.5.1", defer_status="5.5.1"),
    "rset": HookReplies(500, 500, deny_status="5.5.1", defer_status="5.5.1"),
    "help": HookReplies(500, 500, deny_status="5.5.1", defer_status="5.5.1"),
    "quit": HookReplies(221, 221, deny_status="2.0.0", defer_status="2.0.0"),
    "unrecognized_command": HookReplies(
        500,
        500,
        deny_status="5.5.1",
        defer_status="5.5.1",
        deny_text=UNRECOGNIZED.text,
        defer_text=UNRECOGNIZED.text,
        deny_disconnect=521,
        defer_disconnect=521,
    ),
}


@lru_cache(maxsize=4)
def goodbye(me: str) -> Reply:
    """The reply to QUIT."""
    return Reply(221, "2.0.0", f"{me} closing connection", disconnect=True)


def line_fault(line: bytes) -> Reply | None:
    """What is wrong with a line of the client's, a command or an answer in an exchange of AUTH.

    One that ends in a bare LF still has it.
    """
    if line.endswith(b"\n"):
        # A relay before us may have taken whatever follows for a part of this line.
        return BARE_LF
    return BAD_CHARACTERS if b"\r" in line or b"\0" in line else None


def reply_to(answer: Answer) -> Reply:
    """The reply that the verdict of an answer becomes."""
    return reply_for(answer.hook, answer.value, recorded=True)


def verdict_of(reply: Reply) -> Verdict:
    """A refusal of the core as a verdict, for the trail."""
    decision = Decision.DENY if reply.code >= 500 else Decision.DEFER
    return Verdict(decision, reply.text, reply.status, reply.disconnect, reply.code)


def reply_for(hook: str, verdict: Verdict, *, recorded: bool = False) -> Reply:
    """The reply that a verdict of this hook becomes; recorded: whether the trail has it."""
    if verdict.decision is ACCEPT:
        return _accept_reply(hook, verdict.text, verdict.status, verdict.code)
    table = HOOK_REPLIES[hook]
    deny = verdict.decision is Decision.DENY
    code = table.deny if deny else table.defer
    if verdict.disconnect:
        code = (table.deny_disconnect if deny else table.defer_disconnect) or code
    code = verdict.code or code
    default = table.deny_status if deny else table.defer_status
    return Reply(
        code,
        _status_for(code, verdict.status or default),
        verdict.text or (table.deny_text if deny else table.defer_text),
        # RFC 5321 section 3.8: 421 says that the connection is closed.
        disconnect=verdict.disconnect or table.closes or code == 421,
        recorded=recorded,
    )


@lru_cache(maxsize=256)
def _accept_reply(hook: str, text: str, status: str, code: int) -> Reply:
    default = HOOK_REPLIES[hook].accept
    if not (text or status or code):
        return default
    return Reply(
        code or default.code,
        fit_status(status, ACCEPT) or default.status,
        text or default.text,
    )


def _status_for(code: int, status: str) -> str:
    """RFC 2034 section 4: the class of the status is the first digit of the code."""
    return f"{code // 100}{status[1:]}"
