# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from qpsmtpd.digest import charts
from qpsmtpd.digest.charts import charts_of
from qpsmtpd.digest.dailyreport import daily
from qpsmtpd.digest.page import page
from tests.unit.decisions.examples import a_decision
from tests.unit.digest.examples import (
    HOUR,
    a_digest,
    accepted,
    digest_of,
    parsed,
    put_off,
)


async def test_charts() -> None:
    drawn = charts_of(await a_digest())
    assert list(drawn) == ["course", "reasons", "delays"]
    for chart in drawn.values():
        assert chart.get("role") == "img"
        assert chart.get("aria-label")
    tree = parsed(page(daily(await a_digest()), drawn))
    assert len(tree.findall(".//{*}svg")) == 3


async def test_the_columns_of_a_chart_have_the_heights_of_the_sums() -> None:
    digest = await digest_of(accepted(1), accepted(2), a_decision(3), put_off(HOUR))
    svg = charts_of(digest)["course"]
    heights: dict[str, float] = {}
    for rectangle in svg.iter("rect"):
        if rectangle.get("width") != "12":
            fill = str(rectangle.get("fill"))
            heights[fill] = heights.get(fill, 0) + float(str(rectangle.get("height")))
    unit = heights[charts.COLOURS["refused"]]
    assert heights[charts.COLOURS["accepted"]] == pytest.approx(2 * unit, abs=0.02)
    assert heights[charts.COLOURS["deferred"]] == pytest.approx(unit, abs=0.02)


async def test_without_svgwrite_there_are_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "find_spec", lambda _name: None)
    digest = await a_digest()
    assert charts_of(digest) == {}
    assert "<table" in page(daily(digest), charts_of(digest))
