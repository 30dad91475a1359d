# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/smtp/reply.py."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qpsmtpd.smtp.reply import MAX_TEXT, Reply, _encoded, _whole


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Reply(250, "2.0.0", "OK"), b"250 2.0.0 OK\r\n"),
        (Reply(354, "", "Go ahead"), b"354 Go ahead\r\n"),
        (Reply(250, "", ""), b"250 \r\n"),
        (Reply(214, "2.0.0", "one\ntwo"), b"214-2.0.0 one\r\n214 2.0.0 two\r\n"),
        (Reply(250, "", "me\nSIZE 1\nHELP"), b"250-me\r\n250-SIZE 1\r\n250 HELP\r\n"),
        (Reply(550, "5.7.1", "no\r\n250 yes"), b"550-5.7.1 no\r\n550 5.7.1 250 yes\r\n"),
        (Reply(550, "5.7.1", "a\tb\0c\x7f"), b"550 5.7.1 a?b?c?\r\n"),
        (Reply(550, "5.7.1", "Grüße"), b"550 5.7.1 Gr??e\r\n"),
    ],
)
def test_encode(reply: Reply, wire: bytes) -> None:
    assert reply.octets == wire


def test_a_long_text_is_cut() -> None:
    longest = Reply(550, "5.7.1", "x" * MAX_TEXT)
    assert longest.octets == b"550 5.7.1 %s\r\n" % (b"x" * MAX_TEXT)
    assert Reply(550, "5.7.1", "x" * MAX_TEXT + "y").octets == longest.octets


@given(
    code=st.integers(200, 599),
    status=st.sampled_from(["", "2.0.0", "5.999.999"]),
    text=st.text(max_size=2000),
)
@example(code=250, status="", text="\n")
@example(code=250, status="", text="a\n\nb")
@example(code=250, status="", text="a\x85b\u2028c")
def test_whatever_a_plugin_says_is_a_reply(code: int, status: str, text: str) -> None:
    """RFC 5321 sections 4.2 and 4.5.3.1.5."""
    *lines, last, end = Reply(code, status, text).octets.split(b"\r\n")
    assert end == b""
    prefix = f" {status} " if status else " "
    assert re.fullmatch(rf"{code}{prefix}[ -~]*", last.decode())
    for line in lines:
        assert re.fullmatch(rf"{code}{prefix.replace(' ', '-', 1)}[ -~]*", line.decode())
    assert all(len(line) + 2 <= 512 for line in (*lines, last))


@given(
    status=st.sampled_from(["", "2.0.0"]),
    text=st.text(st.sampled_from("ab \n\r\tü\x85\u2028"), max_size=12),
    times=st.sampled_from([1, MAX_TEXT // 4]),
)
@example(status="", text="a\n", times=1)
def test_the_first_line_apart_makes_no_difference(status: str, text: str, times: int) -> None:
    assert _encoded(250, status, text * times) == _whole(250, status, text * times)


def test_positive() -> None:
    assert Reply(250, "", "").positive
    assert Reply(354, "", "").positive
    assert not Reply(421, "", "").positive
    assert not Reply(550, "", "").positive


def test_text_for_the_log_is_one_line() -> None:
    assert str(Reply(550, "5.7.1", "no\nnever")) == "550-5.7.1 no / 550 5.7.1 never"
