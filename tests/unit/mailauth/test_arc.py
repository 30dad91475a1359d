# SPDX-License-Identifier: MIT
"""ARC: which chains are valid, what is limited, and a DNS that fails (RFC 8617 section 5.2)."""

from __future__ import annotations

from typing import Any

import pytest

from qpsmtpd.mailauth.arc import MAX_KEYS, ArcResult, ArcVerifier
from qpsmtpd.testing import FakeResolver, Records, dns_failure
from tests.unit.mailauth.chains import chain_of, sealed
from tests.unit.mailauth.signing import (
    BODY,
    FIELDS,
    KEY_NAME,
    ed25519_record,
    rsa_record,
)

NOW = 1_000_000_000.0
DNS: Records = {("TXT", KEY_NAME): [rsa_record()]}


async def checked(
    header: bytes, body: bytes = BODY, records: Records = DNS, **options: Any
) -> ArcResult:
    verifier = ArcVerifier(header, NOW, **options)
    await verifier.ask(FakeResolver(records))
    for start in range(0, len(body), 3):
        verifier.update(body[start : start + 3])
    return await verifier.result()


async def why(header: bytes, body: bytes = BODY, records: Records = DNS) -> str:
    found = await checked(header, body, records)
    assert found.result != "pass"
    return found.reason


async def test_without_a_chain() -> None:
    verifier = ArcVerifier(FIELDS, NOW)
    assert not verifier.needs_body
    assert await verifier.result() == ArcResult("none")
    assert await checked(b"Subject: arc-seal\r\n" + FIELDS) == ArcResult("none")


@pytest.mark.parametrize("count", [1, 2, 3, 50])
async def test_valid_chains(count: int) -> None:
    found = await checked(chain_of(count, BODY))
    assert found == ArcResult("pass", "", ("a.example",) * count, 0)


async def test_the_order_of_the_fields_does_not_matter() -> None:
    header = chain_of(2, BODY)
    seal, signature, results, *rest = header.split(b"\r\nARC-")
    mixed = b"\r\nARC-".join([rest[0], signature, results, seal.removeprefix(b"ARC-"), *rest[1:]])
    assert (await checked(b"ARC-" + mixed)).result == "pass"


async def test_trust() -> None:
    """All of the sealers have to be known."""
    header = sealed(sealed(FIELDS, BODY), BODY, domain="b.example")
    records = {**DNS, ("TXT", "s._domainkey.b.example"): [rsa_record()]}
    for trusted, result in (({"a.example"}, False), ({"a.example", "b.example"}, True)):
        found = await checked(header, records=records, trusted=trusted)
        assert (found.result, found.sealers) == ("pass", ("a.example", "b.example"))
        assert found.trusted is result
    broken = await checked(header, b"other\r\n", records, trusted={"a.example", "b.example"})
    assert (broken.result, broken.trusted) == ("fail", False)


async def test_the_oldest_signature_that_passes() -> None:
    first = chain_of(2, BODY)
    changed = BODY + b"-- \r\na list\r\n"
    header = sealed(sealed(first, changed), changed)
    found = await checked(header, changed)
    assert (found.result, found.oldest_pass) == ("pass", 3)
    # The first signature can be broken by what a later one repairs.
    header = sealed(chain_of(1, BODY).replace(b"matter", b"motter"), BODY)
    found = await checked(header)
    assert (found.result, found.oldest_pass) == ("pass", 2)


@pytest.mark.parametrize("kind", [b"Seal", b"Message-Signature", b"Authentication-Results"])
async def test_sets_that_are_not_complete(kind: bytes) -> None:
    header = chain_of(2, BODY)
    name = b"ARC-" + kind
    assert await why(header.replace(name, b"X-" + kind, 1)) == "a set is not complete"
    start = header.index(name)
    first = header[start : header.index(b"ARC-", start + 4)]
    assert await why(first + header) == "a set is not complete"


async def test_numbers() -> None:
    one = chain_of(1, BODY)
    wrong = "sets are not numbered from 1 on"
    assert await why(one.replace(b": i=1;", b": i=2;")) == wrong
    assert await why(one + one) == wrong
    assert await why(sealed(one, BODY, seal={"i": "1"})) == wrong
    for number in ("0", "01", "-1", "100", "x", ""):
        assert await why(sealed(FIELDS, BODY, seal={"i": number})) == "wrong i="
        assert await why(sealed(FIELDS, BODY, signature={"i": number})) == "wrong i="
        results = f"i={number}; a.example".encode()
        assert await why(sealed(FIELDS, BODY, results=results)) == "wrong i="
    assert await why(sealed(FIELDS, BODY, results=b"a.example; i=1;")) == "wrong i="
    assert await why(chain_of(51)) == "too many sets"


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("pass", "pass", "wrong cv="),
        ("none", "none", "wrong cv="),
        ("none", "PASS", "wrong cv="),
        ("fail", "pass", "wrong cv="),
        ("none", "fail", "the last sealer says that the chain is broken"),
    ],
)
async def test_what_seals_say(first: str, second: str, reason: str) -> None:
    header = sealed(sealed(FIELDS, BODY, state=first), BODY, state=second)
    assert await why(header) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"a": "rsa-sha1"}, "rsa-sha1"),
        ({"a": "dsa"}, "unknown algorithm"),
        ({"d": "'"}, "wrong d="),
        ({"s": None}, "no s="),
        ({"x": "5"}, "signature expired"),
        ({"t": "never"}, "wrong number"),
        ({"t": "1; t=1"}, "signature syntax"),
    ],
)
async def test_tags(changes: dict[str, str | None], reason: str) -> None:
    assert await why(sealed(FIELDS, BODY, seal=changes)) == reason
    assert await why(sealed(FIELDS, BODY, signature=changes)) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"h": "to:subject"}, "From is not signed"),
        ({"h": ""}, "no h="),
        ({"h": None}, "no h="),
        ({"h": "from:ARC-Seal"}, "h= names ARC-Seal"),
        ({"c": "simple/strange"}, "unknown canonicalization"),
        ({"l": "3"}, "body not covered"),
        ({"bh": "AAAA"}, "body hash did not verify"),
    ],
)
async def test_tags_of_the_message_signature(changes: dict[str, str | None], reason: str) -> None:
    assert await why(sealed(FIELDS, BODY, signature=changes)) == reason


async def test_tags_of_the_seal() -> None:
    assert await why(sealed(FIELDS, BODY, seal={"h": "from"})) == "h= in a seal"
    assert await why(sealed(FIELDS, BODY, seal={"cv": None})) == "no cv="


async def test_what_somebody_has_changed() -> None:
    header = chain_of(2, BODY)
    assert await why(header, b"x" + BODY) == "body hash did not verify"
    assert await why(header.replace(b"matter", b"motter")) == "message signature did not verify"
    for number in (b"1", b"2"):
        old = b"i=" + number + b"; a.example; dkim=pass"
        assert (await checked(header.replace(old, old + b" "))).result == "pass"
        assert await why(header.replace(old, old + b"es")) == "seal did not verify"


async def test_older_signatures_need_not_be_readable() -> None:
    header = sealed(sealed(FIELDS, BODY, signature={"c": "strange"}), BODY)
    found = await checked(header)
    assert (found.result, found.oldest_pass) == ("pass", 2)


@pytest.mark.parametrize(
    ("record", "result", "reason"),
    [
        (None, "fail", "no key"),
        ([ed25519_record()], "fail", "key type"),
        (["v=DKIM1; p="], "fail", "key revoked"),
        (dns_failure(), "temperror", "key cannot be looked up"),
    ],
)
async def test_keys(record: Any, result: str, reason: str) -> None:
    found = await checked(chain_of(2, BODY), records={("TXT", KEY_NAME): record or []})
    assert (found.result, found.reason) == (result, reason)
    assert found.oldest_pass is None


async def test_few_keys_are_looked_up() -> None:
    header, records = FIELDS, {}
    for number in range(MAX_KEYS + 1):
        domain = f"d{number}.example"
        records["TXT", f"s._domainkey.{domain}"] = [rsa_record()]
        resolver = FakeResolver(records)
        header = sealed(header, BODY, domain=domain)
        verifier = ArcVerifier(header, NOW)
        await verifier.ask(resolver)
        assert len(resolver.asked) == min(number + 1, MAX_KEYS)
    verifier.update(BODY)
    assert await verifier.result() == ArcResult(
        "fail", "too many keys", tuple(f"d{number}.example" for number in range(MAX_KEYS + 1))
    )
