# SPDX-License-Identifier: MIT
"""Canonical forms: RFC 6376 section 3.4, wherever blocks end, with next to nothing held back."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mailauth.canonical import BodyHash, relaxed_field
from tests.unit.mailauth.signing import canonical_body
from tests.unit.mailauth.signing import relaxed_field as reference_field

Form = Literal["simple", "relaxed"]
BODIES = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"\r\n\r\n", b"  ", b"text", b" \r\n"]),
    max_size=40,
).map(b"".join)


def of(body: bytes, form: Form, size: int = 1 << 20, limit: int | None = None) -> tuple[str, int]:
    """The hash, made of blocks of this size, and the length of the canonical form."""
    made = BodyHash(form, (limit, None))
    for start in range(0, len(body), size):
        made.update(body[start : start + size])
    return made.digest(limit).hex(), made.length


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("body", "form", "canonical"),
    [
        # RFC 6376 section 3.4.5
        (b" C \r\nD \t E\r\n\r\n\r\n", "relaxed", b" C\r\nD E\r\n"),
        (b" C \r\nD \t E\r\n\r\n\r\n", "simple", b" C \r\nD \t E\r\n"),
        (b"", "simple", b"\r\n"),
        (b"", "relaxed", b""),
        (b"\r\n\r\n", "simple", b"\r\n"),
        (b"\r\n\r\n", "relaxed", b""),
        (b" \t\r\n \r\n", "relaxed", b""),
        (b" \t\r\n", "simple", b" \t\r\n"),
        (b"no end", "simple", b"no end\r\n"),
        (b"no end \t", "relaxed", b"no end\r\n"),
        (b"a\r\n\r\n\r\nb\r\n", "relaxed", b"a\r\n\r\n\r\nb\r\n"),
        (b"a \r\n \r\n b", "relaxed", b"a\r\n\r\n b\r\n"),
        (b"a\x0b \x0cb \xe9\r\n", "relaxed", b"a\x0b \x0cb \xe9\r\n"),
        (
            b"a\r\n" * 3 + b"\r\n" * 10000 + b"b",
            "simple",
            b"a\r\n" * 3 + b"\r\n" * 10000 + b"b\r\n",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1 << 20])
def test_bodies(body: bytes, form: Form, canonical: bytes, size: int) -> None:
    assert of(body, form, size) == (sha256(canonical), len(canonical))


@given(BODIES, st.sampled_from(["simple", "relaxed"]), st.lists(st.integers(0, 60), max_size=6))
def test_blocks_may_end_anywhere(body: bytes, form: Form, cuts: list[int]) -> None:
    made = BodyHash(form)
    places = [0, *sorted(cuts), len(body)]
    for start, end in pairwise(places):
        made.update(body[start : max(start, end)])
    assert made.digest().hex() == sha256(canonical_body(body, form))


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 5, 6, 7, 8, 9, 500])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_limits(limit: int, size: int) -> None:
    body, canonical = b"ab  \r\n\r\nc\r\n\r\n", b"ab\r\n\r\nc\r\n"
    assert of(body, "relaxed", size, limit) == (sha256(canonical[:limit]), len(canonical))
    several = BodyHash("relaxed", (limit, None, 2))
    several.update(body)
    assert several.digest(2).hex() == sha256(b"ab")
    assert several.digest().hex() == sha256(canonical)


@pytest.mark.parametrize(
    ("raw", "relaxed"),
    [
        # RFC 6376 section 3.4.5
        (b"A: X\r\n", b"a:X\r\n"),
        (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
        (b"Subject:\r\n", b"subject:\r\n"),
        (b"Subject:\r\n \r\n", b"subject:\r\n"),
        (b"X-Y \t :\t a:b  c\r\n\t\r\n d\r\n", b"x-y:a:b c d\r\n"),
        (b"A: \x0b x  \x0c \r\n", b"a:\x0b x \x0c\r\n"),
        (b"A: \xc3\xa9  \xff\r\n", b"a:\xc3\xa9 \xff\r\n"),
    ],
)
def test_fields(raw: bytes, relaxed: bytes) -> None:
    assert relaxed_field(raw) == relaxed == reference_field(raw)


# --- the work is in proportion to the text ------------------------------------------------------


class Counted(BodyHash):
    """Counts the octets that are hashed, and those of the blocks with what was held back."""

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.most_held = 0

    def update(self, block: bytes) -> None:
        super().update(block)
        self.most_held = max(self.most_held, len(self._begun))


@pytest.mark.parametrize("form", ["simple", "relaxed"])
@pytest.mark.parametrize("unit", [b"\r\n", b" ", b"\t", b" \t", b" \r\n", b"\r\n \t", b"x "])
def test_next_to_nothing_is_held_back(form: Form, unit: bytes) -> None:
    counted = Counted(form)
    for _ in range(200):
        counted.update(unit * 500)
    assert counted.most_held <= 2
    assert counted.length <= 200 * 500 * len(unit)
    assert counted.digest().hex() == sha256(canonical_body(unit * 100_000, form))
