# SPDX-License-Identifier: MIT
"""What the reply of a next hop says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.nexthop.hopreply import HopReply


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (550, "5.1.1 no", "5.1.1"),
        (550, "5.1.1", "5.1.1"),
        (550, "5.1.1no", ""),
        (550, "4.1.1 no", ""),
        (550, "no 5.1.1", ""),
        (250, "2.0.0 Ok", "2.0.0"),
        (354, "3.0.0 x", ""),
        (451, "4.1234.1 x", ""),
    ],
)
def test_status(code: int, text: str, status: str) -> None:
    assert HopReply(code, ("5.9.9 first", text)).status == status


@given(st.text())
def test_queue_id_is_one_printable_word(text: str) -> None:
    word = HopReply(250, (text,)).queue_id
    assert len(word) <= 64
    assert all("!" <= c <= "~" for c in word)


@pytest.mark.parametrize("code", [421, 521])
def test_closing(code: int) -> None:
    assert HopReply(code).closing


def test_text() -> None:
    assert str(HopReply(250, ("a", "b"))) == "250 a / b"
