# SPDX-License-Identifier: MIT
"""Verifier: what a server keeps of a password for SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677).

Whoever reads it can neither log in with it nor find the password but by trying.  As text it is what
PostgreSQL writes, and RFC 5803 has it in LDAP with other separators:

    SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from qpsmtpd.logins.saslprep import saslprep

SCHEME = "SCRAM-SHA-256"

#: RFC 7677 section 4 asks for 4096 at least.  With a million a login takes a second.
LEAST_ITERATIONS = 4096
MOST_ITERATIONS = 1_000_000
USUAL_ITERATIONS = 10_000

#: Octets of a salt that we make, and of one that others may have made.
SALT = 16
_MOST_SALT = 64

_KEY = 32

_is_verifier = re.compile(
    r"SCRAM-SHA-256\$([0-9]{1,7}):([A-Za-z0-9+/=]{1,88})"
    r"\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})"
).fullmatch


@dataclass(frozen=True, slots=True)
class Verifier:
    """salt: octets that differ from user to user.  stored_key, server_key: 32 octets each."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __str__(self) -> str:
        salt, stored, server = map(_text, (self.salt, self.stored_key, self.server_key))
        return f"{SCHEME}${self.iterations}:{salt}${stored}:{server}"

    def matches(self, password: str) -> bool:
        """Whether this is the password.  It takes as long as the iterations do."""
        try:
            made = make_verifier(password, self.salt, self.iterations)
        except ValueError:
            return False
        return hmac.compare_digest(made.stored_key, self.stored_key)


def make_verifier(
    password: str, salt: bytes | None = None, iterations: int = USUAL_ITERATIONS
) -> Verifier:
    """The verifier of a password, with a random salt if none is given.

    Raises ValueError if nobody can have such a password (saslprep).
    """
    salt = secrets.token_bytes(SALT) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password).encode(), salt, iterations)
    stored_key = hashlib.sha256(keyed(salted, b"Client Key")).digest()
    return Verifier(iterations, salt, stored_key, keyed(salted, b"Server Key"))


def parse_verifier(text: str) -> Verifier:
    """The verifier that a text means.  Raises a ValueError that says what would be right."""
    found = _is_verifier(text)
    if found is None:
        raise ValueError("SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY")
    if not LEAST_ITERATIONS <= int(found[1]) <= MOST_ITERATIONS:
        raise ValueError(f"{LEAST_ITERATIONS} to {MOST_ITERATIONS} iterations")
    try:
        salt, stored, server = map(_octets, found.groups()[1:])
    except binascii.Error:
        raise ValueError("salt and keys in base64") from None
    if not 0 < len(salt) <= _MOST_SALT or not len(stored) == len(server) == _KEY:
        raise ValueError(f"keys of {_KEY} octets, and a salt of at most {_MOST_SALT}")
    return Verifier(int(found[1]), salt, stored, server)


def keyed(key: bytes, text: bytes) -> bytes:
    """HMAC with SHA-256."""
    return hmac.digest(key, text, "sha256")


def _octets(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
