# SPDX-License-Identifier: MIT
"""Which answers of a DNS list count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.listcodes import is_among, read_codes


@given(st.text(st.sampled_from("0127.[];"), max_size=20))
def test_codes_are_right_or_wrong(text: str) -> None:
    try:
        codes = read_codes(text, "here")
    except ConfigError:
        return
    assert len(codes) == 4
    assert all(numbers and numbers <= set(range(256)) for numbers in codes)


@pytest.mark.parametrize(
    ("answer", "expected"), [("127.0.1.2", True), ("127.0.1.9", False), ("127.0.0.2", False)]
)
def test_which_are_among_them(answer: str, expected: bool) -> None:
    assert is_among(answer, read_codes("127.0.1.[2;4..6]", "here")) is expected
