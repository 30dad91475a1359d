# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.digest import shadows
from qpsmtpd.digest.levels import levels_above, present_level
from tests.unit.decisions.examples import a_decision
from tests.unit.digest.examples import accepted, said, shadow_with


async def test_what_would_have_been_refused() -> None:
    shadow = await shadow_with(
        accepted(1, trail=(said(), said(reason="again"))),
        accepted(2, trail=(said("tag", hook="data_post", plugin="rspamd"),)),
        accepted(3, trail=(said("tolerated", verdict="defer"),)),
        accepted(4, trail=(said("decided"), said(verdict="accept"), said("fault"))),
        a_decision(5, trail=(said(),)),
    )
    assert (shadow.decisions, shadow.accepted) == (5, 4)
    found = {each[:3]: (each.accepted, each.anyway) for each in shadow.objections}
    assert found == {
        ("dnsbl", "rcpt", "shadow"): (1, 1),
        ("rspamd", "data_post", "tag"): (1, 0),
        ("dnsbl", "rcpt", "tolerated"): (1, 0),
    }
    assert shadow.objections[0].examples[0].reason == "again"


async def test_what_speaks_for_a_message() -> None:
    looked = said("passed", hook="data_post", plugin="rspamd", verdict="")
    shadow = await shadow_with(
        *(accepted(n) for n in range(3)),
        accepted(10, trail=(said(),)),
        accepted(11, trail=(said(),), sender="other@x.example", user="anna"),
        accepted(12, trail=(said(), looked), sender="third@x.example", ip="198.51.100.1"),
        accepted(13, trail=(said(),), sender="", user=""),
    )
    [objection] = shadow.objections
    assert (objection.accepted, objection.hinted) == (4, 3)
    assert dict(objection.hints) == {"known": 1, "logged in": 1, "looked at": 1}
    assert [each.hints for each in objection.examples] == [
        ("looked at",),
        ("logged in",),
        ("known",),
        (),
    ]
    assert objection.examples[0].others == ("rspamd",)


async def test_who_objects_does_not_speak_for_it() -> None:
    mine = said("passed", hook="data_post", plugin="dnsbl", verdict="")
    shadow = await shadow_with(accepted(1, trail=(said(), mine)))
    assert shadow.objections[0].hinted == 0


async def test_senders_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadows, "MOST_SENDERS", 1)
    shadow = await shadow_with(
        *(accepted(n) for n in range(3)),
        accepted(5, sender="other@x.example"),
        accepted(10, trail=(said(),)),
    )
    assert shadow.objections[0].hinted == 0


async def test_examples_are_the_last_ones() -> None:
    shadow = await shadow_with(*(accepted(n, trail=(said(),), id=f"A.B.{n}.1") for n in range(9)))
    assert [each.id for each in shadow.objections[0].examples] == [f"A.B.{n}.1" for n in (8, 7, 6)]


# --- levels ---------------------------------------------------------------------------------------


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


def test_chains_that_are_not_there(tmp_path: Path) -> None:
    assert levels_above(files(tmp_path, "helo\n"), (), tmp_path / "nowhere") == ()
