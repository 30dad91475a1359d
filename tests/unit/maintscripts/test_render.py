# SPDX-License-Identifier: MIT
"""Tests of render: golden files, and that what is rendered is understood again."""

from __future__ import annotations

import shutil
from pathlib import Path

import jinja2
import pytest

from maintscripts.answers import Answers, settle
from maintscripts.ask import QUESTIONS, Facts, detect, short
from maintscripts.render import TEMPLATES, render
from tests.unit.maintscripts.golden_cases import CASES, GOLDEN, as_text

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    assert as_text(case) == (GOLDEN / f"{case}.txt").read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_files_give_the_answers_back(case: str, tmp_path: Path) -> None:
    """Whoever upgrades keeps what is there: the files are all that `config` needs."""
    answers, noted = settle(*CASES[case])
    for path, text in render(answers).items():
        target = tmp_path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace('UNITS_SWITCHED="false"', 'UNITS_SWITCHED="true"'))
    if answers.wanted:
        link = tmp_path / "etc/systemd/system/multi-user.target.wants/qpsmtpd.service"
        link.parent.mkdir()
        link.symlink_to("/dev/null")
    facts = detect(tmp_path, postconf=lambda *_: "")
    there = "postfix" if answers.inside and answers.wanted else ""
    again, notes = settle(facts.on_disk, Facts(mta=there, qmail_queue=CASES[case][1].qmail_queue))
    assert again == answers
    assert set(notes) <= set(noted)


def test_a_misspelt_field_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file.j2").write_text("{{ metod }}")
    with pytest.raises(jinja2.UndefinedError):
        render(Answers(), tmp_path)


def test_a_file_is_shipped_or_rendered_but_never_both() -> None:
    shipped = {f"/{p.relative_to(CHECKOUT)}" for p in (CHECKOUT / "etc").rglob("*") if p.is_file()}
    assert shipped
    assert not shipped & set(render(Answers()))


def test_nothing_of_another_package_is_rendered() -> None:
    for path in render(Answers()):
        assert path.startswith(("/etc/qpsmtpd/", "/etc/systemd/system/qpsmtpd."))


def test_every_template_is_rendered_by_its_path(tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES, tmp_path / "templates")
    of_files = [p for p in (TEMPLATES / "etc").rglob("*") if p.is_file()]
    assert len(render(Answers())) == len(of_files)


def test_postrm_knows_every_rendered_file() -> None:
    postrm = (CHECKOUT / "debian/qpsmtpd.postrm").read_text()
    assert all(path in postrm for path in render(Answers()))


def test_short_form_in_the_settings() -> None:
    text = render(Answers(listen=(("::1", 2525), ("192.0.2.1", 25))))[
        "/etc/qpsmtpd/debconf-settings"
    ]
    assert 'INTERFACES="[::1]:2525 192.0.2.1"' in text
    assert short(("::1", 25)) == "::1"


def test_question_names_are_templates() -> None:
    templates = (CHECKOUT / "debian/qpsmtpd.templates").read_text()
    for question in QUESTIONS:
        assert f"Template: {question.name}\n" in templates
        assert not question.complaint or f"Template: {question.complaint}\n" in templates
