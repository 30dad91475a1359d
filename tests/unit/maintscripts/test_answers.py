# SPDX-License-Identifier: MIT
"""Tests of answers: what cannot be used is replaced by what is safe, and said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintscripts.answers import Answers, settle
from maintscripts.ask import (
    INTEGRATION,
    LISTEN,
    MAILDIR,
    METHOD,
    METHODS,
    PROXY,
    QUESTIONS,
    RCPTHOSTS,
    STARTUP,
    Facts,
    usable_directory,
)
from maintscripts.render import render

POSTFIX = Facts(mta="postfix", local_domains={"postfix": ("example.com",)})


def test_nothing_answered_nothing_there() -> None:
    answers, notes = settle({}, Facts())
    assert answers == Answers()
    assert notes == []
    assert not answers.wanted


def test_what_is_installed_fills_in() -> None:
    answers, _ = settle({METHOD: "", RCPTHOSTS: "unset"}, POSTFIX)
    assert (answers.method, answers.rcpthosts) == ("postfix", ("example.com",))


def test_an_empty_answer_is_an_answer() -> None:
    assert settle({RCPTHOSTS: "", LISTEN: ""}, POSTFIX)[0].rcpthosts == ()


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({LISTEN: "eth0 192.0.2.1"}, "listen", (("192.0.2.1", 25),)),
        ({LISTEN: "eth0"}, "listen", (("127.0.0.1", 25),)),
        ({METHOD: "sendmail"}, "method", "postfix"),
        ({INTEGRATION: "beside"}, "inside", False),
        ({METHOD: "proxy", PROXY: "a b c"}, "method", "none"),
        ({METHOD: "maildir", MAILDIR: "Maildir"}, "method", "none"),
        ({RCPTHOSTS: "* example.net"}, "rcpthosts", ("example.net",)),
        ({RCPTHOSTS: "$mydestination"}, "rcpthosts", ("example.com",)),
    ],
)
def test_unusable_answers(values: dict[str, str], field: str, expected: object) -> None:
    answers, notes = settle(values, POSTFIX)
    assert getattr(answers, field) == expected
    assert notes


def test_unusable_answers_that_do_not_matter_are_silent() -> None:
    answers, notes = settle({METHOD: "postfix", MAILDIR: "x", PROXY: "a b c"}, Facts())
    assert (answers.method, notes) == ("postfix", [])


def test_words_that_were_dropped_from_the_file_are_named() -> None:
    _, notes = settle({}, Facts(dropped=("$myhostname",)))
    assert "'$myhostname'" in notes[0]


@pytest.mark.parametrize(
    ("listen", "proxy", "loops"),
    [
        ("", "", True),
        ("", "127.0.0.1:26", False),
        ("192.0.2.1", "localhost", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("::1", "localhost", True),
        ("", "mail.example.com", False),
    ],
)
def test_mail_that_would_come_back(listen: str, proxy: str, loops: bool) -> None:
    answers, notes = settle({METHOD: "proxy", LISTEN: listen, PROXY: proxy}, Facts())
    assert answers.method == "proxy"
    assert bool(notes) == loops


@pytest.mark.parametrize(
    ("method", "mta", "expected"),
    [
        ("", "postfix", "postfix"),
        ("none", "postfix", "postfix"),
        ("maildir", "postfix", "maildir"),
        ("", "exim", "none"),
        ("exim", "exim", "none"),
        ("postfix", "", "none"),
    ],
)
def test_inside_postfix_a_method_is_kept_and_without_postfix_nothing_starts(
    method: str, mta: str, expected: str
) -> None:
    values = {STARTUP: "true", INTEGRATION: "inside", METHOD: method, LISTEN: "192.0.2.1"}
    answers, notes = settle(values, Facts(mta=mta))
    assert (answers.inside, answers.method, notes) == (True, expected, [])
    assert answers.wanted == (mta == "postfix")
    assert answers.listen == (("192.0.2.1", 25),)


def test_inside_no_mail_can_come_back() -> None:
    values = {INTEGRATION: "inside", METHOD: "proxy", LISTEN: "", PROXY: ""}
    assert settle(values, Facts(mta="postfix"))[1] == []


def test_wanted() -> None:
    assert Answers(startup_enabled=True, method="exim").wanted
    assert not Answers(startup_enabled=True, method="none").wanted
    assert not Answers(startup_enabled=False, method="exim").wanted


_WORDS = st.lists(
    st.sampled_from(["192.0.2.1", "::1", "example.com", "$x", '"', "unset", "/a", "ü"])
)
_VALUES = st.fixed_dictionaries(
    {}, optional={q.name: st.text() | _WORDS.map(" ".join) for q in QUESTIONS}
)


@given(_VALUES, st.sampled_from([Facts(), POSTFIX]))
def test_whatever_is_answered_the_files_are_sound(values: dict[str, str], facts: Facts) -> None:
    answers, _ = settle(values, facts)
    assert answers.method in METHODS
    assert usable_directory(answers.maildir)
    assert values.get(STARTUP) == "true" or not answers.wanted
    settings = render(answers)["/etc/qpsmtpd/debconf-settings"].splitlines()
    assert all(line.count('"') in (0, 2) for line in settings if not line.startswith("#"))
