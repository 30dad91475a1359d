# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from maintscripts import ask
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.digest import levels
from qpsmtpd.digest.levels import levels_above, present_level


@pytest.fixture
def chains(tmp_path: Path) -> Path:
    directory = tmp_path / "chains"
    directory.mkdir()
    for name, text in {
        "minimal": "helo\n",
        "standard": "# comment\nhelo\ndnsbl\n",
        "strict": "helo\ndnsbl\nkarma  negative 2\n",
    }.items():
        (directory / name).write_text(text)
    return directory


def files(tmp_path: Path, text: str) -> ConfigFiles:
    (tmp_path / "plugins").write_text(text)
    (tmp_path / "debian-protection").write_text(f"$include {tmp_path}/chains/standard\n")
    return ConfigFiles([tmp_path])


def test_the_level_is_what_is_included(tmp_path: Path, chains: Path) -> None:
    assert present_level(files(tmp_path, "$include debian-protection\n"), chains) == "standard"
    assert present_level(files(tmp_path, "helo\ndnsbl\n"), chains) == ""
    assert present_level(ConfigFiles([]), chains) == ""


def test_levels_above(tmp_path: Path, chains: Path) -> None:
    [level] = levels_above(files(tmp_path, "$include debian-protection\n"), (), chains)
    assert (level.name, level.path) == ("strict", str(chains / "strict"))
    assert [each[:2] for each in level.differences] == [("karma negative 2", "")]


def test_filters_of_ones_own_have_all_levels_above_them(tmp_path: Path, chains: Path) -> None:
    found = levels_above(files(tmp_path, "dnsbl  reject 0\n"), (), chains)
    assert [level.name for level in found] == ["minimal", "standard", "strict"]
    assert [each[:2] for each in found[1].differences] == [
        ("helo", ""),
        ("dnsbl", "dnsbl reject 0"),
    ]


def test_they_are_those_of_the_package() -> None:
    assert (str(levels.CHAINS), levels.LEVELS) == (ask.CHAINS, ask.LEVELS)


def test_chains_that_are_not_there(tmp_path: Path) -> None:
    assert levels_above(files(tmp_path, "helo\n"), (), tmp_path / "nowhere") == ()
