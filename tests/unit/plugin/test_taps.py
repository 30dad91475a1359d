# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/plugin/taps.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qpsmtpd.mail.session import Tap
from qpsmtpd.plugin.taps import Taps


def raises(error: BaseException) -> Callable[[bytes], None]:
    def listen(_block: bytes) -> None:
        raise error

    return listen


@pytest.mark.parametrize(
    ("blocks", "heard"),
    [
        ([b"\r\n", b"a\r\n", b"\r\nb\r\n"], [b"a\r\n", b"\r\nb\r\n"]),
        ([b"\r\n\r\na\r\n", b"b"], [b"\r\na\r\n", b"b"]),
        ([b"\r\n"], []),
        ([], []),
    ],
)
def test_all_hear_the_body_without_the_empty_line(blocks: list[bytes], heard: list[bytes]) -> None:
    one: list[bytes] = []
    other: list[bytes] = []
    taps = Taps([Tap("a", one.append), Tap("b", other.append)])
    for block in blocks:
        taps.listen(block)
    assert one == other == heard
    assert taps.faults == []


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1)])
def test_one_that_fails_hears_no_more(error: BaseException) -> None:
    heard: list[bytes] = []
    taps = Taps([Tap("broken", raises(error)), Tap("sound", heard.append)])
    for block in (b"\r\na", b"b"):
        taps.listen(block)
    assert heard == [b"a", b"b"]
    assert taps.faults == [("broken", error)]


def test_what_is_not_a_fault_goes_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        Taps([Tap("a", raises(KeyboardInterrupt()))]).listen(b"\r\na")
