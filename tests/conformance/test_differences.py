# SPDX-License-Identifier: MIT
"""The lists of differences themselves: they are read right, and every line of them is tested."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.cases import CASES
from tests.conformance.differences import PERL, POSTFIX, Difference, complaints, read_differences
from tests.conformance.postfix_dialogues import DIALOGUES

ONE = Difference("case: dialogue", "MAIL FROM:<a@b>", "2xx", "5xx")
OTHER = Difference("case: dialogue", "QUIT", "closed", "2xx")

cells = st.text(sorted({*string.printable} - {*"`|", *string.whitespace} | {" "}))


def test_a_difference_is_read_with_its_section() -> None:
    text = f"# Title\n\n## first-one\n\nWhy.\n\n| dialogue | step | Perl | here |\n{ONE}\n"
    assert read_differences(text) == {ONE: "first-one"}


@given(st.builds(Difference, cells, cells, cells, cells))
def test_a_difference_is_read_as_it_is_printed(difference: Difference) -> None:
    assert read_differences(f"## id\n{difference}") == {difference: "id"}


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE}",
        f"## one\n{ONE}\n## two\n{ONE}",
        "## id\n| dialogue | step | 2xx | 5xx |",
        "## id\n| `dialogue` | `step` | `2xx` |",
    ],
    ids=["no section", "twice", "no code", "too few"],
)
def test_a_wrong_list_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        read_differences(text)


def test_a_difference_must_be_listed() -> None:
    assert list(complaints({ONE: "id"}, {ONE, OTHER})) == [f"not listed: {OTHER}"]


def test_a_listed_difference_must_be_one() -> None:
    assert list(complaints({ONE: "id", OTHER: "id"}, {OTHER})) == [
        f"listed as id, but not so: {ONE}"
    ]


def test_every_listed_difference_is_tested() -> None:
    tested = {f"{case.name}: start" for case in CASES}
    tested |= {f"{case.name}: {dialogue.name}" for case in CASES for dialogue in case.dialogues}
    assert {difference.dialogue for difference in read_differences(PERL.read_text())} <= tested
    tested = {dialogue.name for dialogue in DIALOGUES}
    assert {difference.dialogue for difference in read_differences(POSTFIX.read_text())} <= tested


def test_names_tell_cases_and_dialogues_apart() -> None:
    for names in (
        [case.name for case in CASES],
        *([dialogue.name for dialogue in case.dialogues] for case in CASES),
        [dialogue.name for dialogue in DIALOGUES],
    ):
        assert len(names) == len(set(names))


@pytest.mark.parametrize(("file", "whose"), [(PERL, "Perl"), (POSTFIX, "Postfix")])
def test_every_section_gives_a_reason(file: Path, whose: str) -> None:
    sections = re.split(r"^## ", file.read_text(), flags=re.MULTILINE)[1:]
    for section in sections:
        _, reason, table = section.split("\n\n", 2)
        assert reason.endswith((".", ".)")), section
        assert table.startswith(f"| dialogue | step | {whose} | here |"), section
