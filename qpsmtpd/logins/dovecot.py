# SPDX-License-Identifier: MIT
"""Dovecot: the authentication protocol 1.x of its socket auth-client, with the mechanism PLAIN.

Lines of words with tabs between them.  The client says who it is (CPID, a number that no other
connection may have), and the server what it can do, up to DONE; then the client asks.  See "Dovecot
Authentication Protocol" in Dovecot's documentation.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence

from qpsmtpd.logins.attempts import Login
from qpsmtpd.logins.judging import say
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

#: Octets of a line, and lines of a greeting.
MAX_LINE = 8192
MAX_LINES = 100

#: What says that a failure is not the user's.
_TEMPORARY = frozenset({"temp", "code=temp_fail"})


async def greeting(wire: ScannerWire) -> tuple[str, ...]:
    """Greet, and read what it can do; returns its mechanisms.  Raises ScannerError."""
    # Dovecot 2.3 greets first, 2.4 waits for the client's greeting.
    wire.greet(f"VERSION\t1\t1\nCPID\t{secrets.randbelow(2**31 - 1) + 1}\n".encode())
    first = parse_line(await wire.read_line(MAX_LINE))
    if first[:2] != ["VERSION", "1"]:
        raise ScannerError(f"does not speak Dovecot's protocol, version 1: {first[:2]!r:.100}")
    return _checked(await _mechanisms(wire))


async def _mechanisms(wire: ScannerWire) -> list[str]:
    mechanisms: list[str] = []
    for _ in range(MAX_LINES):
        match parse_line(await wire.read_line(MAX_LINE)):
            case ["MECH", name, *_]:
                mechanisms.append(name.upper())
            case ["DONE", *_]:
                return mechanisms
    raise ScannerError("its greeting does not end")


def parse_line(line: bytes) -> list[str]:
    """The words of a line."""
    return line.decode("utf-8", "replace").split("\t")


def _checked(mechanisms: Sequence[str]) -> tuple[str, ...]:
    if "PLAIN" not in mechanisms:
        raise ScannerError(f"does not have the mechanism PLAIN, only {', '.join(mechanisms)[:100]}")
    return tuple(mechanisms)


async def log_in(wire: ScannerWire, login: Login, service: str) -> bool:
    """Whether a login is right.  Raises ScannerError."""
    await greeting(wire)
    number = secrets.randbelow(2**31 - 1) + 1
    await say(wire, request(number, login, service).encode())
    return answer(parse_line(await wire.read_line(MAX_LINE)), number)


def request(number: int, login: Login, service: str) -> str:
    """The line that asks.  The response has to be the last word."""
    response = base64.b64encode(f"\0{login.user}\0{login.password}".encode()).decode()
    words = [
        *("AUTH", str(number), "PLAIN", f"service={service}"),
        # We brake ourselves, and a pause here would take from the time that we have.
        *("nologin", "no-penalty"),
        *(f"rip={login.client}", f"lip={login.local}"),
        *(f"rport={login.client_port}", f"lport={login.local_port}"),
    ]
    if login.secured:
        words.append("secured")
    return "\t".join([*words, f"resp={response}"]) + "\n"


def answer(words: Sequence[str], number: int) -> bool:
    """What the words of an answer mean.  Raises ScannerError."""
    match words:
        case ["OK", its, *_] if its == str(number):
            return True
        case ["FAIL", its, *more] if its == str(number):
            if _TEMPORARY & set(more):
                raise ScannerError("says that it cannot tell now")
            return False
    raise ScannerError("does not answer what it was asked")
