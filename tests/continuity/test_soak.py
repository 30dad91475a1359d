# SPDX-License-Identifier: MIT
"""The soak test, for two rounds: `make soak HOURS=1` is the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.continuity.soak import BETWEEN, Sample, draw, slope, soak

Report = Callable[[object], None]


async def test_soak(loop: str, tmp_path: Path, report: Report) -> None:
    soaked = await soak(tmp_path, loop, lambda rounds: rounds < 2)
    report(soaked)
    assert soaked.problems == []
    assert soaked.deferred
    assert len(soaked.account.tally.accepted) > 10 * BETWEEN
    ElementTree.fromstring(draw(soaked.samples))


def test_growth_is_the_slope() -> None:
    samples = [Sample(number, 5000 + 3 * number) for number in range(0, 900, 100)]
    assert slope(samples) == pytest.approx(3)
    assert slope(samples[:2]) == 0
    assert slope([Sample(1, 7)] * 5) == 0
