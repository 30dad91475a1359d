# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from qpsmtpd.digest import charts
from qpsmtpd.digest.charts import charts_of
from qpsmtpd.digest.dailyreport import daily
from qpsmtpd.digest.digest import Bin, Counts
from qpsmtpd.digest.page import page
from qpsmtpd.digest.sections import shown_moment
from tests.unit.decisions.examples import BEGIN, a_decision
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


@pytest.mark.parametrize(("number", "every"), [(1, 1), (7, 1), (24, 4), (60, 10), (520, 100)])
def test_labels_are_at_even_distances(number: int, every: int) -> None:
    bins = [Bin(BEGIN + 60 * each, Counts(accepted=1)) for each in range(number)]
    texts = [text.text for text in charts.columns(bins, "x").iter("text")]
    moments = [shown_moment(each.begin)[11:] for each in bins]
    assert [text for text in texts if text in moments] == moments[::every]


def test_half_of_the_scale_is_a_number() -> None:
    bins = [Bin(BEGIN, Counts(accepted=81))]
    texts = [text.text for text in charts.columns(bins, "x").iter("text")]
    assert {"0", "41", "82"} <= set(texts)
