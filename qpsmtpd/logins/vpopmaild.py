# SPDX-License-Identifier: MIT
"""vpopmaild: the line protocol of vpopmail's daemon, as much of it as `login` needs.

It greets with +OK; `login USER PASSWORD` is answered with +OK or -ERR.  Words end at a space.
"""

from __future__ import annotations

from qpsmtpd.logins.attempts import Login
from qpsmtpd.logins.judging import say
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

PORT = 89

#: Octets of a line.
MAX_LINE = 1024


async def greeting(wire: ScannerWire) -> None:
    """Read the greeting.  Raises ScannerError."""
    if not is_ok(await wire.read_line(MAX_LINE)):
        raise ScannerError("does not greet with +OK")


def can_say(login: Login) -> bool:
    """Whether the protocol has a form for a login."""
    return " " not in login.user + login.password


async def log_in(wire: ScannerWire, login: Login) -> bool:
    """Whether a login is right.  Raises ScannerError."""
    await greeting(wire)
    await say(wire, f"login {login.user} {login.password}\r\n".encode())
    return is_ok(await wire.read_line(MAX_LINE))


def is_ok(line: bytes) -> bool:
    """What a line says: +OK, or -ERR.  Raises ScannerError for anything else."""
    match line.split(b" ", 1)[0]:
        case b"+OK" | b"+OK+":
            return True
        case b"-ERR":
            return False
    raise ScannerError("does not answer +OK or -ERR")
