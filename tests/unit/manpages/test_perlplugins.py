# SPDX-License-Identifier: MIT
"""What has become of the plugins of the Perl version."""

from __future__ import annotations

import inspect
import re
import sys

import pytest

from qpsmtpd.config.absent import ABSENT
from qpsmtpd.config.names import PERL_PLUGINS
from qpsmtpd.config.pluginfinder import shipped_plugins
from qpsmtpd.manpages.commandpages import commands
from qpsmtpd.manpages.perlplugins import MOST, PROGRAMS, difference, fates

FATES = fates()


def test_each_of_the_79_has_one() -> None:
    assert set(FATES) == PERL_PLUGINS
    assert len(FATES) == 79


@pytest.mark.parametrize("name", FATES)
def test_the_status_is_what_is_so(name: str) -> None:
    status, text = FATES[name]
    if name not in shipped_plugins():
        assert (status == "idle") == (ABSENT[name].loss == "idle")
        assert (status == "built in") == (name == "stunnel")
        assert text == ABSENT[name].stands_in
        return
    cls = shipped_plugins()[name]
    manual = inspect.getdoc(sys.modules[cls.__module__]) or ""
    told = "ifferences from the Perl version" in manual
    does_nothing = name in {"dspam", "virus/klez_filter"}
    assert status == ("idle" if does_nothing else "differs" if told else "same")
    assert bool(text) == (status != "same")


@pytest.mark.parametrize("name", FATES)
def test_it_is_one_line(name: str) -> None:
    text = FATES[name].text
    assert "\n" not in text
    assert len(text) <= MOST + len("; and more")
    assert text.count("`") % 2 == 0
    assert text.count("(") == text.count(")")


@pytest.mark.parametrize("text", PROGRAMS.values())
def test_programs_that_do_it_now(text: str) -> None:
    command = re.findall(r"`qpsmtpd ([-a-z]+)(?: (--[a-z]+)[^`]*)?`", text)
    ((name, option),) = command
    assert option in commands()[name].format_help()


BEGINNING = "x: does it.\n\nDifferences from the Perl version: "


@pytest.mark.parametrize(
    ("manual", "text"),
    [
        ("x: does it.\n", ""),
        (f"{BEGINNING}a\nb.\n\nMore", "a b"),
        (f"{BEGINNING}up to 1.0 it failed. Now not.", "up to 1.0 it failed; and more"),
        (f"{BEGINNING}{'ab, ' * 50}c.", "ab, " * 39 + "ab; and more"),
    ],
)
def test_difference(manual: str, text: str) -> None:
    assert difference(manual) == text
