# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/smtp/trace.py."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.session import ReceivedInfo, TlsInfo
from qpsmtpd.smtp.trace import (
    authentication_results,
    clean,
    date_now,
    protocol_name,
    received_info,
    received_value,
)
from qpsmtpd.testing import a_session, a_transaction

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")


@pytest.mark.parametrize(
    ("hello", "tls", "user", "utf8", "name"),
    [
        ("helo", None, "", False, "SMTP"),
        ("helo", TLS, "", False, "SMTP"),
        ("ehlo", None, "", False, "ESMTP"),
        ("ehlo", TLS, "", False, "ESMTPS"),
        ("ehlo", None, "joe", False, "ESMTPA"),
        ("ehlo", TLS, "joe", False, "ESMTPSA"),
        ("ehlo", None, "", True, "UTF8SMTP"),
        ("ehlo", TLS, "", True, "UTF8SMTPS"),
        ("ehlo", None, "joe", True, "UTF8SMTPA"),
        ("ehlo", TLS, "joe", True, "UTF8SMTPSA"),
    ],
)
def test_protocol_name(
    hello: Literal["helo", "ehlo"], tls: TlsInfo | None, user: str, utf8: bool, name: str
) -> None:
    """RFC 3848, RFC 6531 section 4.3."""
    session = a_session()
    session.hello, session.tls, session.auth_user = hello, tls, user
    assert protocol_name(session, utf8) == name


def test_received_info_of_a_plain_session() -> None:
    assert received_info(a_transaction()) == ReceivedInfo("ESMTP", "", "")


def test_received_info_of_tls_and_auth() -> None:
    tx = a_transaction(parameters={"SMTPUTF8": None})
    tx.session.tls = TLS
    tx.session.auth_user, tx.session.auth_mechanism = "joe (x)", "PLAIN"
    assert received_info(tx) == ReceivedInfo(
        "UTF8SMTPSA",
        "(TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)",
        "(smtp-auth username joe??x?, PLAIN)",
    )


async def test_received_value() -> None:
    tx = a_transaction(session=a_session(ehlo="he(lo", client_name="cli ent.example"))
    value = await received_value(tx, ReceivedInfo("ESMTPS", "(TLSv1.3)", ""), "mx.example", "2.0")
    *lines, date = value.split("\r\n\t")
    assert lines == [
        "from he?lo (cli?ent.example [192.0.2.1])",
        "(TLSv1.3)",
        f"by mx.example (qpsmtpd/2.0) with ESMTPS id {tx.id};",
    ]
    assert parsedate_to_datetime(date).tzinfo is not None


async def test_received_value_without_a_name_and_tls() -> None:
    tx = a_transaction(session=a_session("2001:db8::1", helo="client.example"))
    value = await received_value(tx, received_info(tx), "mx.example", "2.0")
    assert value.startswith("from client.example ([2001:db8::1])\r\n\tby mx.example ")
    assert "with SMTP id" in value


@given(hello=st.text(max_size=300), name=st.text(min_size=1, max_size=300))
def test_received_is_a_header_field_whatever_the_client_says(hello: str, name: str) -> None:
    tx = a_transaction(session=a_session(ehlo=hello or "x"))
    tx.session.client_name = name
    coroutine = received_value(tx, received_info(tx), "mx.example", "2.0")
    with pytest.raises(StopIteration) as finished:
        coroutine.send(None)
    headers = Headers.parse(b"Subject: x\r\n")
    headers.prepend("Received", finished.value.value)
    assert headers.names() == ["Received", "Subject"]
    assert max(map(len, bytes(headers).split(b"\r\n"))) <= 998


def test_authentication_results() -> None:
    tx = a_transaction()
    assert authentication_results(tx, "mx.example") == "mx.example;\r\n\tauth=none"
    tx.session.auth_user, tx.session.auth_mechanism = "joe@example.com", "CRAM-MD5"
    tx.session.auth_results.append("iprev=pass")
    tx.auth_results.append("spf=none")
    assert authentication_results(tx, "mx.example").split(";\r\n\t") == [
        "mx.example",
        "auth=pass (cram-md5) smtp.auth=joe@example.com",
        "iprev=pass",
        "spf=none",
    ]


def test_a_user_name_cannot_add_a_result() -> None:
    tx = a_transaction()
    tx.session.auth_user, tx.session.auth_mechanism = 'j; spf=pass\r\n("\\)é', "PLAIN"
    results = authentication_results(tx, "mx.example")
    assert results.endswith("smtp.auth=j??spf=pass???????")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("mx-1.example_[2001:db8::1]", "mx-1.example_[2001:db8::1]"),
        ("a b\r\n(c)@é;", "a?b???c????"),
        ("x" * 300, "x" * 255),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.9)
    assert parsedate_to_datetime(date_now()).timestamp() == 1_800_000_000
    assert date_now() == date_now()
