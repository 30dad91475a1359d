# SPDX-License-Identifier: MIT
"""What opendkim has signed verifies in ours."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from qpsmtpd.mailauth.dkim import Verifier
from qpsmtpd.testing import FakeResolver
from tests.debian_system import layer_tar, unpacked
from tests.unit.mailauth.signing import KEY_NAME, MESSAGE, rsa_key, rsa_record

pytestmark = pytest.mark.real_systems

#: opendkim wants them.
MORE_FIELDS = b"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <1@a.example>\r\n"
HEADER, _, BODY = (MORE_FIELDS + MESSAGE).partition(b"\r\n\r\n")
BODIES = (BODY, b"", b"\r\n\r\n\r\n", b" \t\r\n", b"a\r\n", b"a \r\n\r\n b\tc\r\n")
FORMS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
WHOLE = -1
CASES = list(product(FORMS, BODIES, (WHOLE, 1 << 20)))


async def test_its_signatures_verify() -> None:
    key = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    asked = [
        (key.decode(), forms, length, (HEADER + b"\r\n\r\n" + body).decode())
        for forms, body, length in CASES
    ]
    with unpacked(layer_tar("bookworm", ("libopendkim11", "python3"))) as system:
        system.write("/sign.py", Path(__file__).with_name("opendkim_signs.py").read_text())
        said = json.loads(system.run("python3", "/sign.py", stdin=json.dumps(asked)))
    for (forms, body, length), value in zip(CASES, said, strict=True):
        header = f"DKIM-Signature: {value}\r\n".encode() + HEADER + b"\r\n"
        assert (b"l=" in header) == (length != WHOLE), value
        verifier = Verifier(header, 0.0)
        await verifier.ask(FakeResolver({("TXT", KEY_NAME): [rsa_record()]}))
        verifier.update(body)
        [result] = verifier.results()
        assert (result.result, result.reason, result.partial) == ("pass", "", False), (forms, body)
        verifier = Verifier(header.replace(b"matter", b"other"), 0.0)
        await verifier.ask(FakeResolver({("TXT", KEY_NAME): [rsa_record()]}))
        verifier.update(body)
        assert [each.result for each in verifier.results()] == ["fail"]
