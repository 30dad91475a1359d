# SPDX-License-Identifier: MIT
"""PAM, asked through the unit qpsmtpd-pam.socket: our side of what pam_helper.py says."""

from __future__ import annotations

from qpsmtpd.logins.attempts import Login
from qpsmtpd.logins.judging import say
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

SOCKET = "/run/qpsmtpd/pam.socket"

#: Octets of an answer.
MOST = 1024


async def log_in(wire: ScannerWire, login: Login, service: str) -> bool:
    """Whether a login is right.  Raises ScannerError."""
    await say(wire, question(service, login.user, login.password, login.client))
    wire.send_end()
    return answer(await wire.read_to_end(MOST))


async def greeting(wire: ScannerWire, service: str) -> None:
    """Find out whether a service may be asked for.  Raises ScannerError."""
    await say(wire, question(service))
    wire.send_end()
    said = await wire.read_to_end(MOST)
    if said != b"ready\n":
        raise ScannerError(_problem(said))


def question(*words: str) -> bytes:
    """The octets of a question."""
    return "".join(f"{word}\0" for word in words).encode()


def answer(octets: bytes) -> bool:
    """What an answer means.  Raises ScannerError."""
    if octets == b"right\n":
        return True
    if octets.startswith(b"wrong ") and octets.endswith(b"\n"):
        return False
    raise ScannerError(_problem(octets))


def _problem(octets: bytes) -> str:
    text = octets.decode("ascii", "replace").rstrip("\n")
    if text.startswith("failed ") and text.isprintable():
        return f"PAM cannot tell now: {text.removeprefix('failed ')[:100]}"
    if text.startswith("refused ") and text.isprintable():
        return f"the helper refuses: {text.removeprefix('refused ')[:100]}"
    return "the helper does not answer, or was too slow"
