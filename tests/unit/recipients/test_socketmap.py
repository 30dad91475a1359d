# SPDX-License-Identifier: MIT
"""socketmap: what is asked, and what replies mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.recipients import socketmap
from qpsmtpd.scanners import ScannerError


@pytest.mark.parametrize(
    ("reply", "known"),
    [(b"OK x@y", True), (b"OK ", True), (b"OK", True), (b"NOTFOUND ", False), (b"NOTFOUND", False)],
)
def test_replies(reply: bytes, known: bool) -> None:
    assert socketmap.parse_reply(reply) is known


@pytest.mark.parametrize(
    "reply",
    [b"TEMP try later", b"TIMEOUT", b"PERM no such map\x1b[0m", b"", b"ok x", b"OKAY x", b"NO"],
)
def test_what_is_neither_yes_nor_no(reply: bytes) -> None:
    with pytest.raises(ScannerError) as caught:
        socketmap.parse_reply(reply)
    assert str(caught.value).isprintable()


@given(st.binary())
def test_only_a_clear_reply_counts(octets: bytes) -> None:
    try:
        known = socketmap.parse_reply(octets)
    except ScannerError:
        return
    assert octets.split(b" ")[0] == (b"OK" if known else b"NOTFOUND")


@given(st.binary(max_size=50))
def test_lengths(octets: bytes) -> None:
    encoded = socketmap.netstring(octets)
    length, _, rest = encoded.partition(b":")
    assert rest == octets + b","
    assert socketmap.parse_length(length) == len(octets)


@pytest.mark.parametrize("octets", [b"", b"-1", b"01", b"1 ", b"a", b"1_0", b"100001", b"9" * 30])
def test_wrong_lengths(octets: bytes) -> None:
    with pytest.raises(ScannerError):
        socketmap.parse_length(octets)
