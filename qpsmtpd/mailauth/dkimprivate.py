# SPDX-License-Identifier: MIT
"""Private keys of DKIM: read, made, and what their owner publishes (RFC 6376 section 3.6.1).

As in dkimkey.py, the library cryptography is imported when there is a key to read or to make.
"""

from __future__ import annotations

import base64
import binascii
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mailauth.dkimkey import LEAST_RSA_BITS, KeyType, parse_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

#: RFC 8301 section 3.2: what signers should have, and what all verifiers have to be able to check.
USUAL_RSA_BITS = 2048
MOST_CHECKED_RSA_BITS = 4096

_EXPONENT = 65537
_ED25519_OCTETS = 32
_PEM = b"-----BEGIN "
#: A hash; which one does not matter.
_SAMPLE = bytes(32)


class PrivateKeyError(QpsmtpdError):
    """The text is not a key that can sign; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that signs.

    sign: makes the signature of a SHA-256 hash.  record: the text to publish in the DNS.
    """

    type: KeyType
    bits: int
    sign: Callable[[bytes], bytes]
    record: str

    @property
    def algorithm(self) -> str:
        """What a= says."""
        return f"{self.type}-sha256"


def parse_private_key(text: bytes) -> PrivateKey:
    """Read a key: PEM, or base64 of the octets of an Ed25519 key as dkimpy writes it.

    Raises PrivateKeyError.
    """
    key = _usable(_loaded(text))
    if key.type == "rsa" and key.bits < LEAST_RSA_BITS:
        raise PrivateKeyError(
            f"has {key.bits} bits, and nobody accepts signatures by less than {LEAST_RSA_BITS}: "
            f"make one of {USUAL_RSA_BITS}"
        )
    public = parse_key(key.record)
    if public.verify is not None and not public.verify(key.sign(_SAMPLE), _SAMPLE):
        raise PrivateKeyError("is damaged: its signatures are wrong")
    return key


def make_private_key(kind: KeyType, bits: int = USUAL_RSA_BITS) -> bytes:
    """A new key (PEM, PKCS #8); `bits` is for RSA."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    made = generate_private_key(_EXPONENT, bits) if kind == "rsa" else Ed25519PrivateKey.generate()
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _loaded(text: bytes) -> Any:
    """What cryptography makes of it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if _PEM not in text:
        return _ed25519_of(text)
    # Whether the factors are primes takes 35 ms to test, and cannot be skipped before version 39.
    # A damaged key is found in a hundredth of that, by its signature.
    trusted = "unsafe_skip_rsa_key_validation"
    known = trusted in inspect.signature(load_pem_private_key).parameters
    options: dict[str, Any] = {trusted: True} if known else {}
    try:
        return load_pem_private_key(text, None, **options)
    except TypeError:
        raise PrivateKeyError("is encrypted: write it without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise PrivateKeyError("is not a private key (PEM)") from None


def _ed25519_of(text: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        octets = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        octets = b""
    if len(octets) != _ED25519_OCTETS:
        raise PrivateKeyError("is not a private key (PEM)")
    return Ed25519PrivateKey.from_private_bytes(octets)


def _usable(key: Any) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if isinstance(key, RSAPrivateKey):
        return _rsa(key)
    if isinstance(key, Ed25519PrivateKey):
        return _ed25519(key)
    raise PrivateKeyError("is not a key for DKIM: make one of RSA or Ed25519")


def _rsa(key: RSAPrivateKey) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    padding, algorithm = PKCS1v15(), Prehashed(SHA256())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(digest: bytes) -> bytes:
        return key.sign(digest, padding, algorithm)

    return PrivateKey("rsa", key.key_size, sign, _record("rsa", public))


def _ed25519(key: Ed25519PrivateKey) -> PrivateKey:
    """RFC 8463: what is signed is the hash."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return PrivateKey("ed25519", 8 * _ED25519_OCTETS, key.sign, _record("ed25519", public))


def _record(kind: KeyType, public: bytes) -> str:
    return f"v=DKIM1; k={kind}; p={base64.b64encode(public).decode()}"
