# SPDX-License-Identifier: MIT
"""CVM: what is asked, and what the first octet of the answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.cvm import answer, question
from qpsmtpd.scanners.wire import ScannerError
from tests.unit.logins.test_dovecot import a_login


def test_question() -> None:
    assert question(a_login("u@d", "p w")) == b"\1u\0d\0p w\0\0"
    assert question(a_login("u", "p")) == b"\1u\0localhost\0p\0\0"
    assert question(a_login("u@d@e", "p")) == b"\1u\0d@e\0p\0\0"


@pytest.mark.parametrize("octets", [b"", b"\0", b"\0user", b"\4", b"\1\0", b"OK\0", b"\xff"])
def test_no_answers(octets: bytes) -> None:
    with pytest.raises(ScannerError):
        answer(octets)


@given(st.binary())
def test_nothing_else_is_a_success(octets: bytes) -> None:
    try:
        right = answer(octets)
    except ScannerError:
        return
    assert right == octets.startswith(b"\0")
