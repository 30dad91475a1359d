# SPDX-License-Identifier: MIT
"""Results in header fields: what was found is told, and nothing that a client says ends a value."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.authresult import AuthResult
from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.mailauth.dkim import DkimResult
from qpsmtpd.mailauth.dmarc import DmarcResult
from qpsmtpd.mailauth.dmarcrecord import DmarcRecord
from qpsmtpd.mailauth.results import (
    dkim_auth_result,
    dmarc_auth_result,
    received_spf,
    spf_auth_result,
)
from qpsmtpd.mailauth.spf import SpfQuery, SpfResult

QUERY = SpfQuery(parse_ip("2001:db8::1"), "a.test", "me", hello="client.test", receiver="mx.test")
FAIL = SpfResult("fail", "mailfrom", "a.test", mechanism="-all")


def test_authentication_results() -> None:
    assert spf_auth_result(FAIL) == AuthResult("spf", "fail", "", {"smtp.mailfrom": "a.test"})
    helo = SpfResult("temperror", "helo", "client.test", problem="SERVFAIL")
    assert spf_auth_result(helo) == AuthResult(
        "spf", "temperror", "SERVFAIL", {"smtp.helo": "client.test"}
    )


def test_results_of_signatures() -> None:
    found = DkimResult("fail", "body hash did not verify", "a.test", "s", "b.a.test", "rsa-sha256")
    told = {"header.d": "a.test", "header.s": "s", "header.a": "rsa-sha256"}
    why = "body hash did not verify"
    assert dkim_auth_result(found) == AuthResult("dkim", "fail", why, told)
    testing = dataclasses.replace(found, result="pass", reason="", bits=2048, b8="ab", testing=True)
    told["header.b"] = "ab"
    comment = "2048-bit key, testing"
    assert dkim_auth_result(testing) == AuthResult("dkim", "pass", "", told, comment)
    unread = DkimResult("permerror", "signature syntax")
    assert dkim_auth_result(unread) == AuthResult("dkim", "permerror", "signature syntax")


def test_results_of_dmarc() -> None:
    found = DmarcResult("fail", author="a.test", policy="reject", record=DmarcRecord())
    told = {"header.from": "a.test", "policy.dmarc": "reject"}
    assert dmarc_auth_result(found) == AuthResult("dmarc", "fail", "", told)
    nothing = DmarcResult("none", author="a.test")
    assert dmarc_auth_result(nothing) == AuthResult("dmarc", "none", "", {"header.from": "a.test"})
    nobody = DmarcResult("permerror", "no From field")
    assert dmarc_auth_result(nobody) == AuthResult("dmarc", "permerror", "no From field")


def test_received_spf() -> None:
    assert received_spf(FAIL, QUERY).split(";\r\n\t") == [
        "fail receiver=mx.test",
        "identity=mailfrom",
        'client-ip="2001:db8::1"',
        "helo=client.test",
        'envelope-from="me@a.test"',
        "mechanism=-all",
    ]
    helo = received_spf(dataclasses.replace(FAIL, identity="helo"), QUERY)
    assert "envelope-from" not in helo


@pytest.mark.parametrize(
    ("local_part", "value"),
    [
        ("a b", '"a b@a.test"'),
        ('"; identity=helo', '"?; identity=helo@a.test"'),
        ("a\\", '"a?@a.test"'),
        ("é\r\n(x)", '"????x?@a.test"'),
        ("x" * 400, f'"{"x" * 320}"'),
    ],
)
def test_what_a_client_says_is_harmless(local_part: str, value: str) -> None:
    query = dataclasses.replace(QUERY, local_part=local_part)
    assert f"envelope-from={value};" in received_spf(FAIL, query)


@given(text=st.text(max_size=400))
def test_it_is_a_header_field_whatever_is_said(text: str) -> None:
    query = dataclasses.replace(QUERY, local_part=text, hello=text)
    result = dataclasses.replace(FAIL, mechanism=text, problem=text)
    headers = Headers.parse(b"Subject: x\r\n")
    headers.prepend("Received-SPF", received_spf(result, query))
    assert headers.names() == ["Received-SPF", "Subject"]
    assert max(map(len, bytes(headers).split(b"\r\n"))) <= 998
