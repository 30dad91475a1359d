# SPDX-License-Identifier: MIT
"""Our DKIM gives the right results for messages that others have collected.

Mail::DKIM's corpus is of 2006 to 2009 for the most part.  What it calls valid is not always so by
today's standards: signatures without v= are older than RFC 4871, and RFC 8301 has ruled out
rsa-sha1.  All others have to give what Mail::DKIM wants.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from qpsmtpd.mailauth.dkim import DkimResult, Verifier
from qpsmtpd.testing import FakeResolver, Records, dns_failure
from tests.conformance.source_archives import SourceArchive, from_debian, from_pypi

DKIMPY = "1.1.8"

#: Mail::DKIM's words.
OF_PERL = {"pass": "pass", "fail": "fail", "invalid": "permerror"}
#: Messages of its corpus with DKIM signatures; others have those of DomainKeys.
MAIL_DKIM_MESSAGES = 62

_signature = re.compile(rb"^DKIM-Signature\s*:(.*?)\r\n(?![ \t])", re.I | re.M | re.S).findall
_is_version_1 = re.compile(rb"(?:^|;)\s*v\s*=\s*1\s*(?:;|$)").search
_is_sha1 = re.compile(rb"(?:^|;)\s*a\s*=\s*rsa-sha1\s*(?:;|$)").search


async def verified(message: bytes, dns: Records, now: float) -> tuple[DkimResult, ...]:
    message = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    header, _, body = message.partition(b"\r\n\r\n")
    verifier = Verifier(header.removesuffix(b"\r\n") + b"\r\n", now)
    await verifier.ask(FakeResolver(dns))
    verifier.update(body)
    return verifier.results()


# --- Mail::DKIM -----------------------------------------------------------------------------------


@pytest.mark.real_systems
async def test_the_corpus_of_mail_dkim() -> None:
    archive = from_debian("libmail-dkim-perl")
    dns = dict(_records(archive.read("t/FAKE_DNS.dat").decode()))
    wanted = re.findall(r'test_email\(\s*"(\S+)",\s*"(\w+)"', archive.read("t/verifier.t").decode())
    messages = archive.files(lambda name: name.startswith("t/corpus/"))
    differences, count = [], 0
    for file, word in wanted:
        message = messages[f"t/corpus/{file}"]
        fields = _signature(message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        results = await verified(message, dns, 1e9)
        assert len(results) == len(fields)
        count += bool(fields)
        for field, found in zip(fields, results, strict=True):
            right = _right(field, OF_PERL[word])
            if found.result not in right:
                differences.append((file, found, right))
    assert not differences
    assert count == MAIL_DKIM_MESSAGES


def _records(text: str) -> Records:
    records: dict[tuple[str, str], Any] = {}
    for line in text.splitlines():
        name, _, data = line.strip().partition(" ")
        data = data.strip()
        if name and name != "#" and data != "NXDOMAIN":
            failing = data.startswith("~~")
            records["TXT", name] = dns_failure(data) if failing else [data.strip('"')]
    return records


def _right(field: bytes, word: str) -> set[str]:
    """The results that are right for a signature in a message that Mail::DKIM has this word for."""
    if not _is_version_1(field):
        return {"permerror"}
    if _is_sha1(field):
        return {"policy", "permerror"} if word == "permerror" else {"policy"}
    return {word}


# --- dkimpy ---------------------------------------------------------------------------------------


class Dkimpy:
    """Messages and keys of dkimpy's tests."""

    def __init__(self) -> None:
        self._archive: SourceArchive = from_pypi("dkimpy", DKIMPY)

    def read(self, name: str) -> bytes:
        return self._archive.read(f"dkim/tests/data/{name}")

    def key(self, name: str) -> list[str]:
        return [self.read(name).decode().strip()]


#: RFC 8463, appendix A.2.
ED25519 = ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]
RSA_OF_RFC_8463 = [
    "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3id"
    "Y6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lx"
    "j+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
]


@pytest.mark.parametrize(
    ("file", "results"),
    [
        ("rfc6376.signed.msg", ["pass", "pass"]),
        ("rfc6376.signed.rsa.msg", ["pass"]),
        ("rfc6376.signed.no_t.msg", ["fail"]),
        ("rfc6376.msg", []),
        ("test.message", []),
    ],
)
async def test_messages_of_dkimpy(file: str, results: list[str]) -> None:
    dkimpy = Dkimpy()
    dns: Records = {
        ("TXT", "test._domainkey.football.example.com"): dkimpy.key("test.txt"),
        ("TXT", "brisbane._domainkey.football.example.com"): ED25519,
    }
    found = await verified(dkimpy.read(file), dns, 1.6e9)
    assert [each.result for each in found] == results, found


#: RFC 8463, appendix A.3, where both keys have signed the message of RFC 6376.
RFC_8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""


async def test_the_example_of_rfc_8463() -> None:
    dns: Records = {
        ("TXT", "test._domainkey.football.example.com"): RSA_OF_RFC_8463,
        ("TXT", "brisbane._domainkey.football.example.com"): ED25519,
    }
    assert [each.result for each in await verified(RFC_8463, dns, 1.6e9)] == ["pass", "pass"]
