# SPDX-License-Identifier: MIT
"""vpopmaild: +OK and -ERR, and nothing in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.vpopmaild import is_ok
from qpsmtpd.scanners.wire import ScannerError


@pytest.mark.parametrize("line", [b"+OK", b"+OK+", b"+OK hello"])
def test_yes(line: bytes) -> None:
    assert is_ok(line)


@pytest.mark.parametrize("line", [b"-ERR", b"-ERR 0x0 no"])
def test_no(line: bytes) -> None:
    assert not is_ok(line)


@given(st.binary())
def test_nothing_else_is_a_success(line: bytes) -> None:
    try:
        right = is_ok(line)
    except ScannerError:
        return
    assert right == line.startswith(b"+OK")
