# SPDX-License-Identifier: MIT
"""Text is cut and cleaned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.text import printable_ascii


@pytest.mark.parametrize(
    ("text", "length", "clean"),
    [
        ("", None, ""),
        (" a ~", None, " a ~"),
        ("a\r\nb\tc\x7f", None, "a??b?c?"),
        ("sp\u00e4m", None, "sp?m"),
        ("sp\u00e4m", 2, "sp"),
        ("\udcff", None, "?"),
    ],
)
def test_examples(text: str, length: int | None, clean: str) -> None:
    assert printable_ascii(text, length) == clean


@given(st.text() | st.text(alphabet=st.characters()), st.none() | st.integers(0, 10))
def test_any_text(text: str, length: int | None) -> None:
    clean = printable_ascii(text, length)
    assert len(clean) == len(text[:length])
    assert clean.isascii()
    assert clean.isprintable()
