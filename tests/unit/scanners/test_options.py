# SPDX-License-Identifier: MIT
"""Old forms of options, and what becomes of a message that is not scanned."""

from __future__ import annotations

import logging

import pytest

from qpsmtpd.api import Decision
from qpsmtpd.scanners.options import ScannerOptions, is_false, replace_words, unscanned
from qpsmtpd.scanners.wire import ScannerError

LOG = logging.getLogger("qpsmtpd.plugins.scanner")


@pytest.mark.parametrize(
    ("line", "replaced"),
    [
        ("", ""),
        ("a b old 1 c", "a b new 1! c"),
        ("old=1", "new 1!"),
        ("OLD= x", "new ! x"),
        ("a old", "a old"),
        ("older 1 x=old", "older 1 x=old"),
    ],
)
def test_words(line: str, replaced: str) -> None:
    words = replace_words(line.split(), "old", lambda value: ["new", f"{value}!"])
    assert " ".join(words) == replaced


@pytest.mark.parametrize(("word", "false"), [("0", True), ("No", True), ("1", False), ("x", False)])
def test_what_is_false(word: str, false: bool) -> None:
    assert is_false(word) == false


def test_unscanned(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    error = ScannerError("it hurts")
    verdict = unscanned(ScannerOptions(), LOG, error)
    assert verdict is not None
    assert (verdict.decision, verdict.code, verdict.status) == (Decision.DEFER, 451, "4.3.0")
    assert verdict.reason == "not scanned: it hurts"
    assert "hurts" not in verdict.text
    assert unscanned(ScannerOptions(on_error="pass"), LOG, error) is None
    assert caplog.messages == ["passed unscanned: it hurts"]
