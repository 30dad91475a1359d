# SPDX-License-Identifier: MIT
"""A client of SCRAM-SHA-256-PLUS with the password "secret"."""

from __future__ import annotations

import base64
import hashlib

from qpsmtpd.logins.verifier import keyed


class Bound:
    """A client that sees a channel, and proves that it knows the password."""

    def __init__(self, channel: bytes, user: str = "user@mx.example") -> None:
        self._channel = b"p=tls-unique,," + channel
        self._bare = f"n={user},r=abc"

    def begin(self) -> bytes:
        return f"p=tls-unique,,{self._bare}".encode()

    def answer(self, challenge: bytes) -> bytes:
        nonce, salt, iterations = (part[2:] for part in challenge.decode().split(","))
        channel = base64.b64encode(self._channel).decode()
        last = f"c={channel},r={nonce}"
        octets = base64.b64decode(salt)
        salted = hashlib.pbkdf2_hmac("sha256", b"secret", octets, int(iterations))
        key = keyed(salted, b"Client Key")
        text = f"{self._bare},{challenge.decode()},{last}".encode()
        signature = keyed(hashlib.sha256(key).digest(), text)
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{last},p={base64.b64encode(proof).decode()}".encode()
