# SPDX-License-Identifier: MIT
"""What everybody can change of a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.commands.check_config import check
from qpsmtpd.config.exposed import exposed

CHAIN = "rcpt_ok\nqueue/maildir {0}/mail\n$include more\n"
#: What can be exposed, and what is said of it.
CONFIGURATION = "everybody can change this configuration"
PLUGINS = "everybody can make the daemon run what they write here"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A configuration with a local plugin that is not in use."""
    (tmp_path / "local/site").mkdir(parents=True)
    for name, text in (
        ("plugins", CHAIN.format(tmp_path)),
        ("more", "# nothing\n"),
        ("plugin_dirs", f"{tmp_path}/local\n{tmp_path}/none\n"),
        ("spool_dir", f"{tmp_path}/spool\n"),
        ("me", "mx.example.org\n"),
        ("local/site/quota.py", ""),
    ):
        (tmp_path / name).write_text(text)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o775 if path.is_dir() else 0o664)
    return tmp_path


def test_nothing_is_exposed(directory: Path) -> None:
    assert [p for p in check([directory]) if "everybody" in p.text] == []


@pytest.mark.parametrize(
    "name, text",
    [
        (".", CONFIGURATION),
        ("plugins", CONFIGURATION),
        ("more", CONFIGURATION),
        ("me", CONFIGURATION),
        ("local", PLUGINS),
        ("local/site/quota.py", PLUGINS),
    ],
)
def test_each_is_told_of(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.chmod(path.stat().st_mode | 0o1002)  # the sticky bit forbids nobody to add a file
    found = [problem for problem in check([directory]) if "everybody" in problem.text]
    assert [str(problem) for problem in found] == [f"{path}: warning: {text}: chmod o-w {path}"]


def test_what_is_not_there_is_not_exposed(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    assert list(exposed([missing], [missing], [missing])) == []
