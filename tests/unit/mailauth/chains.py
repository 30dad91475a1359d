# SPDX-License-Identifier: MIT
"""Makes ARC chains for tests, by the letter of RFC 8617 and with no regard to speed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from tests.unit.mailauth.signing import (
    FIELDS,
    canonical_body,
    fields_of,
    relaxed_field,
    sign_rsa,
)

NAMES = "from:to:subject"


def sealed(
    header: bytes = FIELDS,
    body: bytes = b"",
    *,
    domain: str = "a.example",
    state: str | None = None,
    signature: Mapping[str, str | None] = {},
    seal: Mapping[str, str | None] = {},
    results: bytes | None = None,
) -> bytes:
    """The header section with one more set on top.

    state: cv=.  signature, seal: changes to the tags of these fields, before they are signed; None
    leaves one out.  results: the value of the first field.
    """
    number = header.lower().count(b"arc-seal:") + 1
    found = results or b"i=%d; %b; dkim=pass" % (number, domain.encode())
    first = b"ARC-Authentication-Results: " + found + b"\r\n"
    common = {"i": str(number), "a": "rsa-sha256", "d": domain, "s": "s"}
    hashed = hashlib.sha256(canonical_body(body, "relaxed")).digest()
    tags = {**common, "c": "relaxed/relaxed", "h": NAMES, "bh": _base64(hashed), **signature}
    second = _field("ARC-Message-Signature", tags)
    second += _base64(sign_rsa(_signed(header, tags["h"] or "", second))).encode() + b"\r\n"
    tags = {**common, "cv": state or ("none" if number == 1 else "pass"), **seal}
    third = _field("ARC-Seal", tags)
    chain = b"".join(map(relaxed_field, [*_chain(header), first, second]))
    third += _base64(sign_rsa(chain + relaxed_field(third + b"\r\n")[:-2])).encode() + b"\r\n"
    return third + second + first + header


def chain_of(count: int, body: bytes = b"", header: bytes = FIELDS) -> bytes:
    """The header section with so many sets."""
    for _ in range(count):
        header = sealed(header, body)
    return header


def _field(name: str, tags: Mapping[str, str | None]) -> bytes:
    """A field up to the value of b=."""
    parts = [f"{tag}={value}" for tag, value in tags.items() if value is not None]
    return f"{name}: {'; '.join(parts)};\r\n\tb=".encode()


def _signed(header: bytes, names: str, field: bytes) -> bytes:
    """What a signature of the message covers."""
    left, chosen = fields_of(header)[::-1], b""
    for name in names.split(":"):
        for raw in left:
            if raw.split(b":")[0].strip().lower() == name.encode():
                left.remove(raw)
                chosen += relaxed_field(raw)
                break
    return chosen + relaxed_field(field + b"\r\n")[:-2]


def _chain(header: bytes) -> list[bytes]:
    """The fields of all sets, in the order in which they are sealed."""
    found = [raw for raw in fields_of(header) if raw.lower().startswith(b"arc-")]
    sets = [found[start : start + 3][::-1] for start in range(0, len(found), 3)]
    return [raw for each in reversed(sets) for raw in each]


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
