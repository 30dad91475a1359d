# SPDX-License-Identifier: MIT
"""What the header section of a part says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.content.parthead import PartHead, parse_content_type, read_part_head
from qpsmtpd.mail.headers import Headers


def head(*fields: str) -> PartHead:
    return read_part_head(Headers.parse("".join(f"{field}\r\n" for field in fields).encode()))


def test_nothing_is_plain_text() -> None:
    assert head() == PartHead("text/plain")
    assert head("Content-Type: nonsense") == PartHead("text/plain")


@pytest.mark.parametrize(
    ("value", "boundary"),
    [
        ("multipart/mixed; boundary=abc", b"abc"),
        ('Multipart/Mixed;\r\n\tcharset=x; BOUNDARY = "a b;c" ; y=z', b"a b;c"),
        ('multipart/mixed; boundary="a\\"b"', b'a"b'),
        ('multipart/mixed; boundary="not closed', b"not closed"),
        ('multipart/mixed; boundary*0=ab; boundary*1="cd"', b"abcd"),
        ("multipart/mixed; boundary*=us-ascii'en'a%20b", b"a b"),
        ("multipart/mixed; boundary*0*=us-ascii''a%62; boundary*1*=c%64", b"abcd"),
        ("multipart/mixed", b""),
        ("text/plain; boundary=abc", b""),
        (f"multipart/mixed; boundary={'x' * 141}", b""),
    ],
)
def test_boundaries(value: str, boundary: bytes) -> None:
    assert head(f"Content-Type: {value}").boundary == boundary


def test_encoding_and_charset() -> None:
    found = head("Content-Type: text/html; charset=UTF-16", "Content-Transfer-Encoding:  Base64 ")
    assert found == PartHead("text/html", charset="utf-16", encoding="base64")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["Content-Type: text/calendar"], True),
        (["Content-Type: message/delivery-status"], True),
        (["Content-Type: image/svg+xml"], True),
        (["Content-Type: image/png"], False),
        (["Content-Type: application/octet-stream"], False),
        (["Content-Type: application/octet-stream; name=Invoice.HTML"], True),
        (["Content-Type: a/b", 'Content-Disposition: attachment; filename="x.htm. "'], True),
        (["Content-Type: a/b", "Content-Disposition: attachment; filename*=utf-8''x%2Ehtm"], True),
    ],
)
def test_what_can_have_links(fields: list[str], expected: bool) -> None:
    assert head(*fields).is_text is expected


def test_attached_messages() -> None:
    assert head("Content-Type: message/rfc822").is_message
    assert not head("Content-Type: message/rfc822", "Content-Transfer-Encoding: base64").is_message
    assert not head("Content-Type: text/rfc822").is_message


@given(st.text(st.sampled_from("ab/;=*'\"\\ %0")))
def test_any_value(value: str) -> None:
    kind, parameters = parse_content_type(value)
    assert kind == kind.lower()
    assert all(name == name.lower() and "*" not in name for name in parameters)
