# SPDX-License-Identifier: MIT
"""saslprep: the examples of RFC 4013 section 3, and what is true of any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.saslprep import MOST, saslprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("pa\u0308ss", "päss"),
        ("\u0627\u0031\u0628", "\u06271\u0628"),
        ("e\U0001f600", "e\U0001f600"),
    ],
)
def test_prepared(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\u0007", "character"),
        ("\u0627\u0031", "both directions"),
        ("\u0627a\u0628", "both directions"),
        ("", "empty"),
        ("\u00ad", "empty"),
        ("\udc80", "character"),
        ("a\ufffdb", "character"),
        ("é" * (MOST + 1), "too long"),
        ("e" * (MOST + 1), "too long"),
    ],
)
def test_what_nobody_may_have(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        saslprep(text)
    assert text == "" or text not in str(caught.value)


@given(st.text(max_size=20))
def test_preparing_twice_changes_nothing(text: str) -> None:
    try:
        prepared = saslprep(text)
    except ValueError:
        return
    assert saslprep(prepared) == prepared
    prepared.encode()
