# SPDX-License-Identifier: MIT
"""Dovecot's protocol: one line asks, and only its own answer counts."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.attempts import Login
from qpsmtpd.logins.dovecot import answer, parse_line, request
from qpsmtpd.scanners.wire import ScannerError


def a_login(user: str = "user", password: str = "secret", *, secured: bool = True) -> Login:
    return Login(user, password, "192.0.2.1", 40000, "2001:db8::1", 587, secured)


def test_request() -> None:
    assert request(7, a_login(), "smtp") == (
        "AUTH\t7\tPLAIN\tservice=smtp\tnologin\tno-penalty\trip=192.0.2.1\tlip=2001:db8::1\t"
        "rport=40000\tlport=587\tsecured\tresp=AHVzZXIAc2VjcmV0\n"
    )
    assert "secured" not in request(7, a_login(secured=False), "smtp")


@given(st.text(), st.text())
def test_whatever_a_client_says_is_one_word(user: str, password: str) -> None:
    try:
        line = request(7, a_login(user, password), "smtp")
    except UnicodeEncodeError:
        return  # a client's UTF-8 has no surrogates
    assert line.count("\n") == 1
    words = line.rstrip("\n").split("\t")
    assert len(words) == 12
    response = base64.b64decode(words[-1].removeprefix("resp="))
    assert response == f"\0{user}\0{password}".encode()


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (b"OK\t7\tuser=user", True),
        (b"OK\t7", True),
        (b"FAIL\t7\tuser=user", False),
        (b"FAIL\t7", False),
        (b"FAIL\t7\tuser=user\tcode=pass_expired", False),
        (b"FAIL\t7\tuser=temp", False),
        (b"FAIL\t7\tuser=user\ttemp", None),
        (b"FAIL\t7\tcode=temp_fail\tuser=user", None),
        (b"OK\t8\tuser=user", None),
        (b"OK\t07", None),
        (b"FAIL\t8", None),
        (b"OK", None),
        (b"ok\t7", None),
        (b"OK 7", None),
        (b"CONT\t7\t", None),
        (b"+OK", None),
        (b"", None),
    ],
)
def test_answers(line: bytes, right: bool | None) -> None:
    if right is not None:
        assert answer(parse_line(line), 7) is right
        return
    with pytest.raises(ScannerError):
        answer(parse_line(line), 7)


@given(st.binary())
def test_nothing_else_is_a_success(line: bytes) -> None:
    try:
        right = answer(parse_line(line), 7)
    except ScannerError:
        return
    assert right == line.startswith(b"OK\t7")
