# SPDX-License-Identifier: MIT
"""virus/klez_filter: a line that works, and does nothing."""

from __future__ import annotations

from qpsmtpd.plugins.virus.klez_filter import KlezFilter
from qpsmtpd.testing import a_plugin


async def test_it_does_nothing() -> None:
    assert (await a_plugin(KlezFilter, "whatever 1")).hooks() == []
    assert "remove this line" in KlezFilter.warning
