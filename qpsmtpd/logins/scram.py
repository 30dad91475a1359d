# SPDX-License-Identifier: MIT
"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side (RFC 5802, RFC 7677), as pure values.

    client ──▶ parse_first ──▶ Exchange.begin ──▶ server_first ──▶ client ──▶ finish ──▶ client

The client proves that it knows the password without saying it, and the server that it has the
verifier.  Nothing here waits, draws random numbers or knows a user: `Exchange.begin` gets a
verifier, which for a user that does not exist is a made-up one (`made_up`), so that the exchange
looks the same up to its end.

Channel binding: with -PLUS the client says what it sees of the TLS session, and somebody between
the two who has a TLS session with each is found out.  A client that could do that and believes that
we cannot says so ("y"): if we had offered it, somebody has taken that out of our offer.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from qpsmtpd.logins.verifier import Verifier, keyed

MECHANISM = "SCRAM-SHA-256"
MECHANISM_PLUS = "SCRAM-SHA-256-PLUS"

#: The only channel binding that Python can tell us of (RFC 5929 section 3); not of TLS 1.3.
TLS_UNIQUE = "tls-unique"

#: Octets of a message of the client: channel bindings and nonces are short.
MOST = 4096

_NAME = r"(?:[^\0,=]|=2C|=3D)+"
_is_first = re.compile(
    rf"((n|y|p=([A-Za-z0-9.-]+)),(?:a=({_NAME}))?,)"
    rf"(n=({_NAME}),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^\0,]+)*)"
).fullmatch
_is_final = re.compile(
    r"(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^\0,]+)*),p=([A-Za-z0-9+/=]+)"
).fullmatch


class ScramError(Exception):
    """The client does not speak SCRAM, or not so that it can be logged in."""


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """The first message of a client.

    header: the part about channel binding (gs2-header).  bare: the rest of the message.
    flag: "n" the client has none, "y" it believes that we have none, "p" it is `binding`.
    identity: the user it wants to act as, "" for itself.
    """

    header: str
    flag: Literal["n", "y", "p"]
    binding: str
    identity: str
    bare: str
    user: str
    nonce: str


def parse_first(octets: bytes) -> ClientFirst:
    """The first message of a client (RFC 5802 section 7).  Raises ScramError."""
    found = _is_first(_text(octets))
    if found is None:
        raise ScramError("the first message is not one of SCRAM")
    header, flag, binding, identity, bare, user, nonce = found.groups()
    kind: Literal["n", "y", "p"] = "n" if flag == "n" else "y" if flag == "y" else "p"
    return ClientFirst(
        header, kind, binding or "", _unescaped(identity or ""), bare, _unescaped(user), nonce
    )


def _text(octets: bytes) -> str:
    if len(octets) > MOST:
        raise ScramError("the message is too long")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise ScramError("the message is not in UTF-8") from None


def _unescaped(name: str) -> str:
    return name.replace("=2C", ",").replace("=3D", "=")


def check_binding(first: ClientFirst, mechanism: str, *, offered: bool) -> None:
    """Make sure that the client has not been deceived about channel binding (section 6).

    offered: whether -PLUS was offered to it.  Raises ScramError.
    """
    plus = mechanism == MECHANISM_PLUS
    if plus != (first.flag == "p"):
        raise ScramError(f"{mechanism} with the flag {first.flag!r} for channel binding")
    if plus and first.binding != TLS_UNIQUE:
        raise ScramError(f"its channel binding is {first.binding!r}, and not {TLS_UNIQUE}")
    if first.flag == "y" and offered:
        raise ScramError("it has not seen that channel binding is offered: somebody is in between")


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange whose first half is done.

    server_first: what the client gets.  channel: the data of the channel binding, b"" without.
    """

    first: ClientFirst
    verifier: Verifier = field(repr=False)
    nonce: str
    channel: bytes = field(default=b"", repr=False)

    @classmethod
    def begin(
        cls, first: ClientFirst, verifier: Verifier, nonce: str, channel: bytes = b""
    ) -> Exchange:
        """Answer the first message; `nonce`: our own part, printable and without commas."""
        return cls(first, verifier, first.nonce + nonce, channel if first.flag == "p" else b"")

    @property
    def server_first(self) -> str:
        """The answer to the first message."""
        salt = base64.b64encode(self.verifier.salt).decode()
        return f"r={self.nonce},s={salt},i={self.verifier.iterations}"

    def finish(self, octets: bytes) -> str | None:
        """The answer to the last message; None if the client does not know the password.

        Raises ScramError if the message is not one, or has another nonce or channel binding.
        """
        found = _is_final(_text(octets))
        if found is None:
            raise ScramError("the last message is not one of SCRAM")
        without_proof, channel, nonce, proof = found.groups()
        if _decoded(channel) != self.first.header.encode() + self.channel:
            raise ScramError("its channel binding is not that of this session")
        if nonce != self.nonce:
            raise ScramError("the nonce is another one")
        text = ",".join((self.first.bare, self.server_first, without_proof)).encode()
        if not self._proves(_decoded(proof), text):
            return None
        return "v=" + base64.b64encode(keyed(self.verifier.server_key, text)).decode()

    def _proves(self, proof: bytes, text: bytes) -> bool:
        signature = keyed(self.verifier.stored_key, text)
        if len(proof) != len(signature):
            return False
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        return hmac.compare_digest(sha256(client_key).digest(), self.verifier.stored_key)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramError("the last message is not in base64") from None


def made_up(secret: bytes, user: str, iterations: int, salt: int) -> Verifier:
    """A verifier for a user that does not exist: the same at each attempt, and of no password.

    salt: how many octets of it.
    """
    name = user.encode("utf-8", "surrogateescape")
    octets = keyed(secret, b"salt 1 " + name) + keyed(secret, b"salt 2 " + name)
    return Verifier(iterations, octets[:salt], keyed(secret, b"stored " + name), bytes(32))
