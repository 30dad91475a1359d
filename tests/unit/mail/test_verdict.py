# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/mail/verdict.py."""

from __future__ import annotations

import pytest

from qpsmtpd.mail.verdict import (
    VERDICT_WORDS,
    Decision,
    Verdict,
    accept,
    defer,
    deny,
    verdict_from_word,
)


def test_only_accept_accepts() -> None:
    assert accept().accepted
    assert not deny().accepted
    assert not defer().accepted


def test_makers_pass_everything_on() -> None:
    assert accept("yes", status="2.1.5") == Verdict(Decision.ACCEPT, "yes", "2.1.5")
    assert deny("no", status="5.7.1", disconnect=True, code=521) == Verdict(
        Decision.DENY, "no", "5.7.1", True, 521
    )
    assert defer("later", status="4.7.1", disconnect=True, code=421) == Verdict(
        Decision.DEFER, "later", "4.7.1", True, 421
    )


@pytest.mark.parametrize(
    ("word", "verdict"),
    [
        ("DECLINED", None),
        ("OK", accept("text")),
        ("DENY", deny("text")),
        ("DENYSOFT", defer("text")),
        ("DENYHARD", deny("text", disconnect=True)),
        ("DENY_DISCONNECT", deny("text", disconnect=True)),
        ("DENYSOFT_DISCONNECT", defer("text", disconnect=True)),
    ],
)
def test_words_of_the_perl_version(word: str, verdict: Verdict | None) -> None:
    assert verdict_from_word(word, "text") == verdict
    assert word in VERDICT_WORDS


@pytest.mark.parametrize("word", ["", "deny", "DENY ", "ACCEPT", "DONE"])
def test_other_words(word: str) -> None:
    with pytest.raises(ValueError, match="is not one of DECLINED, OK, DENY"):
        verdict_from_word(word)
