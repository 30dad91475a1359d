# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from tests.bench.callgrind import Counts
from tests.bench.cases import CASES, Flow
from tests.bench.instructions import COUNTED, HEAD, main, make_parser, rows
from tests.bench.report import OURS
from tests.bench.servers import AGAINST, SERVERS

COUNTS = Counts(600_000.4, 12_000, 9_000)


def test_every_case_can_be_sent_in_any_number_to_our_servers() -> None:
    for name in COUNTED:
        assert isinstance(CASES[name], Flow), name
        assert CASES[name].suits(SERVERS[OURS])
        assert CASES[name].suits(SERVERS[AGAINST])


def test_a_row_has_the_figures_below_their_headings() -> None:
    (line,) = rows("many-per-connection", {OURS: ""}, {(OURS, "many-per-connection"): COUNTS})
    assert line.split()[-4:] == ["600000", "12000", "9000", "145"]
    for heading, figure in (("instructions", "600000"), ("D1 misses", "9000"), ("us", "145")):
        assert HEAD.index(heading) + len(heading) == line.rindex(figure) + len(figure)


def test_the_other_commit_has_the_ratio_of_its_time_to_ours() -> None:
    found = {(OURS, "listed"): COUNTS, (AGAINST, "listed"): COUNTS.per(4)}
    ours, other = rows("listed", {OURS: "", AGAINST: "abc1234"}, found)
    assert ours.split()[-1] == "145"
    assert other.split() == ["abc1234", "150000", "3000", "2250", "36", "0.25"]


def test_only_some_cases() -> None:
    assert make_parser().parse_args(["--only", "listed,chain"]).only == ("listed", "chain")
    assert make_parser().parse_args([]).only == tuple(COUNTED)


def test_a_word_that_is_no_case(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--only", "5mb"])
    assert "'5mb' is not one of many-per-connection," in capsys.readouterr().err


def test_without_valgrind_there_is_a_word_about_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("sys.argv", ["instructions"])
    assert main() == 1
    assert "apt-get install valgrind" in capsys.readouterr().err
