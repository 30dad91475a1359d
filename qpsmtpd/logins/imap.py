# SPDX-License-Identifier: MIT
"""IMAP (RFC 9051): as much of it as LOGIN needs.

Name and password are literals (section 4.3), for which there is nothing to be quoted: the server is
told how many octets come, and asks for them.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from typing import NamedTuple

from qpsmtpd.logins.attempts import Login
from qpsmtpd.logins.judging import say
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

PORT = 143
IMAPS_PORT = 993

#: Octets of a line, and lines of a response.
MAX_LINE = 8192
MAX_LINES = 100

#: Response codes of a NO (RFC 5530 and others) that do not speak of name and password.
_NOT_THE_USERS = frozenset(
    {"UNAVAILABLE", "SERVERBUG", "PRIVACYREQUIRED", "INUSE", "LIMIT", "OVERQUOTA", "CORRUPTION"}
)

_is_tagged = re.compile(
    rb"([A-Za-z0-9]+) (OK|NO|BAD)(?: \[([A-Za-z0-9-]+)[\] ].*| .*)?", re.I | re.S
)


class Status(NamedTuple):
    """The line that ends a response: OK, NO or BAD, and its response code or "", in capitals."""

    word: str
    code: str


async def log_in(
    wire: ScannerWire, login: Login, context: ssl.SSLContext | None, host: str, *, implicit: bool
) -> bool:
    """Whether a login is right.  Raises ScannerError.

    context: that of TLS, None to do without.  implicit: TLS comes first, and not with STARTTLS.
    """
    await begin(wire, context, host, implicit=implicit)
    await _send_literals(wire, (login.user.encode(), login.password.encode()))
    return is_right(await _status(wire, b"c"))


async def begin(
    wire: ScannerWire, context: ssl.SSLContext | None, host: str, *, implicit: bool
) -> None:
    """Read the greeting, start TLS, and make sure that LOGIN is permitted.  Raises ScannerError."""
    if context is not None and implicit:
        await wire.start_tls(context, host)
    line = await wire.read_line(MAX_LINE)
    if not line.upper().startswith(b"* OK"):
        raise ScannerError("does not greet as an IMAP server that is ready")
    if context is not None and not implicit:
        await say(wire, b"a STARTTLS\r\n")
        if (await _status(wire, b"a")).word != "OK":
            raise ScannerError("does not have STARTTLS")
        await wire.start_tls(context, host)
    await say(wire, b"b CAPABILITY\r\n")
    others: list[bytes] = []
    await _status(wire, b"b", others)
    if b"LOGINDISABLED" in b" ".join(others).upper().split():
        raise ScannerError("does not permit LOGIN without TLS (LOGINDISABLED)")


async def _send_literals(wire: ScannerWire, literals: Sequence[bytes]) -> None:
    line = b"c LOGIN"
    for literal in literals:
        await say(wire, b"%b {%d}\r\n" % (line, len(literal)))
        await _continuation(wire)
        line = literal
    await say(wire, line + b"\r\n")


async def _continuation(wire: ScannerWire) -> None:
    for _ in range(MAX_LINES):
        line = await wire.read_line(MAX_LINE)
        if line.startswith(b"+"):
            return
        if not line.startswith(b"* ") or _is_bye(line):
            break
    raise ScannerError("does not take a literal")


async def _status(wire: ScannerWire, tag: bytes, others: list[bytes] | None = None) -> Status:
    """The status of a response; `others` gets the lines before it."""
    for _ in range(MAX_LINES):
        line = await wire.read_line(MAX_LINE)
        if not line.startswith(b"* "):
            return parse_status(line, tag)
        if _is_bye(line):
            raise ScannerError("ends the session")
        if others is not None:
            others.append(line)
    raise ScannerError("its response does not end")


def _is_bye(line: bytes) -> bool:
    return line[2:5].upper() == b"BYE"


def parse_status(line: bytes, tag: bytes) -> Status:
    """What a tagged line says.  Raises ScannerError."""
    match = _is_tagged.fullmatch(line)
    if match is None or match[1] != tag:
        raise ScannerError("does not answer the command that it got")
    return Status(match[2].decode().upper(), (match[3] or b"").decode().upper())


def is_right(status: Status) -> bool:
    """What the response to LOGIN says of name and password.  Raises ScannerError."""
    if status.word == "OK":
        return True
    if status.word == "BAD":
        raise ScannerError("does not understand LOGIN")
    if status.code in _NOT_THE_USERS:
        raise ScannerError(f"says that it cannot tell now ({status.code})")
    return False


async def describe(
    wire: ScannerWire, context: ssl.SSLContext | None, host: str, *, implicit: bool
) -> str:
    """What it is, for people.  Raises ScannerError."""
    await begin(wire, context, host, implicit=implicit)
    return "an IMAP server" + (" with TLS" if context else "")
