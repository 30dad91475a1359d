# SPDX-License-Identifier: MIT
"""The server's side of the mechanisms of AUTH, for one account."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Generator
from dataclasses import dataclass

#: Yields challenges, is sent the responses, and returns whether the login is right.
Dialogue = Generator[bytes, bytes | None, bool]


@dataclass(frozen=True)
class Sasl:
    """Knows the password.  proof: what it says in SCRAM to prove that, if not what is right."""

    user: str
    password: str
    proof: bytes | None = None
    proves: bool = True

    def dialogue(self, mechanism: str, initial: bytes | None) -> Dialogue:
        if mechanism.startswith("SCRAM-"):
            algorithm = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}[mechanism]
            return self._scram(algorithm, initial or b"")
        known = {"PLAIN": self._plain, "LOGIN": self._login, "CRAM-MD5": self._cram}
        return known[mechanism](initial)

    def _plain(self, initial: bytes | None) -> Dialogue:
        assert initial is not None
        yield from ()
        return initial == f"\0{self.user}\0{self.password}".encode()

    def _login(self, initial: bytes | None) -> Dialogue:
        assert initial is None
        user = yield b"Username:"
        password = yield b"Password:"
        return (user, password) == (self.user.encode(), self.password.encode())

    def _cram(self, initial: bytes | None) -> Dialogue:
        assert initial is None
        response = yield b"<1@hop.example>"
        digest = hmac.new(self.password.encode(), b"<1@hop.example>", "md5").hexdigest()
        return response == f"{self.user} {digest}".encode()

    def _scram(self, algorithm: str, initial: bytes) -> Dialogue:
        assert initial.startswith(b"n,,")
        bare = initial[3:]
        user, nonce = bare.decode().split(",")
        assert user == "n=" + self.user.replace("=", "=3D").replace(",", "=2C")
        first = f"{nonce}server,s={b64encode(b'salt').decode()},i=10".encode()
        last = yield first
        assert last is not None
        unproven, _, proof = last.rpartition(b",p=")
        text = b",".join((bare, first, unproven))

        def mac(key: bytes, message: bytes) -> bytes:
            return hmac.new(key, message, algorithm).digest()

        salted = hashlib.pbkdf2_hmac(algorithm, self.password.encode(), b"salt", 10)
        stored = hashlib.new(algorithm, mac(salted, b"Client Key")).digest()
        pairs = zip(b64decode(proof), mac(stored, text), strict=True)
        if hashlib.new(algorithm, bytes(a ^ b for a, b in pairs)).digest() != stored:
            return False
        if self.proves:
            signature = b64encode(mac(mac(salted, b"Server Key"), text))
            assert (yield b"v=" + (self.proof or signature)) == b""
        return True
