# SPDX-License-Identifier: MIT
"""Verification: what is signed, which keys count, and a DNS that fails (RFC 6376 section 6)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from qpsmtpd.errors import DnsLimitError
from qpsmtpd.mailauth.dkim import MAX_SIGNATURES, DkimResult, Verifier
from qpsmtpd.testing import FakeResolver, Records, dns_failure
from tests.unit.mailauth.signing import (
    BODY,
    FIELDS,
    FROM,
    KEY_NAME,
    MESSAGE,
    ed25519_record,
    record,
    rsa_record,
    sign_ed25519,
    signature_of,
)

NOW = 1_000_000_000.0
FORMS = ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]


def dns(text: Any = None) -> Records:
    return {("TXT", KEY_NAME): text if isinstance(text, Exception) else [text or rsa_record()]}


async def verified(
    message: bytes, records: Records | None = None, *, size: int = 1 << 16, **options: Any
) -> tuple[DkimResult, ...]:
    header, _, body = message.partition(b"\r\n\r\n")
    verifier = Verifier(header + b"\r\n", NOW, **options)
    await verifier.ask(FakeResolver(dns() if records is None else records))
    for start in range(0, len(body), size):
        verifier.update(body[start : start + size])
    return verifier.results()


async def one(message: bytes, records: Records | None = None, **options: Any) -> DkimResult:
    [result] = await verified(message, records, **options)
    return result


async def signed(
    changes: Mapping[str, str | None] = {},
    records: Records | None = None,
    message: bytes = MESSAGE,
) -> tuple[str, str]:
    """The result for a message that is signed with these changes to the tags, and why."""
    result = await one(signature_of(message, changes) + message, records)
    return result.result, result.reason


async def test_a_result() -> None:
    message = signature_of(changes={"i": "@sub.a.example"}) + MESSAGE
    result = await one(message, dns(rsa_record("v=DKIM1; t=y; ")))
    assert result.b8
    assert result == DkimResult(
        "pass",
        domain="a.example",
        selector="s",
        identity="sub.a.example",
        algorithm="rsa-sha256",
        bits=1024,
        b8=result.b8,
        covers=frozenset({"from", "to", "subject"}),
        testing=True,
    )


async def test_no_signature() -> None:
    verifier = Verifier(FIELDS, NOW)
    assert verifier.results() == ()
    assert not verifier.needs_body
    assert await verified(MESSAGE) == ()
    assert await verified(b"X: dkim-signature\r\n" + MESSAGE) == ()


@pytest.mark.parametrize("forms", FORMS)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_forms(forms: str, size: int) -> None:
    for sign, text in ((None, rsa_record()), (sign_ed25519, ed25519_record())):
        more = {"sign": sign} if sign else {}
        field = signature_of(MESSAGE, {"c": forms}, **more)
        assert (await one(field + MESSAGE, dns(text), size=size)).result == "pass"
        for changed, why in (
            (FIELDS + b"\r\nx" + BODY, "body hash did not verify"),
            (FIELDS.replace(b"matter", b"other") + b"\r\n" + BODY, "signature did not verify"),
        ):
            result = await one(field + changed, dns(text), size=size)
            assert (result.result, result.reason) == ("fail", why)


@pytest.mark.parametrize(
    ("forms", "changed", "result"),
    [
        ("relaxed/relaxed", MESSAGE.replace(b"Subject : A  matter", b"SUBJECT:  A matter"), "pass"),
        ("simple/relaxed", MESSAGE.replace(b"Subject : A  matter", b"SUBJECT:  A matter"), "fail"),
        ("simple/relaxed", MESSAGE.replace(b"Line  one", b"Line one"), "pass"),
        ("simple/simple", MESSAGE.replace(b"Line  one", b"Line one"), "fail"),
        ("simple/simple", MESSAGE + b"\r\n\r\n", "pass"),
        ("simple/simple", MESSAGE.removesuffix(b"\r\n"), "pass"),
        ("relaxed/relaxed", b"X-Not: signed\r\n" + MESSAGE, "pass"),
        ("relaxed/relaxed", MESSAGE.replace(b"To:", b"X-To:"), "fail"),
    ],
)
async def test_what_may_change(forms: str, changed: bytes, result: str) -> None:
    assert (await one(signature_of(changes={"c": forms}) + changed)).result == result


@pytest.mark.parametrize("forms", FORMS)
@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b"\r\n \r\n"])
async def test_empty_bodies(forms: str, body: bytes) -> None:
    message = FIELDS + body
    assert await signed({"c": forms}, message=message) == ("pass", "")


# --- the fields -----------------------------------------------------------------------------------


async def test_fields_are_chosen_from_the_bottom() -> None:
    message = b"To: first\r\nTo: second\r\n" + FROM + b"\r\n"
    field = signature_of(message, {"h": "from:to"})
    assert (await one(field + message)).result == "pass"
    above = message.replace(b"first", b"other")
    assert (await one(field + above)).result == "pass"
    below = message.replace(b"second", b"other")
    assert (await one(field + below)).result == "fail"
    both = signature_of(message, {"h": "from:to:to"})
    assert (await one(both + message)).result == "pass"
    assert (await one(both + above)).result == "fail"


async def test_fields_that_are_missing_count_as_nothing() -> None:
    field = signature_of(changes={"h": "from:from:x-none:to"})
    assert (await one(field + MESSAGE)).result == "pass"
    assert (await one(field + b"X-None: 1\r\n" + MESSAGE)).result == "fail"
    assert (await one(field + b"From: other@b.example\r\n" + MESSAGE)).result == "fail"


async def test_a_second_from_passes_unless_it_is_signed() -> None:
    """DMARC has to look at the number of From fields."""
    field = signature_of(changes={"h": "from:to"})
    assert (await one(field + b"From: other@b.example\r\n" + MESSAGE)).result == "pass"


@pytest.mark.parametrize(
    "more",
    [
        b"not a field\r\n",
        b"\xff\xfe: x\r\n",
        b": x\r\n",
        b"Subject-: \xe9\r\n",
        b"X: \x0b \x0c\r\n",
    ],
)
async def test_other_lines_do_not_matter(more: bytes) -> None:
    field = signature_of()
    assert (await one(field + more + MESSAGE)).result == "pass"
    assert (await one(b" begins with a blank\r\n" + more + field + MESSAGE)).result == "pass"
    assert (await one(field + FIELDS + more + b"\r\n" + BODY)).result == "pass"


async def test_a_signature_may_cover_another() -> None:
    inner = signature_of()
    outer = signature_of(inner + MESSAGE, {"h": "from:dkim-signature"})
    results = await verified(outer + inner + MESSAGE)
    assert [result.result for result in results] == ["pass", "pass"]


async def test_a_signature_never_covers_itself() -> None:
    inner = signature_of(changes={"h": "from:dkim-signature"})
    assert (await one(inner + MESSAGE)).result == "pass"
    outer = signature_of(inner + MESSAGE, {"h": "from:dkim-signature:dkim-signature"})
    results = await verified(outer + inner + MESSAGE)
    assert [result.result for result in results] == ["pass", "fail"]
    results = await verified(inner + inner + MESSAGE)
    assert [result.result for result in results] == ["fail", "fail"]


# --- the tags -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "result", "why"),
    [
        ({"h": "to:subject"}, "permerror", "From is not signed"),
        ({"a": "rsa-sha1"}, "policy", "rsa-sha1"),
        ({"x": "999999999"}, "permerror", "signature expired"),
        ({"l": "9999"}, "permerror", "l= is beyond the body"),
        ({"q": "foo:dns/txt"}, "pass", ""),
        ({"t": "2000000000"}, "pass", ""),
        ({"bh": "AAAA"}, "fail", "body hash did not verify"),
        ({"c": None}, "pass", ""),
        ({"c": "relaxed"}, "pass", ""),
    ],
)
async def test_tags(changes: dict[str, str | None], result: str, why: str) -> None:
    assert await signed(changes) == (result, why)


async def test_a_wrong_signature_asks_nothing() -> None:
    verifier = Verifier(signature_of(changes={"d": "a.exa'mple"}) + FIELDS, NOW)
    assert not verifier.needs_body
    resolver = FakeResolver(dns())
    await verifier.ask(resolver)
    assert not resolver.asked
    [result] = verifier.results()
    assert (result.result, result.reason, result.domain) == ("permerror", "wrong d=", "")
    assert (result.selector, result.algorithm) == ("s", "rsa-sha256")


async def test_a_part_of_the_body() -> None:
    whole = signature_of(changes={"l": "22"}) + MESSAGE
    result = await one(whole)
    assert (result.result, result.partial) == ("pass", False)
    added = await one(whole + b"added\r\n")
    assert (added.result, added.reason, added.partial) == ("policy", "body not covered", True)
    allowed = await one(whole + b"added\r\n", partial_passes=True)
    assert (allowed.result, allowed.reason, allowed.partial) == ("pass", "", True)
    forged = await one(whole.replace(b"Somebody", b"Other") + b"added\r\n", partial_passes=True)
    assert (forged.result, forged.partial) == ("fail", True)
    nothing = await one(signature_of(changes={"l": "0"}) + MESSAGE)
    assert (nothing.result, nothing.partial) == ("policy", True)


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result", "why"),
    [
        (dns_failure(), "temperror", "key cannot be looked up"),
        (DnsLimitError("spent"), "temperror", "key cannot be looked up"),
        ("v=DKIM1; p=", "permerror", "key revoked"),
        ("nothing", "permerror", "key syntax"),
        (rsa_record("h=sha1; "), "permerror", "key not for sha256"),
        (rsa_record("s=email:web; "), "pass", ""),
        (rsa_record("s=web; "), "permerror", "key not for mail"),
        (ed25519_record(), "permerror", "key type"),
        (record(bytes.fromhex("3009020401000001020103")), "policy", "key size"),
    ],
    ids=lambda value: str(value)[:20],  # without the key, which is another one each time
)
async def test_keys(text: Any, result: str, why: str) -> None:
    assert await signed(records=dns(text)) == (result, why)


async def test_no_key() -> None:
    assert await signed(records={}) == ("permerror", "no key")


@pytest.mark.parametrize(
    ("identity", "result"),
    [(None, "pass"), ("@A.example", "pass"), ("x@sub.a.example", "permerror")],
)
async def test_a_strict_key(identity: str | None, result: str) -> None:
    assert (await signed({"i": identity}, dns(rsa_record("t=s; "))))[0] == result


async def test_the_size_of_a_key_that_does_not_count_is_told() -> None:
    short = dns(record(bytes.fromhex("3009020401000001020103")))
    assert (await one(signature_of() + MESSAGE, short)).bits == 25


# --- several signatures ---------------------------------------------------------------------------


async def test_several_signatures() -> None:
    good, wrong = signature_of(), signature_of(changes={"h": "to"})
    other = signature_of(changes={"d": "b.example", "c": "simple/simple"})
    forged = signature_of(changes={"s": "t", "l": "3"}).replace(b"l=3", b"l=4")
    records = {
        **dns(),
        ("TXT", "s._domainkey.b.example"): dns_failure(),
        ("TXT", "t._domainkey.a.example"): [rsa_record()],
    }
    results = await verified(wrong + good + other + forged + MESSAGE, records)
    assert [each.result for each in results] == ["permerror", "pass", "temperror", "fail"]


async def test_a_key_is_asked_for_once() -> None:
    verifier = Verifier(signature_of() * 3 + signature_of(changes={"s": "t"}) + FIELDS, NOW)
    resolver = FakeResolver(dns())
    await verifier.ask(resolver)
    assert resolver.asked == [("TXT", KEY_NAME), ("TXT", "t._domainkey.a.example")]


async def test_keys_are_asked_for_at_the_same_time() -> None:
    verifier = Verifier(signature_of() + signature_of(changes={"s": "t"}) + FIELDS, NOW)
    resolver = FakeResolver(silent=True)
    asking = asyncio.create_task(verifier.ask(resolver))
    while len(resolver.asked) < 2:
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait((asking,))


async def test_at_most_ten_are_looked_at() -> None:
    wrong = signature_of(changes={"v": "2"})
    header = wrong * (MAX_SIGNATURES - 1) + signature_of() + signature_of() * 990 + FIELDS
    verifier = Verifier(header, NOW)
    assert verifier.ignored == 990
    await verifier.ask(FakeResolver(dns()))
    verifier.update(BODY)
    results = [each.result for each in verifier.results()]
    assert results == [*["permerror"] * (MAX_SIGNATURES - 1), "pass"]


async def test_a_body_is_hashed_once_for_all() -> None:
    """Canonical forms cost more than hashes."""
    fields = b"".join(signature_of(changes={"l": str(length)}) for length in range(5))
    verifier = Verifier(fields + signature_of() * 5 + FIELDS, NOW)
    assert list(verifier._bodies) == ["relaxed"]
    [hashes] = [body._hashes for body in verifier._bodies.values()]
    assert [limit for limit, _ in hashes] == [0, 1, 2, 3, 4, None]


def test_the_library_is_imported_late() -> None:
    """Who only imports the interface does not pay for it."""
    program = "import sys, qpsmtpd.api; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
