# SPDX-License-Identifier: MIT
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.plugin.base import HOOK_METHODS
from qpsmtpd.workshop.loading import problems_of
from qpsmtpd.workshop.runner import run_tests
from qpsmtpd.workshop.scaffold import scaffold

HOOKS = [method.removeprefix("hook_") for method in HOOK_METHODS]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook(hook: str, tmp_path: Path) -> None:
    plugin, test = scaffold(f"my_{hook}", [hook]).write(tmp_path)
    assert problems_of(plugin) == []
    assert [result.fault for result in run_tests(test)] in ([""], ["", "", ""])


def test_all_hooks_at_once(tmp_path: Path) -> None:
    plugin, test = scaffold("everything", HOOKS).write(tmp_path)
    assert problems_of(plugin, ["refuse", "1"]) == []
    results = list(run_tests(test))
    assert len(results) > 30
    assert not [result for result in results if result.fault]


def test_what_is_written_is_well_formed(tmp_path: Path) -> None:
    """By the rules of this project itself, line lengths and types among them."""
    scaffold("well_formed", HOOKS).write(tmp_path)
    words = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "E,F,I,UP,W,RUF"]
    words += ["--line-length", "100", "--target-version", "py311", str(tmp_path)]
    subprocess.run(words, check=True, cwd=tmp_path, env={**os.environ, "RUFF_NO_CACHE": "1"})
    words = [sys.executable, "-m", "ruff", "format", "--no-cache", "--line-length", "100"]
    subprocess.run([*words, "--check", str(tmp_path)], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    "name",
    *[["", "Quiet", "9lives", "a-b", "a/b", "../x", "a b", "class", "é", "x" * 41, "a.b", "_a"]],
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(QpsmtpdError, match="is not a name for a plugin"):
        scaffold(name, [])


@pytest.mark.parametrize("name", ["dnsbl", "check_earlytalker", "stunnel", "clamav"])
def test_names_that_are_taken(name: str) -> None:
    with pytest.raises(QpsmtpdError, match="choose another"):
        scaffold(name, [])


@pytest.mark.parametrize(
    ("hook", "hint"), [("rcp", "did you mean rcpt"), ("nothing_like_it", "there are logging, ")]
)
def test_hooks_that_are_not(hook: str, hint: str) -> None:
    with pytest.raises(QpsmtpdError, match=hint):
        scaffold("quiet", [hook])


def test_hooks_may_have_their_prefix_and_come_twice() -> None:
    assert scaffold("quiet", ["hook_mail", "mail"]) == scaffold("quiet", ["mail"])


def test_names_of_the_interface_stay_free() -> None:
    assert "class VerdictPlugin(Plugin[Options])" in scaffold("verdict", []).plugin


@pytest.mark.parametrize("there", ["quiet.py", "quiet_test.py"])
def test_nothing_is_overwritten(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(QpsmtpdError, match="there already"):
        scaffold("quiet", []).write(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(QpsmtpdError, match="there already"):
        scaffold("quiet", []).write(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QpsmtpdError, match="No such file"):
        scaffold("quiet", []).write(tmp_path / "nowhere")
