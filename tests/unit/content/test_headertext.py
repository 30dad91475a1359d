# SPDX-License-Identifier: MIT
"""Which header fields have links in them, and what their encoded words say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.content.headertext import decoded_words, readable_text
from qpsmtpd.mail.headers import Headers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("=?utf-8?Q?b=C3=BCcher_x?=", "bücher x"),
        ("=?UTF-8?b?YsO8Y2hlcg?=", "bücher"),
        ("=?utf-8*de?q?a?=  =?utf-8?q?b?= c", "ab c"),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("=?zlib?q?a?=", "a"),
    ],
)
def test_encoded_words(value: str, expected: str) -> None:
    assert decoded_words(value) == expected


@given(st.text(st.sampled_from("=?utf-8QqBb_ab*")))
def test_any_value(value: str) -> None:
    assert len(decoded_words(value)) <= len(value)


def test_fields_of_mail_systems_have_no_links() -> None:
    section = (
        b"Received: from a.test\r\nX-Received: by b.test\r\nMessage-ID: <c.test>\r\n"
        b"DKIM-Signature: d=d.test\r\nAuthentication-Results: e.test\r\nARC-Seal: f.test\r\n"
        b"From: g.test\r\nsubject: h.test\r\nList-Unsubscribe: <https://i.test>\r\n"
    )
    assert list(readable_text(Headers.parse(section))) == ["g.test", "h.test", "<https://i.test>"]
