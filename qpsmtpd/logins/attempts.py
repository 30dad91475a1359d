# SPDX-License-Identifier: MIT
"""Login: a user name and a password that any back end can be asked about."""

from __future__ import annotations

from dataclasses import dataclass, field

from qpsmtpd.mail.session import AuthAttempt, Session

#: Octets of a user name and of a password; nobody has longer ones.
MAX_USER = 512
MAX_PASSWORD = 1024


@dataclass(frozen=True, slots=True)
class Login:
    """What a client says, and where from.

    secured: nobody could listen, since the session has TLS.
    """

    user: str
    password: str = field(repr=False)
    client: str
    client_port: int
    local: str
    local_port: int
    secured: bool


def readable(session: Session, attempt: AuthAttempt) -> Login | None:
    """The login of an attempt; None if nobody can have such a name or password.

    Control characters end lines and strings in the protocols of back ends, so no name or password
    may have any.  An empty password would be no password at all for some (RFC 4513 section 5.1.2).
    """
    user, password = attempt.user, attempt.password or ""
    if not user or not password or _has_control(user) or _has_control(password):
        return None
    if len(user.encode()) > MAX_USER or len(password.encode()) > MAX_PASSWORD:
        return None
    return Login(
        user,
        password,
        session.client.ip,
        session.client.port,
        session.local.ip,
        session.local.port,
        session.tls is not None,
    )


def _has_control(text: str) -> bool:
    return any(character < " " or character == "\x7f" for character in text)
