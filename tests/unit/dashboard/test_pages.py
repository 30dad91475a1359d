# SPDX-License-Identifier: MIT
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from qpsmtpd.terminal import shown
from tests.unit.dashboard.examples import PAGES, Reader
from tests.unit.decisions.examples import a_decision

ERROR = {"root": "./", "pages": {}, "here": "", "version": "1", "title": "T", "code": 404}


@given(st.text())
def test_any_text_is_shown_as_it_is(text: str) -> None:
    page = PAGES.render("error.html", {**ERROR, "text": text})
    assert " ".join(shown(text).split()) in Reader(page).text


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        PAGES.render("error.html", ERROR)


def rendered(expression: str, value: float) -> str:
    pages = PAGES
    return pages._environment.from_string(f"{{{{ value|{expression} }}}}").render(value=value)


@pytest.mark.parametrize(
    ("expression", "value", "text"),
    [
        ("count", 1234567, "1\u202f234\u202f567"),
        ("count", 0, "0"),
        ("size", 999, "999 bytes"),
        ("size", 4711, "4.7 kB"),
        ("size", 32_000_000, "32.0 MB"),
        ("size", 5e9, "5.0 GB"),
        ("wait", 0, "0"),
        ("wait", 0.0004, "&lt;1 ms"),
        ("wait", 0.4, "400 ms"),
        ("wait", 12.34, "12.3 s"),
        ("ticks", 12.3456, "123456"),
    ],
)
def test_numbers(expression: str, value: float, text: str) -> None:
    assert rendered(expression, value) == text


def test_days_have_their_decisions() -> None:
    pages = PAGES
    decisions = [a_decision(number * 86400) for number in (3, 3, 2, 1)]
    groups = pages._environment.filters["by_day"](decisions)
    assert [len(group) for _, group in groups] == [2, 1, 1]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("say `reject 0` or `a<b`", "say <code>reject 0</code> or <code>a&lt;b</code>"),
        ("one ` alone <", "one ` alone &lt;"),
        ("\x1b`\x1b`", "\\x1b<code>\\x1b</code>"),
    ],
)
def test_words_of_files_are_set_apart(text: str, html: str) -> None:
    assert str(PAGES._environment.filters["with_code"](text)) == html
