# SPDX-License-Identifier: MIT
"""No signed message, and no key, makes DKIM or ARC take more than linear time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from qpsmtpd.mailauth.arc import ArcVerifier
from qpsmtpd.mailauth.dkim import MAX_SIGNATURES, Verifier
from qpsmtpd.mailauth.dkimkey import DkimKeyError, choose_key
from qpsmtpd.testing import FakeResolver, Records
from tests.fuzz.growth import growth_problem
from tests.unit.mailauth.chains import chain_of
from tests.unit.mailauth.signing import FIELDS, FROM, KEY_NAME, rsa_record, signature_of

DNS: Records = {("TXT", KEY_NAME): [rsa_record()]}
SIGNED = signature_of() + signature_of(changes={"c": "simple/simple", "l": "99"})
COVERING = signature_of(changes={"h": "from:" + "x:" * 190 + "to"})
BEGUN = b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; bh=AAAA; "
#: What a block from the network holds.
BLOCK = 1 << 16

Make = Callable[[int], bytes]


def verify(message: bytes) -> None:
    header, _, body = message.partition(b"\r\n\r\n")
    verifier = Verifier(header + b"\r\n", 0.0)
    asyncio.run(verifier.ask(FakeResolver(DNS)))
    for start in range(0, len(body), BLOCK):
        verifier.update(body[start : start + BLOCK])
    verifier.results()


def times(unit: bytes, length: int) -> bytes:
    return unit * (length // len(unit) + 1)


def body(unit: bytes, end: bytes = b"") -> Make:
    return lambda length: SIGNED + FIELDS + b"\r\n" + times(unit, length) + end


def field(before: bytes, unit: bytes, after: bytes) -> Make:
    """A message with a part of its header section that is so long."""
    return lambda length: before + times(unit, length) + after + b"\r\n" + SIGNED + FIELDS + b"\r\n"


MESSAGES: dict[str, Make] = {
    "blanks in a line": body(b" ", b"x\r\n"),
    "tabs and blanks in a line": body(b"\t ", b"x\r\n"),
    "blanks without an end": body(b" "),
    "lines of blanks": body(b" " * 999 + b"\r\n"),
    "empty lines": body(b"\r\n"),
    "empty lines and an end": body(b"\r\n", b"x\r\n"),
    "lines that end with a blank": body(b"x \r\n"),
    "blanks in b=": field(BEGUN + b"h=from; b=A", b" ", b"!"),
    "folds in b=": field(BEGUN + b"h=from; b=A", b"\r\n ", b"!"),
    "names in h=": field(BEGUN + b"b=AAAA; h=from", b":to", b""),
    "blanks in h=": field(BEGUN + b"b=AAAA; h=from", b" ", b":to"),
    "tags": field(BEGUN + b"h=from", b";", b""),
    "tags with names": field(BEGUN + b"h=from", b";a=b", b""),
    "digits in l=": field(BEGUN + b"h=from; b=AAAA; l=", b"9", b""),
    "a long i=": field(BEGUN + b"h=from; b=AAAA; i=", b"@", b""),
    "a long d=": field(b"DKIM-Signature: v=1; a=rsa-sha256; d=", b"a.", b"example"),
    "equals signs": field(BEGUN + b"b", b"=", b""),
    "a long field": field(b"X-Long: ", b" x", b""),
    "a folded field": field(b"X-Long: ", b"\r\n ", b"x"),
    "a signed field": field(COVERING + b"To: ", b" x", b""),
    "a signed folded field": field(COVERING + b"To: ", b"x\r\n ", b"x"),
    "fields": field(b"X: y", b"\r\nX: y", b""),
    "signed fields": lambda length: COVERING * 10 + times(b"X: y\r\n", length) + FROM + b"\r\n",
    "signatures": lambda length: times(signature_of(), length) + FIELDS + b"\r\n",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_takes_linear_time(name: str) -> None:
    problem = growth_problem(verify, [MESSAGES[name]])
    assert not problem, f"{name}: {problem}"


# --- ARC ---

CHAIN = chain_of(50)


def check_chain(message: bytes) -> None:
    header, _, body = message.partition(b"\r\n\r\n")
    verifier = ArcVerifier(header + b"\r\n", 0.0)
    asyncio.run(verifier.ask(FakeResolver(DNS)))
    verifier.update(body)
    asyncio.run(verifier.result())


def chain_with(before: bytes, unit: bytes) -> Make:
    """A chain with so much of something in its first seal."""
    start, _, end = CHAIN.partition(before)
    return lambda length: start + before + times(unit, length) + end + b"\r\n"


CHAINS: dict[str, Make] = {
    "sets": lambda length: CHAIN * (length // len(CHAIN) + 1) + b"\r\n",
    "a body": lambda length: CHAIN + b"\r\n" + times(b"x ", length),
    "results": chain_with(b"ARC-Authentication-Results: ", b" "),
    "results with semicolons": chain_with(b"dkim=pass", b";"),
    "blanks": chain_with(b"ARC-Seal: ", b" "),
    "tags": chain_with(b"ARC-Seal: ", b"a=b;"),
    "names": chain_with(b"h=", b"to:"),
    "colons": chain_with(b"h=", b":"),
    "numbers": lambda length: times(b"ARC-Seal: i=1;\r\n", length) + CHAIN + b"\r\n",
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_takes_linear_time(name: str) -> None:
    problem = growth_problem(check_chain, [CHAINS[name]])
    assert not problem, f"{name}: {problem}"


@pytest.mark.parametrize("unit", ["A", " ", ";", "a=b;", "p=", "é", ":", "t=s:"])
@pytest.mark.parametrize("before", ["", "v=DKIM1; p=", "v=DKIM1; h=", "v=DKIM1; n="])
def test_a_key_takes_linear_time(before: str, unit: str) -> None:
    def read(text: str) -> None:
        try:
            choose_key([text])
        except DkimKeyError:
            return

    assert not growth_problem(read, [lambda length: before + unit * (length // len(unit))])


def test_signatures_that_are_not_looked_at_are_not_read() -> None:
    """1000 signatures cost no more lookups than ten."""
    fields = b"".join(signature_of(changes={"s": f"s{number}"}) for number in range(30))
    verifier = Verifier(fields * 34 + FIELDS, 0.0)
    resolver = FakeResolver()
    asyncio.run(verifier.ask(resolver))
    assert len(resolver.asked) == MAX_SIGNATURES == len(verifier.results())
