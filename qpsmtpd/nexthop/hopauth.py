# SPDX-License-Identifier: MIT
"""AUTH (RFC 4954) with a next hop: the client's side of the mechanisms, and where the password is.

A mechanism answers challenges.  Those that show the password, PLAIN and LOGIN, are used only where
nobody can listen: with TLS, or within this machine.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qpsmtpd.nexthop.hopreply import NextHopError

#: What the client is told when we cannot log in (RFC 3463: other security status).
STATUS = "4.7.0"

#: Octets of a password file that are read, and rounds of SCRAM that are computed: each costs half a
#: microsecond, in a thread.
_MAX_PASSWORD = 4096
_MAX_ROUNDS = 200_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to the next hop."""

    user: str
    password: str = field(repr=False)


class Mechanism:
    """One login."""

    #: Whether a success means something now: the next hop may have to prove who it is.
    complete = True

    def begin(self) -> bytes | None:
        """The initial response; None if the mechanism begins with a challenge."""
        return None

    def answer(self, challenge: bytes) -> bytes:
        """The response to a challenge.  Raises NextHopError for one that makes no sense."""
        raise NextHopError("sends a challenge where there is none", STATUS)


def choose(offered: str, credentials: Credentials, *, private: bool) -> tuple[str, Mechanism]:
    """The best mechanism that is offered (the words after AUTH).  Raises NextHopError.

    private: nobody can listen.
    """
    words = offered.upper().split()
    for name, make in _MECHANISMS.items():
        if name in words and (private or name not in _SHOWS_PASSWORD):
            return name, make(credentials)
    if _SHOWS_PASSWORD & set(words):
        problem = "offers only AUTH mechanisms that show the password, and there is no TLS"
    else:
        problem = f"offers no AUTH mechanism that we know: {offered or 'none at all'}"
    raise NextHopError(problem, STATUS, ours=True)


class Plain(Mechanism):
    """PLAIN (RFC 4616)."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def begin(self) -> bytes:
        return f"\0{self._credentials.user}\0{self._credentials.password}".encode()


class Login(Mechanism):
    """LOGIN, which nobody has specified: it asks for the name and then for the password."""

    def __init__(self, credentials: Credentials) -> None:
        self._left = [credentials.user, credentials.password]

    def answer(self, challenge: bytes) -> bytes:
        if not self._left:
            return super().answer(challenge)
        return self._left.pop(0).encode()


class CramMd5(Mechanism):
    """CRAM-MD5 (RFC 2195)."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def answer(self, challenge: bytes) -> bytes:
        digest = hmac.new(self._credentials.password.encode(), challenge, "md5").hexdigest()
        return f"{self._credentials.user} {digest}".encode()


class Scram(Mechanism):
    """SCRAM (RFC 5802, 7677) without channel binding; the next hop proves that it knows us too."""

    def __init__(self, credentials: Credentials, algorithm: str) -> None:
        self._algorithm = algorithm
        self._password = unicodedata.normalize("NFKC", credentials.password).encode()
        user = unicodedata.normalize("NFKC", credentials.user)
        self._nonce = secrets.token_urlsafe(24)
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self._nonce}"
        self._signature: bytes | None = None
        self.complete = False

    def begin(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def answer(self, challenge: bytes) -> bytes:
        if self.complete:
            return super().answer(challenge)
        parts = _parts(challenge)
        if self._signature is None:
            return self._prove(challenge.decode(), parts)
        try:
            signature = base64.b64decode(parts["v"], validate=True)
        except (KeyError, ValueError):
            raise _senseless() from None
        if not hmac.compare_digest(signature, self._signature):
            raise NextHopError("does not know our password, although it says so", STATUS, ours=True)
        self.complete = True
        return b""

    def _prove(self, challenge: str, parts: Mapping[str, str]) -> bytes:
        try:
            nonce, salt = parts["r"], base64.b64decode(parts["s"], validate=True)
            rounds = int(parts["i"])
        except (KeyError, ValueError):
            raise _senseless() from None
        if not nonce.startswith(self._nonce) or not 0 < rounds <= _MAX_ROUNDS:
            raise _senseless()
        last = f"c={base64.b64encode(b'n,,').decode()},r={nonce}"
        text = f"{self._bare},{challenge},{last}".encode()
        salted = hashlib.pbkdf2_hmac(self._algorithm, self._password, salt, rounds)
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), text)
        return f"{last},p={base64.b64encode(self._proof(salted, text)).decode()}".encode()

    def _proof(self, salted: bytes, text: bytes) -> bytes:
        key = self._hmac(salted, b"Client Key")
        stored = hashlib.new(self._algorithm, key).digest()
        return bytes(a ^ b for a, b in zip(key, self._hmac(stored, text), strict=True))

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, self._algorithm).digest()


def _parts(challenge: bytes) -> Mapping[str, str]:
    """The attributes of a message of SCRAM, `r=…,s=…`."""
    try:
        words = challenge.decode("ascii").split(",")
    except UnicodeDecodeError:
        raise _senseless() from None
    return {word[0]: word[2:] for word in words if word[1:2] == "="}


def _senseless() -> NextHopError:
    return NextHopError("sends a senseless SCRAM challenge", STATUS)


#: The best first.
_MECHANISMS: dict[str, Callable[[Credentials], Mechanism]] = {
    "SCRAM-SHA-256": lambda credentials: Scram(credentials, "sha256"),
    "SCRAM-SHA-1": lambda credentials: Scram(credentials, "sha1"),
    "CRAM-MD5": CramMd5,
    "PLAIN": Plain,
    "LOGIN": Login,
}
_SHOWS_PASSWORD = frozenset({"PLAIN", "LOGIN"})


# --- the password ---------------------------------------------------------------------------


def read_password(path: Path) -> str:
    """The first line of a password file.

    Raises ValueError, whose text says what would be right, if everybody may read it or its first
    line is not a password; OSError if it cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
            raise ValueError("everybody may read or write it; its mode has to be 0640 or less")
        line = file.read(_MAX_PASSWORD).partition(b"\n")[0].rstrip(b"\r")
    try:
        password = line.decode()
    except UnicodeDecodeError:
        password = ""
    if not password or not password.isprintable():
        raise ValueError("its first line has to be the password, in UTF-8")
    return password
