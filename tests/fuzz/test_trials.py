# SPDX-License-Identifier: MIT
"""An administrator's expression that a stranger can make slow is found before that happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qpsmtpd.commands.check_config import check
from qpsmtpd.lists.patterns import LONGEST, Expression, Pattern, noted_expressions
from qpsmtpd.lists.trials import slow_expressions
from qpsmtpd.mail.domain import Spellings

SLOW = (r"\d.*\d.*\d.*\d.*x@", "(a+)+$", r"^([a-z]+\d*)+@example", "^(.*?,)*(.*?,)*(.*?,)*x$")
HARMLESS = (
    r"^bounce-.*@example\.org$",
    r"^user-\d+@example\.(com|net)$",
    r"@.*\.example\.com$",
    r"^[a-z]+-\d+@",
    r"^([a-z0-9]+[-.])+example$",
)


def expressions(*words: str) -> list[Expression]:
    return [Expression(re.compile(word), f"file:{n}") for n, word in enumerate(words, start=1)]


async def test_slow_expressions_are_told_apart() -> None:
    tried = expressions(*SLOW, *HARMLESS)
    found = dict(await slow_expressions(tried))
    assert [each.pattern.pattern for each in found] == [*SLOW]
    assert found[tried[0]] == "takes more than 50 ms for '000000000000000000000000...'"


async def test_without_repetitions_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent")
    assert await slow_expressions(expressions("^a.*b$", r"[abc]{1,3}\.\w+@x")) == []


async def test_trials_have_an_end() -> None:
    slow = expressions("a.*b.*c")
    assert await slow_expressions(slow, patience=0) == [(slow[0], "could not be tried")]


def test_check_config_warns_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "plugins").write_text("badmailfrom\nrcpt_ok\nqueue/discard\n")
    (tmp_path / "badmailfrom").write_text(f"a@example.com\n{SLOW[0]} no\n^b.*@example$\n")
    problems = [problem for problem in check([tmp_path]) if "badmailfrom" in problem.where]
    assert [(problem.where, problem.severity) for problem in problems] == [
        (f"{tmp_path}/badmailfrom:2", "warning")
    ]
    assert "takes more than 50 ms" in problems[0].text


def test_no_more_than_the_longest_address_is_looked_at() -> None:
    pattern = Pattern("x", "file:1")
    assert pattern.refuses(Spellings(("a" * (LONGEST - 1) + "x",)))
    assert not pattern.refuses(Spellings(("a" * LONGEST + "x",)))
    assert not pattern.admits(Spellings(("a" * LONGEST + "x",)))


def test_only_what_is_compiled_meanwhile_is_noted() -> None:
    Pattern("before", "file:1")
    with noted_expressions() as noted:
        Pattern("/meanwhile/", "file:2")
    Pattern("after", "file:3")
    assert [(each.pattern.pattern, each.where) for each in noted] == [("meanwhile", "file:2")]
