# SPDX-License-Identifier: MIT
"""Keys: records, DER by hand, sizes, and what is no key (RFC 6376 section 3.6, RFC 8463)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mailauth import dkimkey
from qpsmtpd.mailauth.dkimkey import MAX_RECORD, DkimKeyError, Key, choose_key, parse_key
from tests.unit.mailauth.signing import (
    ed25519_record,
    record,
    rsa_public,
    rsa_record,
    sign_ed25519,
    sign_rsa,
)

DATA = b"what is signed"
DIGEST = hashlib.sha256(DATA).digest()


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    yield
    dkimkey._remembered.cache_clear()


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def integer(number: int) -> bytes:
    return der(2, number.to_bytes(number.bit_length() // 8 + 1))


def rsa_der(modulus: int, exponent: int = 65537) -> bytes:
    return der(0x30, integer(modulus) + integer(exponent))


def odd(bits: int) -> int:
    return (1 << bits - 1) | 1


def problem(text: str) -> str:
    with pytest.raises(DkimKeyError) as error:
        parse_key(text)
    return str(error.value)


@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_rsa(form: PublicFormat) -> None:
    key = parse_key(record(rsa_public(form)))
    assert (key.type, key.bits, key.strict, key.testing) == ("rsa", 1024, False, False)
    assert key.verify is not None
    assert key.verify(sign_rsa(DATA), DIGEST)
    assert not key.verify(sign_rsa(b"other"), DIGEST)
    assert not key.verify(b"", DIGEST)
    assert not key.verify(b"\xff" * 128, DIGEST)
    assert not key.verify(b"\xff" * 9999, DIGEST)


def test_ed25519() -> None:
    key = parse_key(ed25519_record())
    assert (key.type, key.bits) == ("ed25519", 256)
    assert key.verify is not None
    assert key.verify(sign_ed25519(DATA), DIGEST)
    assert not key.verify(sign_ed25519(b"other"), DIGEST)
    assert not key.verify(b"", DIGEST)


@pytest.mark.parametrize(
    ("tags", "strict", "testing"),
    [
        ("", False, False),
        ("v=DKIM1; ", False, False),
        ("k=rsa; h=sha256; s=email; t=y; ", False, True),
        ("k=rsa; h = sha1 : sha256; s= web : *; t= s : n : y; ", True, True),
        ("v=DKIM1; n=a note; g=; x=unknown; t=s; ", True, False),
        ("v = DKIM1 ;", False, False),
    ],
)
def test_tags(tags: str, strict: bool, testing: bool) -> None:
    key = parse_key(rsa_record(tags))
    assert (key.strict, key.testing) == (strict, testing)


def test_white_space_in_the_key() -> None:
    text = base64.b64encode(rsa_public()).decode()
    assert parse_key(f"p= {text[:40]} {text[40:90]}\r\n\t{text[90:]} ;").bits == 1024


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("v=DKIM1; p=", "key revoked"),
        ("p= ; v=DKIM1", "key version"),
        (rsa_record("v=DKIM2; "), "key version"),
        (rsa_record("v=; "), "key version"),
        (rsa_record("v=dkim1; "), "key version"),
        (rsa_record("k=rsa; v=DKIM1; "), "key version"),
        (rsa_record("h=sha1; "), "key not for sha256"),
        (rsa_record("h=; "), "key not for sha256"),
        (rsa_record("s=web; "), "key not for mail"),
        (rsa_record("s=; "), "key not for mail"),
        (rsa_record("k=dsa; "), "key type"),
        (rsa_record("k=; "), "key type"),
        ("", "key syntax"),
        ("v=DKIM1", "key syntax"),
        ("nothing", "key syntax"),
        ("p=A", "key syntax"),
        ("p=AAA", "key syntax"),
        ("p=!AAA", "key syntax"),
        (rsa_record().replace("p=", "p=!"), "key syntax"),
        ("p====", "key syntax"),
        (rsa_record("t; "), "key syntax"),
        (rsa_record("p=; "), "key syntax"),
        (rsa_record("n=é; "), "key record not ASCII"),
        (rsa_record("n=\ufffd; "), "key record not ASCII"),
        ("p=" + "A" * MAX_RECORD, "key record too long"),
        (record(b"x" * 31, "k=ed25519; "), "key syntax"),
        (record(b"x" * 33, "k=ed25519; "), "key syntax"),
        (record(rsa_public(), "k=ed25519; "), "key syntax"),
        ("k=ed25519; p=MCowBQYDK2VwAyEA3SUqa9UbfciWkk7tlcJ9P1VD5pXAasg0JUn/OgjVbKE=", "key syntax"),
    ],
)
def test_what_is_no_key(text: str, why: str) -> None:
    assert problem(text) == why
    assert problem(text) == why  # remembered


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "key revoked"),
        (b"\x30", "key syntax"),
        (b"\x30\x80\x02\x01\x03\x02\x01\x03\x00\x00", "key syntax"),
        (b"\x30\x05\x02\x01\x03", "key syntax"),
        (b"\x31" + rsa_der(odd(1024))[1:], "key syntax"),
        (rsa_der(odd(1024)) + b"\x00", "key syntax"),
        (rsa_der(odd(1024))[:-1], "key syntax"),
        (rsa_der(odd(1024), 0x010101)[:-1], "key syntax"),
        (der(0x30, integer(odd(1024))), "key syntax"),
        (der(0x30, integer(odd(1024)) + integer(3) + integer(3)), "key syntax"),
        (der(0x30, der(2, b"\x80" + b"\x00" * 127) + integer(3)), "key syntax"),
        (der(0x30, der(2, b"") + integer(3)), "key syntax"),
        (rsa_der(odd(1024), 0), "key syntax"),
        (rsa_der(odd(1024), 1), "key syntax"),
        (rsa_der(odd(1024), 65536), "key syntax"),
        (rsa_der(odd(1024), odd(65)), "key exponent too long"),
        (der(0x30, der(0x30, bytes.fromhex("06032b6570")) + der(3, b"\x00x")), "key type"),
        (
            der(
                0x30,
                der(0x30, bytes.fromhex("06092a864886f70d0101010500"))
                + der(3, b"\x01" + rsa_der(odd(1024))),
            ),
            "key syntax",
        ),
        (b"\x30\xff" + b"\xff" * 127, "key syntax"),
    ],
)
def test_wrong_der(data: bytes, why: str) -> None:
    assert problem(record(data)) == why


@pytest.mark.parametrize(
    ("bits", "counts"),
    [(8, False), (512, False), (1023, False), (1024, True), (8192, True), (8193, False)],
)
def test_sizes(bits: int, counts: bool) -> None:
    key = parse_key(record(rsa_der(odd(bits))))
    assert key.bits == bits
    assert (key.verify is not None) == counts


@pytest.mark.parametrize("modulus", [1 << 1023, (1 << 1024) - 2, odd(1024)])
def test_a_modulus_that_is_none_verifies_nothing(modulus: int) -> None:
    try:
        key = parse_key(record(rsa_der(modulus)))
    except DkimKeyError as error:
        assert str(error) == "key syntax"
    else:
        assert key.verify is not None
        assert not key.verify(b"\x01" * 128, DIGEST)
        assert not key.verify(b"\x00" * 128, DIGEST)


def test_several_records() -> None:
    good, other = rsa_record(), "v=spf1 -all"
    assert choose_key([good]).bits == 1024
    assert choose_key([rsa_record("")]).bits == 1024
    assert choose_key([other, good]).bits == choose_key([good, other]).bits == 1024
    for records, why in (
        ([], "no key"),
        ([other], "key version"),
        ([good, good], "several keys"),
        ([other, other], "several keys"),
        ([rsa_record(""), rsa_record("")], "several keys"),
    ):
        with pytest.raises(DkimKeyError, match=f"^{why}$"):
            choose_key(records)


def test_long_records_are_not_remembered() -> None:
    problem("p=" + "A" * MAX_RECORD)
    problem("é")
    assert dkimkey._remembered.cache_info().currsize == 0
    parse_key(rsa_record())
    assert dkimkey._remembered.cache_info().currsize == 1


@given(st.binary(max_size=60), st.integers(0, 170), st.integers(0, 10))
def test_der_never_fails_otherwise(text: bytes, place: int, length: int) -> None:
    """Neither do random octets, nor a key with some of them in it."""
    whole = rsa_public()
    for data in (text, whole[:place] + text + whole[place + length :]):
        try:
            key: Key | None = parse_key(record(data)) if data else None
        except DkimKeyError:
            continue
        if key is not None and key.verify is not None:
            key.verify(b"\x01" * 128, DIGEST)
