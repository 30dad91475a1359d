# SPDX-License-Identifier: MIT
"""A clock that was wrong, where its store has a clock of its own that a second has to pass on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.test_rate_limit import YEARS
from tests.unit.plugins.test_rate_limit import test_nobody_is_limited_for_decades as limited
from tests.unit.plugins.test_verify_recipients import test_nobody_is_unknown_for_decades as unknown


@pytest.mark.parametrize("wrong", [YEARS, -YEARS], ids=["ahead", "behind"])
async def test_limits_end(wrong: float, tmp_path: Path) -> None:
    await limited("redis", wrong, tmp_path)


@pytest.mark.parametrize("wrong", [YEARS, -YEARS], ids=["ahead", "behind"])
async def test_who_is_new_is_known_at_last(wrong: float, tmp_path: Path) -> None:
    await unknown("redis", wrong, tmp_path)
