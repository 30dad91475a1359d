# SPDX-License-Identifier: MIT
"""Messages of OAUTHBEARER and XOAUTH2: the examples of RFC 7628 section 4 and of Google's text."""

from __future__ import annotations

import base64
import json

import pytest

from qpsmtpd.logins.bearer import (
    MOST,
    OAUTHBEARER,
    XOAUTH2,
    Bearer,
    Problem,
    parse_bearer,
    problem_text,
)

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
#: RFC 7628 section 4.1, with the port of section 4.2.
EXAMPLE = base64.b64decode(
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOW"
    "RmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
)
GOOGLE_TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
GOOGLE = f"user=someuser@example.com\x01auth=Bearer {GOOGLE_TOKEN}\x01\x01".encode()


def test_the_examples() -> None:
    assert parse_bearer(EXAMPLE, OAUTHBEARER) == Bearer("user@example.com", TOKEN)
    assert parse_bearer(GOOGLE, XOAUTH2) == Bearer("someuser@example.com", GOOGLE_TOKEN)
    assert TOKEN not in repr(Bearer("", TOKEN))


@pytest.mark.parametrize(
    ("message", "user"),
    [
        (b"n,,\x01auth=Bearer abc\x01\x01", ""),
        (b"y,,\x01AUTH=bearer  abc\x01\x01", ""),
        (b"n,a=us=2Cer=3D,\x01auth=Bearer abc\x01x=\x01\x01", "us,er="),
        ("n,a=bücher@example.org,\x01auth=Bearer abc\x01\x01".encode(), "bücher@example.org"),
    ],
)
def test_other_forms(message: bytes, user: str) -> None:
    assert parse_bearer(message, OAUTHBEARER) == Bearer(user, "abc")


NOT_OAUTHBEARER = (
    *(b"", b"\x01", b"n,,\x01\x01", b"n,,", GOOGLE, b"\xff"),
    *(b"p=tls-unique,,\x01auth=Bearer a\x01\x01", b"n,,\x01auth=Basic abc\x01\x01"),
    *(b"n,,\x01auth=Bearer\x01\x01", b"n,,\x01auth=Bearer a b\x01\x01"),
    *(b"n,,\x01auth=Bearer a,b\x01\x01", b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01"),
    *(b"n,,\x01auth=Bearer a\x01more\x01\x01", b"n,a==,\x01auth=Bearer a\x01\x01"),
    *(b"n,a=a,b,\x01auth=Bearer a\x01\x01", b"n,,\x01auth=Bearer a\0\x01\x01"),
    b"n,,\x01auth=Bearer " + b"a" * MOST + b"\x01\x01",
)
NOT_XOAUTH2 = (
    *(b"", EXAMPLE, b"user=\x01auth=Bearer a\x01\x01", b"user=u\x01\x01"),
    *(b"auth=Bearer a\x01\x01", b"user=u\x01auth=a\x01\x01"),
)


@pytest.mark.parametrize(
    ("message", "mechanism"),
    [
        *((message, OAUTHBEARER) for message in NOT_OAUTHBEARER),
        *((message, XOAUTH2) for message in NOT_XOAUTH2),
    ],
)
def test_what_is_no_message(message: bytes, mechanism: str) -> None:
    with pytest.raises(ValueError, match="message") as caught:
        parse_bearer(message, mechanism)
    assert "Bearer" not in str(caught.value)


@pytest.mark.parametrize(
    ("mechanism", "problem", "said"),
    [
        (OAUTHBEARER, "invalid_token", {"status": "invalid_token", "scope": "a b"}),
        (OAUTHBEARER, "insufficient_scope", {"status": "insufficient_scope", "scope": "a b"}),
        (XOAUTH2, "invalid_token", {"status": "401", "schemes": "bearer", "scope": "a b"}),
        (XOAUTH2, "invalid_request", {"status": "400", "schemes": "bearer", "scope": "a b"}),
    ],
)
def test_what_clients_are_told(mechanism: str, problem: Problem, said: dict[str, str]) -> None:
    assert json.loads(problem_text(mechanism, problem, "a b")) == said


def test_where_tokens_come_from() -> None:
    url = "https://login.example/.well-known/openid-configuration"
    said = json.loads(problem_text(OAUTHBEARER, "invalid_token", "", url))
    assert said == {"status": "invalid_token", "openid-configuration": url}
