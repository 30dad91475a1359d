# SPDX-License-Identifier: MIT
"""Signs messages for tests, by the letter of RFC 6376 and with no regard to speed."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DOMAIN = "a.example"
SELECTOR = "s"
KEY_NAME = f"{SELECTOR}._domainkey.{DOMAIN}"

FROM = b"From: Somebody <user@a.example>\r\n"
FIELDS = FROM + b"To:  someone@b.example\r\nSubject : A  matter\r\n\tof  taste \r\n"
BODY = b"Line  one \t\r\n\r\nline two\t \r\n\r\n\r\n"
MESSAGE = FIELDS + b"\r\n" + BODY

Sign = Callable[[bytes], bytes]


@functools.cache
def rsa_key() -> RSAPrivateKey:
    return generate_private_key(65537, 1024)


@functools.cache
def ed25519_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def rsa_public(form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return rsa_key().public_key().public_bytes(Encoding.DER, form)


def record(data: bytes, before: str = "v=DKIM1; ") -> str:
    return f"{before}p={base64.b64encode(data).decode()}"


def rsa_record(before: str = "v=DKIM1; ") -> str:
    return record(rsa_public(), before)


def ed25519_record() -> str:
    public = ed25519_key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return record(public, "v=DKIM1; k=ed25519; ")


def sign_rsa(data: bytes) -> bytes:
    return rsa_key().sign(data, PKCS1v15(), SHA256())


def sign_ed25519(data: bytes) -> bytes:
    """RFC 8463 section 3: what is signed is the hash."""
    return ed25519_key().sign(hashlib.sha256(data).digest())


def relaxed_field(raw: bytes) -> bytes:
    name, _, value = raw.partition(b":")
    value = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return name.lower().rstrip(b" \t") + b":" + value + b"\r\n"


def canonical_body(body: bytes, form: str) -> bytes:
    if form == "relaxed":
        body = re.sub(rb"[ \t]+", b" ", body)
        body = re.sub(rb" (?=\r\n|\Z)", b"", body)
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body + b"\r\n" if body or form == "simple" else b""


def fields_of(header: bytes) -> list[bytes]:
    return re.findall(rb"[^\r\n].*?\r\n(?![ \t])", header, re.DOTALL)


def signature_of(
    message: bytes = MESSAGE,
    changes: Mapping[str, str | None] = {},
    *,
    sign: Sign = sign_rsa,
) -> bytes:
    """A DKIM-Signature field with these changes to its tags; None leaves one out."""
    header, _, body = message.partition(b"\r\n\r\n")
    values: dict[str, str | None] = {
        "v": "1",
        "a": "rsa-sha256" if sign is sign_rsa else "ed25519-sha256",
        "c": "relaxed/relaxed",
        "d": DOMAIN,
        "s": SELECTOR,
        "h": "from:to:subject:from",
        **changes,
    }
    header_form, _, body_form = (values["c"] or "simple").partition("/")
    hashed = canonical_body(body, body_form or "simple")
    if values.get("l"):
        hashed = hashed[: int(values["l"] or "")]
    values.setdefault("bh", base64.b64encode(hashlib.sha256(hashed).digest()).decode())
    tags = ";\r\n\t".join(f"{name}={value}" for name, value in values.items() if value is not None)
    field = f"DKIM-Signature: {tags};\r\n\tb=".encode()
    signed = _signed_fields(header + b"\r\n", values["h"] or "", header_form, field)
    return field + base64.b64encode(sign(signed)) + b"\r\n"


def _signed_fields(header: bytes, names: str, form: str, field: bytes) -> bytes:
    left = fields_of(header)
    chosen = b""
    for name in names.lower().split(":"):
        named = [raw for raw in left if raw.split(b":")[0].strip().lower() == name.strip().encode()]
        if named:
            left.reverse()
            left.remove(named[-1])
            left.reverse()
            chosen += relaxed_field(named[-1]) if form == "relaxed" else named[-1]
    return chosen + (relaxed_field(field + b"\r\n")[:-2] if form == "relaxed" else field)
