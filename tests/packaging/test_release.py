# SPDX-License-Identifier: MIT
"""What only the uploader knows: marked, in one place, and never in a release."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.debian_system import CHECKOUT

VALUES = {
    "MAINTAINER": "Mail & Co | Team <team@example.org>",
    "UPLOADER": "A. N. Other <other@example.org>",
    "REPOSITORY": "https://git.example.org/~other/qpsmtpd",
    "BUG": "Closes: #1234567",
}
IS_LEFT = re.compile(r"placeholder\.invalid|PLACEHOLDER-")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the files of the package."""
    shutil.copytree(CHECKOUT / "debian", tmp_path / "debian")
    return tmp_path


def placeholders(tree: Path, *arguments: str) -> tuple[int, str]:
    """The exit status, and what was said."""
    return run(tree, "debian/placeholders", *arguments)


def run(tree: Path, *command: str) -> tuple[int, str]:
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def release(tree: Path) -> None:
    changelog = tree / "debian/changelog"
    changelog.write_text(changelog.read_text().replace("UNRELEASED", "unstable", 1))


def texts(tree: Path, without: Sequence[str] = ("placeholders",)) -> dict[str, str]:
    debian = tree / "debian"
    paths = (path for path in debian.rglob("*") if path.is_file() and path.name not in without)
    return {str(path.relative_to(debian)): path.read_text() for path in paths}


def test_a_snapshot_may_have_them(tree: Path) -> None:
    assert placeholders(tree) == (0, "")
    assert placeholders(tree, "--released")[0] != 0


def test_a_release_is_refused_with_all_that_is_left(tree: Path) -> None:
    release(tree)
    status, said = placeholders(tree)
    assert status != 0
    for name, text in texts(tree).items():
        for line in filter(IS_LEFT.search, text.splitlines()):
            assert f"{line}\n" in said, name
    assert "debian/README.source" in said


def test_make_deb_refuses_a_release_before_it_asks_for_anything_else(tree: Path) -> None:
    release(tree)
    status, said = run(tree, "debian/build")
    assert status != 0
    assert "PLACEHOLDER-UPLOADER" in said
    assert "build dependencies" not in said
    assert not (tree / "dist").exists()


def test_each_is_given_once_and_then_a_release_is_built(tree: Path) -> None:
    release(tree)
    for name, value in VALUES.items():
        assert placeholders(tree)[0] != 0, f"{name} was not missed"
        assert placeholders(tree, name, value) == (0, "")
    assert placeholders(tree) == (0, "")
    assert placeholders(tree, "--released")[0] == 0
    assert [name for name, text in texts(tree).items() if IS_LEFT.search(text)] == []
    assert f"Maintainer: {VALUES['MAINTAINER']}\n" in texts(tree)["control"]
    assert "(Closes: #1234567)" in texts(tree)["changelog"]


def test_a_value_can_be_given_again(tree: Path) -> None:
    for value in ("https://one.example/a", VALUES["REPOSITORY"]):
        placeholders(tree, "REPOSITORY", value)
    assert "one.example" not in "".join(texts(tree).values())


def test_one_origin_is_named_everywhere(tree: Path) -> None:
    placeholders(tree, "REPOSITORY", VALUES["REPOSITORY"])
    found = texts(tree)
    origin = VALUES["REPOSITORY"]
    for line in (f"Homepage: {origin}", f"Vcs-Browser: {origin}", f"Vcs-Git: {origin}.git"):
        assert f"\n{line}\n" in found["control"]
    assert f"\nRepository: {origin}.git\n" in found["upstream/metadata"]
    assert f"  {origin}.git " in found["watch"]
    assert f"\nSource: {origin}\n" in found["copyright"]


def test_an_unknown_name_is_refused_with_those_that_there_are(tree: Path) -> None:
    before = texts(tree)
    status, said = placeholders(tree, "OWNER", "somebody")
    assert status != 0
    assert re.findall(r"^  ([A-Z]+)$", said, re.MULTILINE) == list(VALUES)
    assert texts(tree) == before


def test_the_readme_of_the_source_explains_each() -> None:
    text = (CHECKOUT / "debian/README.source").read_text()
    for name in VALUES:
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE), name


def test_the_changelog_is_our_own() -> None:
    """Nobody's name stands under what he did not write."""
    text = (CHECKOUT / "debian/changelog").read_text()
    assert re.findall(r"^qpsmtpd \((\S+)\)", text, re.MULTILINE) == ["2.0.0-1"]
    assert "0.94-8" in text
    assert re.findall(r"^ -- (.*)  ", text, re.MULTILINE) == [
        "PLACEHOLDER-UPLOADER <uploader@placeholder.invalid>"
    ]


def test_each_override_of_lintian_names_what_it_is_about() -> None:
    overrides = (CHECKOUT / "debian/qpsmtpd.lintian-overrides").read_text()
    lines = [line for line in overrides.splitlines() if not line.startswith("#")]
    assert [line for line in lines if "*" in line.replace("[templates:*]", "")] == []
    templates = (CHECKOUT / "debian/qpsmtpd.templates").read_text()
    names = re.findall(r"^Template: (\S+)", templates, re.MULTILINE)
    # Lintian can read preinst, which is shell, and asks these.
    asked = (CHECKOUT / "debian/qpsmtpd.preinst.in").read_text()
    names = [name for name in names if name.removeprefix("qpsmtpd/") not in asked]
    assert sorted(names) == [line.split()[2] for line in lines if "[templates:" in line]
