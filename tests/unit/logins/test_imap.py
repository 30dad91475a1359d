# SPDX-License-Identifier: MIT
"""IMAP: which lines end a response, and what they say about a password."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.imap import is_right, parse_status
from qpsmtpd.scanners.wire import ScannerError


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (b"c OK", True),
        (b"c OK Logged in", True),
        (b"c ok [CAPABILITY IMAP4rev1] Logged in", True),
        (b"c NO", False),
        (b"c NO Login failed.", False),
        (b"c NO [AUTHENTICATIONFAILED] Authentication failed.", False),
        (b"c NO [ALERT] Invalid credentials (Failure)", False),
        (b"c NO [EXPIRED] x", False),
        (b"c NO [UNAVAILABLE] Temporary authentication failure.", None),
        (b"c no [serverbug] x", None),
        (b"c NO [PRIVACYREQUIRED] x", None),
        (b"c BAD x", None),
        (b"b OK", None),
        (b"C OK", None),
        (b"c OKAY", None),
        (b"c", None),
        (b"+ go on", None),
        (b"* OK", None),
        (b"", None),
    ],
)
def test_status(line: bytes, right: bool | None) -> None:
    if right is not None:
        assert is_right(parse_status(line, b"c")) is right
        return
    with pytest.raises(ScannerError):
        is_right(parse_status(line, b"c"))


@given(st.binary())
def test_nothing_else_is_a_success(line: bytes) -> None:
    try:
        right = is_right(parse_status(line, b"c"))
    except ScannerError:
        return
    assert right == line.upper().startswith(b"C OK")
