# SPDX-License-Identifier: MIT
"""CVM: Bruce Guenter's credential validation modules, protocol 1, over a Unix socket.

The question is an octet 1, then name, domain and password, each with a NUL at its end, then a NUL.
The first octet of the answer is 0 for a right password, with what is known about the user behind
it, 100 for a wrong one, and something else for an error.  See https://untroubled.org/cvm/.
"""

from __future__ import annotations

from qpsmtpd.logins.attempts import Login
from qpsmtpd.logins.judging import say
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

#: Octets of an answer.
MOST = 4096

_RIGHT, _WRONG = 0, 100


async def log_in(wire: ScannerWire, login: Login) -> bool:
    """Whether a login is right.  Raises ScannerError."""
    await say(wire, question(login))
    wire.send_end()
    return answer(await wire.read_to_end(MOST))


def question(login: Login) -> bytes:
    """The octets that ask about a login; a name without a domain is of localhost."""
    name, _, domain = login.user.partition("@")
    return f"\1{name}\0{domain or 'localhost'}\0{login.password}\0\0".encode()


def answer(octets: bytes) -> bool:
    """What an answer means.  Raises ScannerError."""
    # What is known about a user is strings, with a NUL at the end of each.
    if octets[:1] == bytes([_RIGHT]) and octets[1:].endswith(b"\0"):
        return True
    if octets[:1] == bytes([_WRONG]):
        return False
    raise ScannerError(f"answers with the code {octets[0]}" if octets else "does not answer")
