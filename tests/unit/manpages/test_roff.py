# SPDX-License-Identifier: MIT
"""What becomes of texts in man pages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.manpages.roff import Page, blocks, escape, inline


def body(page: Page) -> str:
    """The lines after the heading NAME."""
    return str(page).split("\\- a test\n", 1)[1]


@pytest.fixture
def page() -> Page:
    return Page("test", 8, "a test", "2.0", "2026-11-22")


def test_head(page: Page) -> None:
    assert page.file_name == "test.8"
    assert str(page).startswith('.TH TEST 8 "2026-11-22" "qpsmtpd 2.0" "qpsmtpd"\n')
    assert str(page).endswith('.SH "NAME"\ntest \\- a test\n')


def test_a_long_title_leaves_no_room_between() -> None:
    assert str(Page("x" * 30, 5, "a test", "2.0")).startswith(
        f'.TH {"X" * 30} 5 "" "qpsmtpd 2.0" "qps'
    )
    assert str(Page("x" * 31, 5, "a test", "2.0")).startswith(
        f'.TH {"X" * 31} 5 "" "qpsmtpd 2.0" ""\n'
    )


def test_escapes() -> None:
    assert escape("a-b\\c") == "a\\-b\\ec"
    assert escape("'^~`\"") == "\\(aq\\(ha\\(ti\\(ga\\(dq"
    assert escape("ü…") == "\\[u00FC]..."


def test_marks() -> None:
    assert inline("say `on-x` or **no**") == "say \\fBon\\-x\\fR or \\fBno\\fR"


def test_marks_over_the_end_of_a_line(page: Page) -> None:
    page.prose("it says `one\ntwo` here")
    assert body(page) == ".PP\nit says \\fBone two\\fR here\n"


def test_sentences_begin_lines(page: Page) -> None:
    page.paragraph("First one. Second 5.7.1. Third, e.g. This")
    assert body(page) == ".PP\nFirst one.\nSecond 5.7.1.\nThird, e.g. This\n"


def test_no_sentence_ends_within_marks(page: Page) -> None:
    page.paragraph("Name `Company, Inc. <news>` it. Or not.")
    assert body(page) == ".PP\nName \\fBCompany, Inc. <news>\\fR it.\nOr not.\n"


def test_tables_have_one_distance(page: Page) -> None:
    page.table({"a": "one", "b": "two"})
    page.paragraph("more")
    assert body(page) == ".TP\n\\fBa\\fR\none\n.PD 0\n.TP\n\\fBb\\fR\ntwo\n.PD\n.PP\nmore\n"


def test_no_distance_after_headings(page: Page) -> None:
    page.heading("More")
    page.paragraph("one")
    page.paragraph("two")
    assert body(page) == '.SH "MORE"\none\n.PP\ntwo\n'


def test_blocks() -> None:
    text = "para\ngraph\n\n    one\n\n      two\n\n- a\n  b\n- c\n\nname: what\n    it is\nother: x"
    assert blocks(text) == [
        "para\ngraph",
        "    one\n\n      two",
        "- a\n  b",
        "- c",
        "name: what\n    it is",
        "other: x",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "It names another\ndestination: a route.",
        "Nobody's opinion is\n451. A plugin\nmay return it.",
        "It has\n- as a sign - in it.",
    ],
)
def test_a_paragraph_is_not_broken_by_what_its_lines_begin_with(text: str) -> None:
    assert blocks(f"Before.\n\n{text}\n\nAfter.") == ["Before.", text, "After."]


def test_an_item_goes_on_until_the_next(page: Page) -> None:
    page.prose("store: what is\nshared\nme: our name")
    assert body(page) == ".TP 4\nstore\nwhat is shared\n.TP 4\nme\nour name\n"


def test_definitions_that_share_a_line(page: Page) -> None:
    page.prose("a: one.  b8, c: two.\n   Three.  Four: x.\nd: `e`.  f: five.")
    assert body(page) == (
        ".TP 4\na\none.\n.TP 4\nb8, c\ntwo.\nThree.\nFour: x.\n"
        ".TP 4\nd\n\\fBe\\fR.\n.TP 4\nf\nfive.\n"
    )


def test_lists_and_examples(page: Page) -> None:
    page.prose("- a\n- b\n\n1. c\n\nname: d\n\n    .e  -f")
    assert body(page) == (
        ".IP \\(bu 4\na\n.IP \\(bu 4\nb\n.IP 1. 4\nc\n.TP 4\nname\nd\n"
        ".PP\n.RS 4\n.nf\n\\&.e  \\-f\n.fi\n.RE\n"
    )


def test_terms(page: Page) -> None:
    page.term("--x", "What it is.\n\nMore.", "A|B")
    assert body(page) == ".TP\n\\fB\\-\\-x\\fR \\fIA|\\:B\\fR\nWhat it is.\n.RS\n.PP\nMore.\n.RE\n"


def test_a_term_without_meaning(page: Page) -> None:
    page.term("x", "")
    assert body(page) == ".TP\n\\fBx\\fR\n\\&\n"


def test_synopsis(page: Page) -> None:
    page.synopsis("qpsmtpd run [--x]")
    assert body(page) == ".PP\n\\fBqpsmtpd\\fR run [\\-\\-x]\n"


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n.'-` "), max_size=200
    )
)
def test_text_never_becomes_a_request(text: str) -> None:
    page = Page("test", 8, "a test", "2.0")
    page.paragraph("begin")
    before = len(str(page))
    page.prose(text)
    requests = re.findall(r"^[.'].*", str(page)[before:], re.MULTILINE)
    assert all(re.fullmatch(r"\.(PP|nf|fi|RE|RS 4|TP 4|IP (\\\(bu|\d+\.) 4)", r) for r in requests)
    assert str(page).isascii()
