# SPDX-License-Identifier: MIT
"""Published configurations, and samples of others: each line works, or says what stands in.

They are in published.txt, with addresses replaced.  The section `problems` of each has what
check-config prints.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qpsmtpd.commands.check_config import check
from qpsmtpd.config.problems import errors_in
from qpsmtpd.plugins.ident import geoip

TEXT = (Path(__file__).parent / "published.txt").read_text()


def sections(configuration: str) -> dict[str, str]:
    """The files of a configuration, and its problems."""
    _, *parts = re.split(r"^\[([\w-]+)\]\n", configuration, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


CONFIGURATIONS = {
    title: sections(body)
    for title, body in re.findall(
        r"^=== ([^\n]+)\n(.*?)(?=^===|\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
}


def written(directory: Path, title: str) -> list[str]:
    """Write a configuration, and return its problems."""
    files = dict(CONFIGURATIONS[title])
    problems = files.pop("problems").split("\n")
    # What dpkg-reconfigure writes.
    files["debian-queue-method"] = "queue/postfix-queue\n"
    for name, text in files.items():
        (directory / name).write_text(text)
    return [problem for problem in problems if problem]


@pytest.fixture(autouse=True)
def without_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may have some."""
    monkeypatch.setattr(geoip, "_DIRECTORIES", ())


@pytest.mark.parametrize("title", CONFIGURATIONS)
def test_what_check_config_says(tmp_path: Path, title: str) -> None:
    expected = written(tmp_path, title)
    found = [
        f"{problem.where}: {problem.severity}: {problem.text}".replace(f"{tmp_path}/", "")
        for problem in check([tmp_path])
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("title", "left"),
    [
        ("configuration 1", []),
        ("configuration 4", ["tls: cannot be read (No such file or directory)"]),
        ("configuration 5", ["peers: ", "tls: "]),
        ("configuration 8", ["no plugin delivers messages"]),
    ],
)
def test_the_administrator_may_go_on_without_what_is_missing(
    tmp_path: Path, title: str, left: list[str]
) -> None:
    written(tmp_path, title)
    (tmp_path / "missing_plugins").write_text("skip\n")
    errors = [problem.text for problem in errors_in(check([tmp_path]))]
    assert len(errors) == len(left)
    assert all(map(str.startswith, errors, left)), errors
