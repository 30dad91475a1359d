# SPDX-License-Identifier: MIT
"""Keys of DKIM: TXT records of the DNS, read into public keys (RFC 6376 section 3.6, RFC 8463).

The library cryptography is imported when the first key is read, since it takes a process 100 ms and
10 MB, and most have no use for it.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mailauth.taglist import TagListError, items, parse_tags, without_white_space

KeyType = Literal["rsa", "ed25519"]

#: Longer records are not keys: one with RSA of 8192 bits has 1,500 octets.
MAX_RECORD = 4096

#: RFC 8301 section 3.2; what is longer than the most costs more to check than it gives.
LEAST_RSA_BITS = 1024
MOST_RSA_BITS = 8192
#: Checking a signature takes time in proportion; nearly everybody has 65537.
_MOST_EXPONENT_BITS = 64

_ED25519_OCTETS = 32
_VERSION = "DKIM1"

_INTEGER, _BIT_STRING, _SEQUENCE = 0x02, 0x03, 0x30
#: AlgorithmIdentifier of a SubjectPublicKeyInfo: rsaEncryption (RFC 3279 section 2.3.1).
_RSA_ENCRYPTION = bytes.fromhex("06092a864886f70d010101")
_NULL = b"\x05\x00"

#: Whether a signature is that of a SHA-256 hash: (signature, hash).
Verify = Callable[[bytes, bytes], bool]


class DkimKeyError(QpsmtpdError):
    """The record is not a usable key; the message is one of a few fixed texts."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and what its owner says about it.

    verify: None if the key is too short or too long to count.
    strict: the identity has to be in the domain of the signature itself (t=s).
    testing: the owner is only trying it out (t=y).
    """

    type: KeyType
    bits: int
    verify: Verify | None
    strict: bool = False
    testing: bool = False


def choose_key(records: Sequence[str]) -> Key:
    """The key in the records of a name.  Raises DkimKeyError.

    There should be one record.  If there are more, one that says that it is a key is preferred to
    others (RFC 6376 section 3.6.2.2 leaves that open).
    """
    if len(records) > 1:
        records = [text for text in records if text.startswith(f"v={_VERSION}")]
        if len(records) != 1:
            raise DkimKeyError("several keys")
    if not records:
        raise DkimKeyError("no key")
    return parse_key(records[0])


def parse_key(text: str) -> Key:
    """Read a record.  Raises DkimKeyError."""
    if len(text) > MAX_RECORD:
        raise DkimKeyError("key record too long")
    if not text.isascii():
        raise DkimKeyError("key record not ASCII")
    key = _remembered(text)
    if isinstance(key, str):
        raise DkimKeyError(key)
    return key


@functools.lru_cache(maxsize=1024)
def _remembered(text: str) -> Key | str:
    """The key, or what is wrong with it."""
    try:
        return _parse(text)
    except DkimKeyError as error:
        return str(error)


def _parse(text: str) -> Key:
    try:
        tags = parse_tags(text)
    except TagListError:
        raise DkimKeyError("key syntax") from None
    if "v" in tags and (tags["v"] != _VERSION or next(iter(tags)) != "v"):
        raise DkimKeyError("key version")
    if "p" not in tags:
        raise DkimKeyError("key syntax")
    if not tags["p"]:
        raise DkimKeyError("key revoked")
    if "h" in tags and "sha256" not in items(tags["h"]):
        raise DkimKeyError("key not for sha256")
    if not {"*", "email"} & set(items(tags.get("s", "*"))):
        raise DkimKeyError("key not for mail")
    flags = items(tags.get("t", ""))
    return _key(tags.get("k", "rsa"), _decoded(tags["p"]), "s" in flags, "y" in flags)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(without_white_space(text), validate=True)
    except binascii.Error:
        raise DkimKeyError("key syntax") from None


def _key(kind: str, data: bytes, strict: bool, testing: bool) -> Key:
    if kind == "rsa":
        modulus, exponent = _rsa_numbers(data)
        bits = modulus.bit_length()
        usable = LEAST_RSA_BITS <= bits <= MOST_RSA_BITS
        verify = _rsa(modulus, exponent) if usable else None
        return Key("rsa", bits, verify, strict, testing)
    if kind == "ed25519":
        return Key("ed25519", 8 * _ED25519_OCTETS, _ed25519(data), strict, testing)
    raise DkimKeyError("key type")


# --- what cryptography does ---------------------------------------------------------------------


def _rsa(modulus: int, exponent: int) -> Verify:
    # From its numbers a key is made in 10 us, from DER in 230 (cryptography 38).
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        public = RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        raise DkimKeyError("key syntax") from None
    padding, algorithm = PKCS1v15(), Prehashed(SHA256())

    def verify(signature: bytes, digest: bytes) -> bool:
        try:
            public.verify(signature, digest, padding, algorithm)
        except InvalidSignature:
            return False
        return True

    return verify


def _ed25519(data: bytes) -> Verify:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(data) != _ED25519_OCTETS:
        raise DkimKeyError("key syntax")
    public = Ed25519PublicKey.from_public_bytes(data)

    def verify(signature: bytes, digest: bytes) -> bool:
        try:
            public.verify(signature, digest)
        except InvalidSignature:
            return False
        return True

    return verify


# --- DER (X.690) --------------------------------------------------------------------------------


def _rsa_numbers(data: bytes) -> tuple[int, int]:
    """Modulus and exponent of a SubjectPublicKeyInfo, or of a bare RSAPublicKey (RFC 8017)."""
    content = _whole(data, _SEQUENCE)
    if content[:1] == bytes([_SEQUENCE]):
        algorithm, rest = _element(content, _SEQUENCE)
        if algorithm not in (_RSA_ENCRYPTION + _NULL, _RSA_ENCRYPTION):
            raise DkimKeyError("key type")
        bits = _whole(rest, _BIT_STRING)
        if bits[:1] != b"\0":
            raise DkimKeyError("key syntax")
        content = _whole(bits[1:], _SEQUENCE)
    modulus, rest = _element(content, _INTEGER)
    exponent = _whole(rest, _INTEGER)
    return _number(modulus), _exponent(_number(exponent))


def _number(content: bytes) -> int:
    if not content or content[0] & 0x80:
        raise DkimKeyError("key syntax")  # negative
    return int.from_bytes(content)


def _exponent(number: int) -> int:
    if number.bit_length() > _MOST_EXPONENT_BITS:
        raise DkimKeyError("key exponent too long")
    return number


def _whole(data: bytes, tag: int) -> bytes:
    """The content of the one element that there is."""
    content, rest = _element(data, tag)
    if rest:
        raise DkimKeyError("key syntax")
    return content


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the first element, and what follows it.  Raises DkimKeyError."""
    if len(data) < 2 or data[0] != tag:
        raise DkimKeyError("key syntax")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    end = start + length
    if not 2 < end <= len(data):
        raise DkimKeyError("key syntax")
    return data[start:end], data[end:]
