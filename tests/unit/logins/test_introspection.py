# SPDX-License-Identifier: MIT
"""Introspection: which endpoints there can be, and what answers mean (RFC 7662 section 2.2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qpsmtpd.logins.introspection import MOST, Endpoint, Grant, parse_endpoint, parse_grant
from qpsmtpd.scanners.wire import ScannerError


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://login.example", Endpoint("login.example", 443, "/", True)),
        ("https://login.example:8443/a?b=c", Endpoint("login.example", 8443, "/a?b=c", True)),
        ("https://[2001:db8::1]/a", Endpoint("2001:db8::1", 443, "/a", True)),
        ("http://127.0.0.1:80/a", Endpoint("127.0.0.1", 80, "/a", False)),
        ("http://localhost/", Endpoint("localhost", 80, "/", False)),
    ],
)
def test_endpoints(url: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(url) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        *("http://login.example/", "ftp://login.example/", "https:///a", "login.example", ""),
        *(
            "https://u:p@login.example/",
            "https://login.example:0x/",
            "https://login.example:99999/",
        ),
        *(
            "https://login.example/#a",
            "https://login.example/a\u00e9",
            "https://[::1",
            "https://a b/",
        ),
    ],
)
def test_what_is_no_endpoint(url: str) -> None:
    with pytest.raises(ValueError, match="https://HOST"):
        parse_endpoint(url)


def test_nothing_shows_the_secret() -> None:
    assert "hidden" not in repr(parse_endpoint("https://login.example/", "id", "hidden"))


@pytest.mark.parametrize(
    ("said", "grant"),
    [
        ({"active": False}, None),
        ({"active": False, "username": 7}, None),
        ({"active": True}, Grant("", frozenset(), frozenset())),
        (
            {"active": True, "username": "user", "scope": "a b", "aud": "mail", "exp": 7},
            Grant("user", frozenset("ab"), frozenset({"mail"}), 7),
        ),
        (
            {"active": True, "username": "user", "aud": ["x", "mail", 7], "more": {}},
            Grant("user", frozenset(), frozenset({"x", "mail"})),
        ),
    ],
)
def test_answers(said: Any, grant: Grant | None) -> None:
    assert parse_grant(json.dumps(said).encode(), "username") == grant


@pytest.mark.parametrize(
    "octets",
    [
        *(b"", b"{", b"\xff", b"true", b"[]", b"{}", b"[" * 50000, b" " * (MOST + 1)),
        *(b'{"active": "true"}', b'{"active": 1}', b'{"active": null}'),
        b'{"active": true, "username": ["root"]}',
        b'{"active": true, "scope": ["a"]}',
        b'{"active": true, "aud": {}}',
        b'{"active": true, "exp": "never"}',
        b'{"active": true, "exp": true}',
    ],
)
def test_nonsense(octets: bytes) -> None:
    with pytest.raises(ScannerError, match="its answer"):
        parse_grant(octets, "username")
