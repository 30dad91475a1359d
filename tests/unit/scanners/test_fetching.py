# SPDX-License-Identifier: MIT
"""URLs: where they lead, and which are none.  What is fetched is in test_http_config.py."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.plugin.place import Place
from qpsmtpd.scanners.fetching import parse_url


@pytest.mark.parametrize(
    ("text", "place", "path", "secure"),
    [
        ("https://example.com", Place("example.com", 443), "/", True),
        ("http://127.0.0.1:8080/a/b", Place("127.0.0.1", 8080), "/a/b", False),
        ("https://[2001:db8::1]/x?", Place("2001:db8::1", 443), "/x?", True),
        ("HTTP://example.com/x.pl?config=", Place("example.com", 80), "/x.pl?config=", False),
    ],
)
def test_urls(text: str, place: Place, path: str, secure: bool) -> None:
    url = parse_url(text)
    assert (url.place, url.path, url.secure, str(url)) == (place, path, secure, text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "https://",
            "ftp://example.com:21/",
            "//example.com/",
            "https://a:b@example.com/",
        ),
        *("https://example.com/#x", "https://example.com:0/", "https://example.com:x/"),
        *(
            "https://[::1/",
            "https://exa mple.com/",
            "https://example.com/\r\nX: y",
            "https://é.test/",
        ),
    ],
)
def test_no_urls(text: str) -> None:
    with pytest.raises(ValueError, match="https://HOST"):
        parse_url(text)


@given(st.text() | st.from_regex(r"https?://[a-z@:/?#\\[\\]. ]*"))
def test_a_request_has_one_line(text: str) -> None:
    with suppress(ValueError):
        url = parse_url(text)
        assert url.path.isprintable()
        assert " " not in url.path
        assert url.path.startswith("/")
