# SPDX-License-Identifier: MIT
"""Examination: between processes, and what cannot be believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.doctor.examination import AREAS, Examination, text_of
from qpsmtpd.doctor.examine import AREAS as HEADINGS
from qpsmtpd.plugin.finding import Finding

GOOD = [["queue"], [[3, "subject", "text", "advice", ["command"], "DNS"]]]


def test_there_and_back() -> None:
    findings = (
        Finding.ok("a", "b", area="DNS"),
        Finding.error("c", "d", "e", "f", "g", area="Next hops"),
    )
    examination = Examination("x:1", ("rcpt", "queue"), findings)
    words = json.loads(json.dumps(examination.words()))
    assert Examination.of("x:1", words) == examination


@pytest.mark.parametrize(
    "words",
    [
        *("x", 7, [], [[], []][:1], [["queue"], [[]]], [[7], []], {"a": 1}),
        *([[], [[9, "s", "t", "a", [], "DNS"]]], [[], [[0, "s", "t", "a", [], "Units"]]]),
        *([[], [[0, "s", 7, "a", [], "DNS"]]], [[], [[0, "s", "t", "a", [7], "DNS"]]]),
        *([[], [[0, "s", "t", "a", "xy", "DNS"]]], [[], [[0, "s", "t", "a", [], ["DNS"]]]]),
    ],
)
def test_nonsense(words: Any) -> None:
    with pytest.raises(ValueError, match="not a"):
        Examination.of("x", words)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=10))
def test_any_words(words: Any) -> None:
    for value in (words, [[], [words]], [words, []], [[], [[0, "s", words, "a", [], "DNS"]]]):
        try:
            examination = Examination.of("x", value)
        except ValueError:
            continue
        assert all(finding.text.isprintable() for finding in examination.findings)


def test_a_text_cannot_steer_the_terminal_of_root() -> None:
    assert text_of("a\x1b[2Jb\nc\u202ed") == "a?[2Jb c?d"
    words: Any = [[], [[3, "\x1b]0;", "\x07", "\r", ["echo \x1b"], "DNS"]]]
    (finding,) = Examination.of("x", words).findings
    assert (finding.subject, finding.text, finding.advice) == ("?]0;", "?", " ")
    assert finding.commands == ("echo ?",)


def test_every_area_is_a_heading_of_the_report() -> None:
    assert set(AREAS) <= set(HEADINGS)
