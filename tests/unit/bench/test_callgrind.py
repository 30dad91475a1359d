# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.callgrind import Callgrind, Counts, read_dump

DUMP = """\
# callgrind format
version: 1
cmd:  python3 -m qpsmtpd\\nevents: 1
part: 1

desc: I1 cache: 32768 B, 64 B, 8-way associative
desc: Trigger: dump

positions: line
events: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw
summary: {figures}


ob=(2) /usr/lib/x86_64-linux-gnu/libc.so.6
fn=(44) totals
35 742 0 636

totals: {figures}
"""
FIGURES = st.lists(st.integers(min_value=0, max_value=10**12), min_size=9, max_size=9)


@given(FIGURES)
def test_the_totals_of_a_dump(figures: list[int]) -> None:
    text = DUMP.format(figures=" ".join(map(str, figures)))
    assert read_dump(text) == Counts(figures[0], figures[3], figures[4] + figures[5])


def test_events_that_did_not_happen_are_left_out() -> None:
    assert read_dump(DUMP.format(figures="600 5 4 3")) == Counts(600, 3, 0)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "events"),
        (DUMP.replace("totals: {", "other: {"), "totals"),
        ("events: Ir Dr\ntotals: 1 2\n", "D1mr"),
    ],
)
def test_a_dump_that_is_not_whole(text: str, missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        read_dump(text)


def test_the_estimate_is_made_of_all_three() -> None:
    assert Counts(9000, 0, 0).microseconds == pytest.approx(1)
    assert Counts(0, 250, 0).microseconds == pytest.approx(1)
    assert Counts(0, 0, 300).microseconds == pytest.approx(1)


def test_the_share_of_each_message() -> None:
    assert Counts(200, 20, 2).per(200) == Counts(1, 0.1, 0.01)


def test_the_command_stays_whole(tmp_path: Path) -> None:
    words = Callgrind(tmp_path).around(("server", "--", "--option"))
    assert words[0] == "valgrind"
    assert words[-4:] == ("--", "server", "--", "--option")
