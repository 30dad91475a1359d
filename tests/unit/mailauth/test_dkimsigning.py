# SPDX-License-Identifier: MIT
"""Signing: what we sign verifies, names what it should, and breaks when somebody adds a field."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import pytest

from qpsmtpd.mail.headers import Headers
from qpsmtpd.mailauth.canonical import BodyHash, Canonicalization
from qpsmtpd.mailauth.dkim import DkimResult, Verifier
from qpsmtpd.mailauth.dkimprivate import make_private_key, parse_private_key
from qpsmtpd.mailauth.dkimsigning import (
    ALWAYS,
    Form,
    NotSignableError,
    SigningKey,
    dkim_signatures,
)
from qpsmtpd.testing import FakeResolver, Records
from tests.unit.mailauth.signing import BODY, FIELDS

NOW = 1_800_000_000.0
MORE = b"Date: today\r\nX-Mailer: x\r\nMessage-ID: <1@a.example>\r\n"
FORMS: list[tuple[Canonicalization, Canonicalization]] = [
    ("relaxed", "relaxed"),
    ("relaxed", "simple"),
    ("simple", "relaxed"),
    ("simple", "simple"),
]


@functools.cache
def signing_keys() -> tuple[SigningKey, ...]:
    return (
        SigningKey("r", "a.example", parse_private_key(make_private_key("rsa", 1024))),
        SigningKey("e", "a.example", parse_private_key(make_private_key("ed25519"))),
    )


def records() -> Records:
    return {("TXT", key.name): [key.private.record] for key in signing_keys()}


def signed(
    fields: bytes,
    body: bytes = BODY,
    form: Form = Form(),  # noqa: B008
    *,
    by: Sequence[SigningKey] = (),
    now: float = NOW,
) -> bytes:
    """The DKIM-Signature fields of a message, by both keys unless others are given."""
    hashed = BodyHash(form.body)
    hashed.update(body)
    section = Headers.parse(fields)
    values = dkim_signatures(by or signing_keys(), section, hashed.digest(), now, form)
    return b"".join(f"DKIM-Signature: {value}\r\n".encode() for value in values)


async def verified(header: bytes, body: bytes = BODY, now: float = NOW) -> list[DkimResult]:
    verifier = Verifier(header, now)
    await verifier.ask(FakeResolver(records()))
    verifier.update(body)
    return list(verifier.results())


async def words(header: bytes, body: bytes = BODY, now: float = NOW) -> list[str]:
    return [result.result for result in await verified(header, body, now)]


@pytest.mark.parametrize(("header", "body"), FORMS)
@pytest.mark.parametrize("text", [BODY, b"", b"\r\n", b"no line end", b" \t\r\n\r\n", b"\xff\xe9"])
async def test_what_is_signed_verifies(
    header: Canonicalization, body: Canonicalization, text: bytes
) -> None:
    fields = signed(FIELDS + MORE, text, Form(header, body)) + FIELDS + MORE
    assert await words(fields, text) == ["pass", "pass"]
    assert await words(fields, text + b"x\r\n") == ["fail", "fail"]


async def test_the_claims() -> None:
    rsa, ed25519 = await verified(signed(FIELDS) + FIELDS)
    assert (rsa.domain, rsa.selector, rsa.algorithm) == ("a.example", "r", "rsa-sha256")
    assert (ed25519.selector, ed25519.algorithm) == ("e", "ed25519-sha256")
    assert not (rsa.partial or rsa.testing)


@pytest.mark.parametrize("name", ALWAYS)
async def test_nobody_can_add_a_field(name: str) -> None:
    """Neither above nor below the others, whether there is one or not."""
    added = name.encode() + b": x\r\n"
    fields = FIELDS + MORE
    field = signed(fields)
    assert await words(added + field + fields) == ["fail", "fail"]
    assert await words(field + fields + added) == ["fail", "fail"]


@pytest.mark.parametrize("name", [b"Date", b"Message-ID", b"References"])
async def test_what_may_be_added_and_cannot_be_doubled(name: bytes) -> None:
    """Mail systems add a missing Date, but nobody adds a second one."""
    added = name + b": x\r\n"
    assert await words(added + signed(FIELDS) + FIELDS) == ["pass", "pass"]
    fields = added + FIELDS
    assert await words(added + signed(fields) + fields) == ["fail", "fail"]


async def test_order_and_values_count() -> None:
    two = b"Cc: a\r\nCc: b\r\n"
    field = signed(FIELDS + two)
    assert await words(field + FIELDS + two) == ["pass", "pass"]
    assert await words(field + FIELDS + b"Cc: b\r\nCc: a\r\n") == ["fail", "fail"]
    assert await words(signed(FIELDS) + FIELDS.replace(b"matter", b"motter")) == ["fail", "fail"]
    assert await words(signed(FIELDS + MORE) + MORE + FIELDS) == ["pass", "pass"]


async def test_further_fields() -> None:
    fields = FIELDS + MORE
    form = Form(names=("x-mailer", "x-none"))
    field = signed(fields, form=form)
    assert b"x-mailer" in field
    assert b"x-none" not in field
    assert await words(field + fields) == ["pass", "pass"]
    changed = fields.replace(b"X-Mailer: x", b"X-Mailer: y")
    assert await words(field + changed) == ["fail", "fail"]
    assert await words(signed(fields) + changed) == ["pass", "pass"]


async def test_lifetime() -> None:
    field = signed(FIELDS, form=Form(lifetime=3600))
    assert await words(field + FIELDS, now=NOW + 3600) == ["pass", "pass"]
    assert await words(field + FIELDS, now=NOW + 3601) == ["permerror", "permerror"]
    assert b" x=" not in signed(FIELDS)


def test_lines_are_short() -> None:
    for field in signed(FIELDS + MORE).split(b"\r\n")[:-1]:
        assert 20 < len(field.expandtabs(8)) <= 78 or field.startswith(b"\t"), field
        assert len(field.expandtabs(8)) <= 78


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (b"To: x\r\n", "0 fields From"),
        (FIELDS + b"FROM: another\r\n", "2 fields From"),
        (FIELDS + b"no field\r\n", "is not a field"),
        (b"no field\r\n" + FIELDS, "is not a field"),
        (FIELDS + b"Cc: x\r\n" * 200, "too many fields"),
    ],
)
def test_what_is_not_signed(fields: bytes, problem: str) -> None:
    with pytest.raises(NotSignableError, match=problem):
        signed(fields)


async def test_a_header_section_with_its_empty_line() -> None:
    assert await words(signed(FIELDS + b"\r\n") + FIELDS) == ["pass", "pass"]


def test_names_are_given_once_more_than_there_are_fields() -> None:
    [names] = set(re.findall(rb";h=([^;]*);", re.sub(rb"\s", b"", signed(FIELDS))))
    assert names.split(b":")[:3] == [b"from", b"to", b"subject"]
    assert names.split(b":")[3:] == [name.encode() for name in ALWAYS]
