# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/smtp/trace.py."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.authresult import AuthResult
from qpsmtpd.mail.headers import HeaderField, Headers, check_field
from qpsmtpd.mail.session import ReceivedInfo, TlsInfo, Transaction
from qpsmtpd.smtp.trace import (
    authentication_results,
    clean,
    date_now,
    protocol_name,
    received,
    received_info,
)
from qpsmtpd.testing import a_session, a_transaction
from tests.unit.smtp.rfc8601 import read


def value_of(field: HeaderField) -> str:
    """The value as it is written."""
    return field.raw.decode().partition(": ")[2].removesuffix("\r\n")


def results_of(tx: Transaction, me: str = "mx.example") -> str:
    """The value of Authentication-Results."""
    field = authentication_results(tx, me)
    assert field.raw.startswith(b"Authentication-Results: ")
    check_field(field.name, value_of(field))
    return value_of(field)


TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")


def written(result: AuthResult) -> str:
    """The result as it stands in the field."""
    tx = a_transaction()
    tx.auth_results.append(result)
    return results_of(tx).partition("auth=none;\r\n\t")[2]


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


async def test_received() -> None:
    tx = a_transaction(session=a_session(ehlo="he(lo", client_name="cli ent.example"))
    await tx.session.resolve_client_name()
    tx.session.tls = TlsInfo("TLSv1.3", "CIPHER")
    value = value_of(received(tx, "mx.example", "2.0"))
    *lines, date = value.split("\r\n\t")
    assert lines == [
        "from he?lo (cli?ent.example [192.0.2.1])",
        "(TLSv1.3 with cipher CIPHER)",
        f"by mx.example (qpsmtpd/2.0) with ESMTPS id {tx.id};",
    ]
    assert parsedate_to_datetime(date).tzinfo is not None


def test_received_without_a_name_and_tls() -> None:
    tx = a_transaction(session=a_session("2001:db8::1", helo="client.example"))
    value = value_of(received(tx, "mx.example", "2.0"))
    assert value.startswith("from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example ")
    assert "with SMTP id" in value


@given(hello=st.text(max_size=300), name=st.text(min_size=1, max_size=300))
def test_received_is_a_header_field_whatever_the_client_says(hello: str, name: str) -> None:
    tx = a_transaction(session=a_session(ehlo=hello or "x"))
    tx.session.client_name = name
    field = received(tx, "mx.example", "2.0")
    headers = Headers.parse(b"Subject: x\r\n")
    headers.prepend("Received", value_of(field))
    assert headers.fields()[0] == field
    assert headers.names() == ["Received", "Subject"]
    assert max(map(len, bytes(headers).split(b"\r\n"))) <= 998


def test_authentication_results() -> None:
    tx = a_transaction()
    assert results_of(tx) == "mx.example;\r\n\tauth=none"
    tx.session.auth_user, tx.session.auth_mechanism = "joe@example.com", "CRAM-MD5"
    tx.session.auth_results.append(AuthResult("iprev", "pass"))
    tx.auth_results.append(AuthResult("spf", "none"))
    assert results_of(tx).split(";\r\n\t") == [
        "mx.example",
        "auth=pass (cram-md5) smtp.auth=joe@example.com",
        "iprev=pass",
        "spf=none",
    ]


@pytest.mark.parametrize("value", ["pass", "PASS.example", "pass@example.com"])
def test_no_value_looks_like_a_result(value: str) -> None:
    text = written(AuthResult("spf", "fail", properties={"smtp.helo": value}))
    assert text == f'spf=fail smtp.helo="{value}"'
    passport = written(AuthResult("spf", "fail", properties={"smtp.helo": "passport.example"}))
    assert passport == "spf=fail smtp.helo=passport.example"


@pytest.mark.parametrize(
    ("ip", "names", "text"),
    [
        ("192.0.2.1", {"client_name": "a.example"}, "iprev=pass policy.iprev=192.0.2.1"),
        ("192.0.2.1", {"reverse_name": "a.example"}, "iprev=fail policy.iprev=192.0.2.1"),
        ("2001:db8::1", {"client_name": "a.example"}, 'iprev=pass policy.iprev="2001:db8::1"'),
        ("192.0.2.1", {}, ""),
    ],
)
async def test_address_and_name_of_the_client(ip: str, names: dict[str, Any], text: str) -> None:
    tx = a_transaction(session=a_session(ip, **names))
    assert "iprev" not in results_of(tx)
    await tx.session.resolve_client_name()
    _, auth, *others = results_of(tx).split(";\r\n\t")
    assert (auth, others) == ("auth=none", [text] if text else [])


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            AuthResult("spf", "fail", properties={"smtp.mailfrom": "a.example"}),
            "smtp.mailfrom=a.example",
        ),
        (AuthResult("dkim", "pass", comment="2048-bit key"), "dkim=pass (2048-bit key)"),
        (AuthResult("x-y/2", "odd", "why not"), 'x-y/2=odd reason="why not"'),
        (
            AuthResult(
                "dkim", "policy", "short key", {"header.d": "b.example", "header.b": "a/b+="}
            ),
            'dkim=policy reason="short key" header.d=b.example header.b="a/b+="',
        ),
        (AuthResult("spf", "none", properties={"smtp.helo": ""}), 'spf=none smtp.helo=""'),
        (AuthResult("iprev", "fail", properties={"policy.iprev": "::1"}), 'policy.iprev="::1"'),
        (AuthResult("spf", "none", properties={"smtp.helo": "[192.0.2.1]"}), '"[192.0.2.1]"'),
        (
            AuthResult("spf", "none", properties={"smtp.mailfrom": "a..b@c.example"}),
            '"a..b@c.example"',
        ),
        (
            AuthResult("spf", "none", properties={"smtp.mailfrom": "a@under_score"}),
            '"a@under_score"',
        ),
    ],
)
def test_a_result(result: AuthResult, text: str) -> None:
    assert text in written(result)


def test_results_are_folded() -> None:
    many = {f"x.p{number}": "value.example" for number in range(9)}
    lines = written(AuthResult("dkim", "fail", "body hash mismatch", many)).split("\r\n\t")
    assert max(map(len, lines)) <= 78
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("x;dkim=pass", "x?dkim?pass"),
        ("x\r\ndkim=pass", "x??dkim?pass"),
        ('x"; dkim = PASS (', "x?? dkim ? PASS ?"),
        ("dkim=passé", "dkim?pass?"),
        ("a=passport p=reject", "a=passport p=reject"),
        ("(x\\)\0\x01\x7f", "?x?????"),
        ("é\udc80\u2028\u202e", "????"),
        ("x" * 600, "x" * 512 + "[cut]"),
    ],
)
def test_what_a_client_says_is_harmless(hostile: str, harmless: str) -> None:
    """In all places where it may stand: comment, reason, value."""
    text = written(AuthResult("spf", "fail", hostile, {"smtp.helo": hostile}, hostile))
    assert text.replace("\r\n\t", " ") == (
        f'spf=fail ({harmless}) reason="{harmless}" smtp.helo="{harmless.replace(" ", "?")}"'
    )


def test_a_long_text_is_cut_between_characters() -> None:
    tx = a_transaction("é@example.com", "u@example.test", parameters={"SMTPUTF8": None})
    tx.auth_results.append(AuthResult("x", "fail", "x" + "é" * 300))
    _, (_, found) = read(results_of(tx))
    assert found.reason == "x" + "é" * 255 + "[cut]"


def test_a_user_name_cannot_add_a_result() -> None:
    tx = a_transaction()
    tx.session.auth_user, tx.session.auth_mechanism = 'j; spf=pass\r\n("\\)é', "PLAIN"
    results = results_of(tx)
    assert results.endswith('(plain) smtp.auth="j??spf?pass???????"')


@pytest.mark.parametrize(
    ("sender", "parameters", "value"),
    [
        ("a@example.com", {}, "caf?"),
        # Many clients always say SMTPUTF8; our field must not make it necessary.
        ("a@example.com", {"SMTPUTF8": None}, "caf?"),
        ("é@example.com", {"SMTPUTF8": None}, "café"),
    ],
)
def test_utf8_only_where_it_is_needed_anyway(
    sender: str, parameters: dict[str, str | None], value: str
) -> None:
    tx = a_transaction(sender, "user@example.test", parameters=parameters)
    tx.auth_results.append(AuthResult("spf", "none", properties={"smtp.helo": "café"}))
    _, (_, found) = read(results_of(tx))
    assert found.properties == (("smtp.helo", value),)


@pytest.mark.parametrize("me", ["mx.example", "[192.0.2.1]", "2001:db8::1", "a_b"])
def test_our_name_is_a_value(me: str) -> None:
    assert read(results_of(a_transaction(), me))[0] == me


WORDS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?", fullmatch=True)
#: What clients and their DNS may come up with.
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=' ;="\\()\r\n\t\0@.,:/adkimpasuth-', max_size=40),
    st.sampled_from(
        ["x;dkim=pass", 'x" ; dkim=pass', "x) ; dkim=pass", "x\r\n\r\n", "\\", "(", "("]
    ),
    st.builds(str.__mul__, st.sampled_from(["x", '";', "é", "=pass "]), st.integers(100, 1200)),
)
RESULTS = st.builds(
    AuthResult,
    WORDS.filter(lambda word: word not in ("arc", "auth", "dkim", "dmarc", "iprev", "spf")),
    WORDS,
    HOSTILE,
    st.lists(st.tuples(st.builds("{}.{}".format, WORDS, WORDS), HOSTILE), max_size=2),
    HOSTILE,
)


@given(results=st.lists(RESULTS, max_size=2), user=HOSTILE, utf8=st.booleans())
def test_only_what_was_put_in_comes_out(results: list[AuthResult], user: str, utf8: bool) -> None:
    parameters: dict[str, str | None] = {"SMTPUTF8": None} if utf8 else {}
    tx = a_transaction("é@example.com" if utf8 else "a@b.example", parameters=parameters)
    tx.session.auth_user, tx.session.auth_mechanism = user, "PLAIN"
    tx.auth_results.extend(results)
    text = results_of(tx)

    me, (auth, *others) = read(text)
    assert me == "mx.example"
    assert (auth.method, auth.result) == ("auth", "pass" if user else "none")
    assert [(o.method, o.result) for o in others] == [(r.method, r.result) for r in results]
    for one, other in zip(results, others, strict=True):
        assert [name for name, _ in one.properties] == [name for name, _ in other.properties]
        assert bool(one.reason) == bool(other.reason)

    headers = Headers.parse(b"Subject: x\r\n")
    headers.prepend("Authentication-Results", text)
    assert headers.names() == ["Authentication-Results", "Subject"]
    assert max(map(len, bytes(headers).split(b"\r\n"))) <= 998
    assert utf8 or bytes(headers).isascii()


@given(results=st.lists(RESULTS, max_size=2), user=HOSTILE)
def test_simple_readers_are_not_fooled(results: list[AuthResult], user: str) -> None:
    """Many split at semicolons, or search the field, and know neither quotes nor comments."""
    tx = a_transaction()
    tx.session.auth_user, tx.session.auth_mechanism = user, "PLAIN"
    tx.auth_results.extend(results)
    text = results_of(tx)
    methods = [part.strip().partition("=")[0] for part in text.split(";")[1:]]
    assert methods == ["auth", *(result.method for result in results)]
    passed = re.findall(r"= *pass\b", text, re.IGNORECASE)
    assert len(passed) == bool(user) + sum(bool(re.match(r"pass\b", r.result)) for r in results)


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
