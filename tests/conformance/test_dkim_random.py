# SPDX-License-Identifier: MIT
"""Random messages: canonical bodies are those of dkimpy, and what each signs verifies in both."""

from __future__ import annotations

import base64
import hashlib
import random

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsmtpd.mailauth.canonical import BodyHash
from qpsmtpd.mailauth.dkim import Verifier
from qpsmtpd.mailauth.dkimsigning import Form
from qpsmtpd.testing import FakeResolver
from tests.unit.mailauth import test_dkimsigning as signing_test
from tests.unit.mailauth.signing import ed25519_key, ed25519_record, rsa_key, rsa_record

PIECES = (b" ", b"\t", b"\r\n", b"\r\n", b"a", b"text", b" \r\n", b"\r\n\r\n", b"   ", b"\xe9\x0b")


@pytest.mark.parametrize("count", [1000, pytest.param(20_000, marks=pytest.mark.real_systems)])
def test_bodies_are_those_of_dkimpy(count: int) -> None:
    """Wherever they are cut."""
    chance = random.Random(6376)
    for _ in range(count):
        body = b"".join(chance.choices(PIECES, k=chance.randrange(30)))
        if body and not body.endswith(b"\r\n"):
            body += b"\r\n"  # as each line does in SMTP
        relaxed, simple = BodyHash("relaxed"), BodyHash("simple")
        start = 0
        while start < len(body):
            end = start + chance.randrange(1, 12)
            relaxed.update(body[start:end])
            simple.update(body[start:end])
            start = end
        for ours, theirs in ((relaxed, Relaxed), (simple, Simple)):
            canonical = theirs.canonicalize_body(body)
            assert ours.digest() == hashlib.sha256(canonical).digest(), body


TEXTS = st.lists(
    st.sampled_from([b"a", b"word", b" ", b"\t", b"  ", b"\r\n ", b"\xc3\xa9", b":", b";", b"="]),
    max_size=12,
).map(lambda parts: b"x" + b"".join(parts) + b"x")
NAMES = st.sampled_from([b"To", b"Subject", b"SUBJECT", b"X-Y", b"List-Id"])
FIELDS = st.lists(st.tuples(NAMES, TEXTS), max_size=6)
FORMS = st.sampled_from([b"simple", b"relaxed"])
BODIES = st.lists(st.sampled_from(PIECES), max_size=20).map(lambda parts: b"".join(parts) + b"\r\n")


def _private_key(kind: str) -> bytes:
    if kind == "rsa":
        return rsa_key().private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
    raw = ed25519_key().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return base64.b64encode(raw)


@given(
    FIELDS,
    BODIES,
    FORMS,
    FORMS,
    st.lists(st.sampled_from([b"to", b"subject", b"x-y", b"list-id", b"none"]), max_size=5),
    st.booleans(),
    st.sampled_from(["rsa", "ed25519"]),
)
@settings(max_examples=200)
async def test_what_dkimpy_has_signed_verifies(
    fields: list[tuple[bytes, bytes]],
    body: bytes,
    header_form: bytes,
    body_form: bytes,
    names: list[bytes],
    length: bool,
    kind: str,
) -> None:
    header = b"".join(b"%b: %b\r\n" % field for field in [*fields, (b"From", b"a@a.example")])
    signature = dkim.sign(
        header + b"\r\n" + body,
        b"s",
        b"a.example",
        _private_key(kind),
        canonicalize=(header_form, body_form),
        include_headers=[b"from", *names],
        length=length,
        signature_algorithm=f"{kind}-sha256".encode(),
    )
    record = rsa_record() if kind == "rsa" else ed25519_record()
    verifier = Verifier(signature + header, 0.0)
    await verifier.ask(FakeResolver({("TXT", "s._domainkey.a.example"): [record]}))
    verifier.update(body)
    [result] = verifier.results()
    assert (result.result, result.reason) == ("pass", "")


# --- our signatures -------------------------------------------------------------------------------

#: What is legal and seldom seen, some of which dkimpy does not take for a field.
ODD_FIELDS = st.lists(
    st.sampled_from(
        [
            b"Subject : blank\r\n",
            b"X:\r\n",
            b"To:\r\n\t\r\n x\r\n",
            b"Cc:\x0bx\x0c \r\n",
            b"Bcc:\xff\r\n",
        ]
    ),
    max_size=4,
).map(b"".join)
ODD_BODIES = st.sampled_from([b"", b"x", b"x \r\n y", b"\xff\xfe\r\n", b"\r\n" * 9])
OUR_FORMS = st.sampled_from([Form(*forms) for forms in signing_test.FORMS])


def _header(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in [*fields, (b"From", b"a@a.example")])


@given(FIELDS, ODD_FIELDS, st.one_of(BODIES, ODD_BODIES), OUR_FORMS)
@settings(max_examples=200)
async def test_what_we_have_signed_verifies(
    fields: list[tuple[bytes, bytes]], odd: bytes, body: bytes, form: Form
) -> None:
    header = odd + _header(fields)
    signature = signing_test.signed(header, body, form)
    for message, result in (
        (signature + header, "pass"),
        (b"X-Above: x\r\n" + signature + header + b"X-Below: x\r\n", "pass"),
        (signature + b"From: b@b.example\r\n" + header, "fail"),
        (signature + header + b"from: b@b.example\r\n", "fail"),
        (signature + header + b"Content-Type: text/html\r\n", "fail"),
    ):
        assert await signing_test.words(message, body) == [result] * 2, message
    assert await signing_test.words(signature + header, b"y" + body) == ["fail"] * 2


@given(FIELDS, BODIES, OUR_FORMS)
@settings(max_examples=200)
def test_what_we_have_signed_verifies_in_dkimpy(
    fields: list[tuple[bytes, bytes]], body: bytes, form: Form
) -> None:
    header = _header(fields)
    signature = signing_test.signed(header, body, form, now=1e9)
    records = {key.name: key.private.record.encode() for key in signing_test.signing_keys()}

    def dns(name: bytes, timeout: int = 0) -> bytes | None:
        return records.get(name.decode().removesuffix("."))

    for place in range(2):
        message = signature + header + b"\r\n" + body
        assert dkim.DKIM(message).verify(place, dnsfunc=dns)
        doubled = dkim.DKIM(signature + b"From: b@b.example\r\n" + header + b"\r\n" + body)
        assert not doubled.verify(place, dnsfunc=dns)
