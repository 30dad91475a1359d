# SPDX-License-Identifier: MIT
"""Private keys: the forms they come in, and what is said about one that cannot sign."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from qpsmtpd.mailauth.dkimkey import choose_key
from qpsmtpd.mailauth.dkimprivate import PrivateKeyError, make_private_key, parse_private_key
from tests.unit.mailauth.signing import ed25519_key, ed25519_record, rsa_key, rsa_record

HASH = hashlib.sha256(b"a message").digest()
OLD, NEW = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8


def pem(key: Any, form: PrivateFormat = NEW) -> bytes:
    text: bytes = key.private_bytes(Encoding.PEM, form, NoEncryption())
    return text


def raw_ed25519() -> bytes:
    return ed25519_key().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


@pytest.mark.parametrize("form", [OLD, NEW])
def test_rsa(form: PrivateFormat) -> None:
    key = parse_private_key(b"a remark\n" + pem(rsa_key(), form))
    assert (key.type, key.bits, key.algorithm) == ("rsa", 1024, "rsa-sha256")
    assert key.record == rsa_record("v=DKIM1; k=rsa; ")
    assert_signs(key)


def test_ed25519() -> None:
    for text in (pem(ed25519_key()), base64.b64encode(raw_ed25519()) + b"\n"):
        key = parse_private_key(text)
        assert (key.type, key.bits, key.algorithm) == ("ed25519", 256, "ed25519-sha256")
        assert key.record == ed25519_record()
        assert_signs(key)


def assert_signs(key: Any) -> None:
    verify = choose_key([key.record]).verify
    assert verify is not None
    assert verify(key.sign(HASH), HASH)
    assert not verify(key.sign(HASH), hashlib.sha256(b"another").digest())


def test_new_keys() -> None:
    assert parse_private_key(make_private_key("rsa", 1024)).bits == 1024
    first, second = (parse_private_key(make_private_key("ed25519")) for _ in range(2))
    assert first.record != second.record


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "is not a private key"),
        (b"QUJD", "is not a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is not a private key"),
    ],
)
def test_what_is_not_a_key(text: bytes, problem: str) -> None:
    with pytest.raises(PrivateKeyError, match=problem):
        parse_private_key(text)


def test_keys_of_other_kinds() -> None:
    with pytest.raises(PrivateKeyError, match="is not a key for DKIM"):
        parse_private_key(pem(ec.generate_private_key(ec.SECP256R1())))
    locked = rsa_key().private_bytes(Encoding.PEM, NEW, BestAvailableEncryption(b"x"))
    with pytest.raises(PrivateKeyError, match="is encrypted: write it without a password"):
        parse_private_key(locked)


def test_a_small_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library makes none, but reads those of old."""
    monkeypatch.setattr("qpsmtpd.mailauth.dkimprivate.LEAST_RSA_BITS", 1025)
    with pytest.raises(PrivateKeyError, match="has 1024 bits, and nobody accepts"):
        parse_private_key(pem(rsa_key()))


def test_a_damaged_key() -> None:
    """Its numbers do not belong together, and its signatures would all be wrong."""
    text = pem(rsa_key(), OLD)
    first, *lines, last = text.splitlines()
    octets = base64.b64decode(b"".join(lines))
    numbers = rsa_key().private_numbers()
    for number in (numbers.d, numbers.dmp1):
        old, new = (n.to_bytes(n.bit_length() // 8 + 1).lstrip(b"\0") for n in (number, number ^ 6))
        assert octets.count(old) == 1
        octets = octets.replace(old, new)
    with pytest.raises(PrivateKeyError, match=r"is damaged|is not a private key"):
        parse_private_key(b"\n".join((first, base64.encodebytes(octets).strip(), last)))
