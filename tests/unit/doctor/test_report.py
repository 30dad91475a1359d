# SPDX-License-Identifier: MIT
"""Report: for people, for programs, and the exit status."""

from __future__ import annotations

import io
import json

import pytest

from qpsmtpd.doctor.report import errors_in, exit_status, json_report, summary, text_report
from qpsmtpd.plugin.finding import Finding

FINE = Finding.ok("a", "is fine")
WRONG = Finding.error("b", "is wrong", "Mend it:", "mend b", "restart b")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "findings, expected",
    [
        ([], 0),
        ([FINE], 0),
        ([FINE, Finding.notice("c", "x")], 0),
        ([Finding.warning("d", "x"), FINE], 1),
        ([Finding.warning("d", "x"), WRONG], 2),
    ],
)
def test_exit_status(findings: list[Finding], expected: int) -> None:
    assert exit_status({"A": [], "B": findings}) == expected


def test_text() -> None:
    lines = list(text_report(io.StringIO(), {"First": [FINE, WRONG], "Empty": []}))
    assert lines == [
        "First",
        "  ok      a: is fine",
        "  error   b: is wrong",
        "          Mend it:",
        "            mend b",
        "            restart b",
        "",
        "1 error, 0 warnings",
    ]


def test_errors_alone() -> None:
    findings = errors_in({"First": [FINE, WRONG, Finding.warning("d", "x")], "Second": [FINE]})
    assert findings == {"First": [WRONG], "Second": []}
    assert exit_status(findings) == 2


def test_commands_are_never_wrapped() -> None:
    """They are to be copied."""
    command = "x " * 100
    lines = list(text_report(io.StringIO(), {"A": [Finding.error("b", "word " * 50, "", command)]}))
    assert f"            {command}" in lines
    assert max(map(len, lines[:-3])) <= 88


def test_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = "\n".join(text_report(Terminal(), {"A": [WRONG]}))
    assert "\033[1;31merror\033[0m   b: is wrong" in text


def test_summary() -> None:
    assert summary({"A": [WRONG, WRONG], "B": [Finding.warning("x", "y")]}) == "2 errors, 1 warning"


def test_json() -> None:
    report = json.loads(json_report({"First": [FINE], "Second": [WRONG]}))
    assert report["status"] == 2
    assert report["findings"] == [
        {
            "area": "First",
            "severity": "ok",
            "subject": "a",
            "text": "is fine",
            "advice": "",
            "commands": [],
        },
        {
            "area": "Second",
            "severity": "error",
            "subject": "b",
            "text": "is wrong",
            "advice": "Mend it:",
            "commands": ["mend b", "restart b"],
        },
    ]
