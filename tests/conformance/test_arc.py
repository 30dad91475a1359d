# SPDX-License-Identifier: MIT
"""Our ARC gives the results of the validation suite of ValiMail, and dkimpy's for random chains.

The suite is in the source of Debian's libmail-dkim-perl.  Three of its results are not ours:
rsa-sha1 is never valid (RFC 8301), and neither is a signature without From.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dkim
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsmtpd.mailauth.arc import ArcResult, ArcVerifier
from qpsmtpd.testing import FakeResolver, Records
from tests.conformance.source_archives import from_debian
from tests.unit.mailauth.chains import sealed
from tests.unit.mailauth.signing import FIELDS, KEY_NAME, rsa_record

SUITE = "t/arc_test_suite/arc-draft-validation-tests.yml"
#: How many cases there are, of 170 names.
CASES = 174
#: Cases that pass there, and why they fail here.
STRICTER = {
    "ams_fields_a_sha1": "rsa-sha1",
    "as_fields_a_sha1": "rsa-sha1",
    "ams_fields_h_empty": "no h=",
}


async def validated(message: bytes, dns: Records) -> ArcResult:
    message = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    header, _, body = (b"\r\n" + message).partition(b"\r\n\r\n")
    verifier = ArcVerifier(header.removeprefix(b"\r\n").removesuffix(b"\r\n") + b"\r\n", 1e9)
    await verifier.ask(FakeResolver(dns))
    verifier.update(body)
    return await verifier.result()


@pytest.mark.real_systems
async def test_the_validation_suite() -> None:
    count, differences, stricter = 0, [], {}
    for name, case, dns in _cases(from_debian("libmail-dkim-perl").read(SUITE)):
        count += 1
        found = await validated(case["message"].encode(), dns)
        # A chain that says of itself that it is broken has no result there.
        if found.result != (case["cv"] or "Fail").lower():
            differences.append((name, found))
            stricter[name] = found.reason
    assert stricter == STRICTER, differences
    assert count == CASES


def _cases(text: bytes) -> Iterator[tuple[str, dict[str, Any], Records]]:
    """The cases of all scenarios, also those whose names occur twice."""
    loader = yaml.SafeLoader(text)
    while loader.check_node():
        scenario = dict(_pairs(loader, loader.get_node()))
        records = loader.construct_document(scenario["txt-records"]) or {}
        dns: Records = {("TXT", name): [data.replace("\n", "")] for name, data in records.items()}
        for name, node in _pairs(loader, scenario["tests"]):
            yield name, loader.construct_document(node), dns


def _pairs(loader: yaml.SafeLoader, node: Any) -> Iterator[tuple[str, Any]]:
    return ((key.value, value) for key, value in node.value)


CHANGES = st.lists(
    st.sampled_from(
        [
            *("nothing", "nothing", "nothing", "body", "subject", "seal", "results"),
            *("number", "missing", "twice", "added"),
        ]
    ),
    min_size=1,
    max_size=4,
)


@given(CHANGES)
@settings(max_examples=200)
async def test_random_chains_are_those_of_dkimpy(changes: list[str]) -> None:
    """Before each server seals a message, somebody has done something to it."""
    header, body = FIELDS.replace(b" :", b":"), b"A body.\r\n"
    for change in changes:
        header, body = _changed(header, body, change)
        header = sealed(header, body)
    header, body = _changed(header, body, changes[0])
    found = await validated(header + b"\r\n" + body, {("TXT", KEY_NAME): [rsa_record()]})
    record = rsa_record().encode()
    state, _, _ = dkim.arc_verify(header + b"\r\n" + body, dnsfunc=lambda *_, **__: record)
    assert found.result == (state or b"none").decode(), (found, changes)


def _changed(header: bytes, body: bytes, change: str) -> tuple[bytes, bytes]:
    seal = header.find(b"ARC-Seal:")
    signature = header.find(b"ARC-Message-Signature:")
    match change:
        case "body":
            return header, body + b"more\r\n"
        case "subject":
            return header.replace(b"matter", b"matter of"), body
        case "seal":
            return header.replace(b"cv=", b"cv= ", 1), body
        case "results":
            return header.replace(b"dkim=pass", b"dkim=none", 1), body
        case "number":
            return header.replace(b" i=1;", b" i=2;", 1), body
        case "missing" if seal >= 0:
            return header[:seal] + header[signature:], body
        case "twice" if seal >= 0:
            return header[seal:signature] + header, body
        case "added":
            return b"X-Added: x\r\n" + header, body
    return header, body
