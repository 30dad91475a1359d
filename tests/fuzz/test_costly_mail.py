# SPDX-License-Identifier: MIT
"""No message makes the checks of its sender cost much, or hold the loop, in a real daemon."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.costly import MOST_COST, Cost, cases, costs
from tests.fuzz.laboratory import MOST_HELD


async def test_no_message_costs_much(tmp_path: Path) -> None:
    found = [cost async for cost in costs(tmp_path, cases())]
    assert [problem for cost in found for problem in cost.problems] == []
    # Or nothing was checked.
    assert max(cost.more for cost in found) > 0.02


def test_what_costs_too_much_is_told() -> None:
    cost = Cost("blanks", 2 * MOST_COST, 2 * MOST_HELD, ["Traceback"])
    assert cost.problems == [
        "blanks: Traceback",
        "blanks: costs 2.00 s",
        "blanks: the loop was held for 100 ms",
    ]
    assert Cost("blanks", MOST_COST, MOST_HELD, []).problems == []
    assert str(cost).startswith("blanks ")
    assert str(cost).endswith(" 2000 ms more, loop held so far 100.0 ms at most")
