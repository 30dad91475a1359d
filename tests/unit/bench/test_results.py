# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.callgrind import Counts
from tests.bench.results import Cell, Results, median_of, percentile

NUMBERS = st.lists(st.integers(min_value=0, max_value=10**6), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (1, 1), (50, 50), (95, 95), (99, 99), (100, 100)]
)
def test_percentile(percent: float, value: float) -> None:
    assert percentile(range(100, 0, -1), percent) == value


@given(NUMBERS, st.integers(min_value=1, max_value=100))
def test_so_many_percent_are_not_above_a_percentile(values: list[int], percent: int) -> None:
    value = percentile(values, percent)
    assert value in values
    assert sum(other <= value for other in values) * 100 >= len(values) * percent
    assert sum(other < value for other in values) * 100 < len(values) * percent


def test_medians_and_the_worst_of_memory_and_refusals() -> None:
    runs = [
        Cell(rate=rate, memory=memory, refused=refused)
        for rate, memory, refused in ((1, 30, 0), (9, 10, 2), (2, 20, 0))
    ]
    assert median_of(runs) == Cell(rate=2, memory=30, refused=2)


def test_a_figure_that_a_run_lacks_is_not_told() -> None:
    assert median_of([Cell(rate=1), Cell()]) == Cell()


def test_one_run_that_failed_is_the_result() -> None:
    failed = Cell(failed="broke")
    assert median_of([Cell(rate=1), failed, Cell(rate=2)]) == failed


def test_results_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    results = Results({"cores": "2"}, {})
    results.cells["ours-1", "5mb"] = Cell(rate=1234.5678, messages=7, refused=0)
    results.cells["haraka", "5mb"] = Cell(failed="does not start")
    results.instructions["ours-1", "5mb"] = Counts(600123.4, 12001.5, 9000)
    results.save(path)
    assert Results.load(path) == Results(
        {"cores": "2"},
        {
            ("ours-1", "5mb"): Cell(rate=1235.0, messages=7, refused=0),
            ("haraka", "5mb"): Cell(failed="does not start"),
        },
        {("ours-1", "5mb"): Counts(600100, 12000, 9000)},
    )
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_no_results_yet(tmp_path: Path) -> None:
    assert Results.load(tmp_path / "results.json") == Results({}, {})


def test_what_failed_is_not_complete() -> None:
    results = Results({}, {("a", "1"): Cell(failed="broke"), ("a", "2"): Cell(rate=1)})
    assert [results.complete("a", case) for case in ("1", "2", "3")] == [False, True, False]
