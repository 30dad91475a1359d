# SPDX-License-Identifier: MIT
"""What opendkim has signed verifies in ours, and what we have signed verifies in opendkim."""

from __future__ import annotations

import json
import re
import time
from itertools import product
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from qpsmtpd.mailauth.dkim import Verifier
from qpsmtpd.mailauth.dkimsigning import Form
from qpsmtpd.testing import FakeResolver
from tests.debian_system import layer_tar, unpacked
from tests.unit.mailauth import test_dkimsigning as signing_test
from tests.unit.mailauth.signing import KEY_NAME, MESSAGE, rsa_key, rsa_record

pytestmark = pytest.mark.real_systems

#: opendkim wants them.
MORE_FIELDS = b"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <1@a.example>\r\n"
PACKAGES = ("opendkim", "python3")
HEADER, _, BODY = (MORE_FIELDS + MESSAGE).partition(b"\r\n\r\n")
BODIES = (BODY, b"", b"\r\n\r\n\r\n", b" \t\r\n", b"a\r\n", b"a \r\n\r\n b\tc\r\n")
FORMS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
WHOLE = -1
SIGNING_FORMS = [Form(*forms) for forms in signing_test.FORMS]
CASES = list(product(FORMS, BODIES, (WHOLE, 1 << 20)))


async def test_its_signatures_verify() -> None:
    key = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    asked = [
        (key.decode(), forms, length, (HEADER + b"\r\n\r\n" + body).decode())
        for forms, body, length in CASES
    ]
    with unpacked(layer_tar("bookworm", PACKAGES)) as system:
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


def test_ours_verify_in_opendkim() -> None:
    """And no longer when a field is added or a letter of the body is another one."""
    # It sees what a milter sees, which is not how many blanks there are around the colon.
    fields = (HEADER + b"\r\n").replace(b" :", b":").replace(b":  ", b": ")
    messages, keys = {}, signing_test.signing_keys()
    for number, (form, body, key) in enumerate(product(SIGNING_FORMS, BODIES, keys)):
        good = signing_test.signed(fields, body, form, by=[key], now=time.time() - 60) + fields
        messages[f"/{number}-good"] = good + b"\r\n" + body
        messages[f"/{number}-field"] = b"From: x@y.example\r\n" + good + b"\r\n" + body
        messages[f"/{number}-body"] = good + b"\r\n" + body + b"more\r\n"
    records = "".join(f"{key.name} {key.private.record}\n" for key in keys)
    with unpacked(layer_tar("bookworm", PACKAGES)) as system:
        system.write("/dns", records)
        system.write("/conf", "TestDNSData file:/dns\nMode v\n")
        for name, message in messages.items():
            (system.root / name[1:]).write_bytes(message)
        said = system.run("sh", "-c", f"opendkim -x /conf -t {','.join(messages)} 2>&1 || :")
    verdicts = dict(re.findall(r"^opendkim: (\S+): verification .* (succeeded|failed)", said, re.M))
    assert verdicts == {
        name: "succeeded" if name.endswith("good") else "failed" for name in messages
    }
