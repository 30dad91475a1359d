# SPDX-License-Identifier: MIT
"""Verifier: what others have written is read, and so is our own; only its password fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.verifier import Verifier, make_verifier, parse_verifier

#: Of the password "pencil": the example of RFC 7677 section 3, in the form of PostgreSQL.
EXAMPLE = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
KEY = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="


def test_the_example() -> None:
    verifier = parse_verifier(EXAMPLE)
    assert str(verifier) == EXAMPLE
    assert verifier.matches("pencil")
    assert verifier.matches("pen\u00adcil")
    for wrong in ("Pencil", "pencil ", "", "\x07", "p" * 3000):
        assert not verifier.matches(wrong)


def test_nothing_shows_the_keys() -> None:
    assert "stored_key" not in repr(parse_verifier(EXAMPLE))


def test_salts_differ() -> None:
    made = [make_verifier("secret", iterations=4096) for _ in range(2)]
    assert made[0].salt != made[1].salt
    assert all(each.matches("secret") for each in made)


@given(
    st.integers(4096, 1_000_000),
    st.binary(min_size=1, max_size=64),
    *(st.binary(min_size=32, max_size=32) for _ in range(2)),
)
def test_what_is_written_is_read(iterations: int, salt: bytes, one: bytes, other: bytes) -> None:
    verifier = Verifier(iterations, salt, one, other)
    assert parse_verifier(str(verifier)) == verifier


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (EXAMPLE + "x", "ITERATIONS:SALT"),
        (EXAMPLE.replace("-256", "-1"), "ITERATIONS:SALT"),
        (EXAMPLE.replace("4096", "4095"), "4096 to 1000000"),
        (EXAMPLE.replace("4096", "1000001"), "4096 to 1000000"),
        (EXAMPLE.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "W22Za"), "base64"),
        (EXAMPLE.replace(KEY, "A" * 44), "32 octets"),
        ("", "ITERATIONS:SALT"),
    ],
)
def test_what_is_not_one(text: str, right: str) -> None:
    with pytest.raises(ValueError, match=right):
        parse_verifier(text)
