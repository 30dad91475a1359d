# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from qpsmtpd.dashboard.archive import Archive
from qpsmtpd.dashboard.reporting import KEPT_SECONDS, KINDS, Reporting
from qpsmtpd.dashboard.site import Site
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.digest.charts import COLOURS
from qpsmtpd.testing import FakeClock, FakeStore
from tests.unit.dashboard.examples import SITE, opener, write
from tests.unit.decisions.examples import a_decision

STATIC = Path(__file__).parents[3] / "qpsmtpd/dashboard/static"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "plugins").write_text("dnsbl mode=shadow\nrcpt_ok\n")
    return Site(SITE, [tmp_path], Privacy())


@pytest.mark.parametrize("word", KINDS)
async def test_reports_are_parts_of_a_page(site: Site, word: str) -> None:
    store = FakeStore()
    await write(store, [a_decision(-number, sender="<b>@x.example") for number in (3, 2, 1)])
    report = await Reporting(Archive(opener(store)), site, FakeClock()).report(word)
    assert report.html.startswith("<section")
    assert "<b>" not in report.html
    assert "style" not in report.html


async def test_a_report_is_kept_for_a_while(site: Site) -> None:
    store, clock = FakeStore(), FakeClock()
    reporting = Reporting(Archive(opener(store)), site, clock)
    first = await reporting.report("day")
    await write(store, [a_decision(-1)])
    assert await reporting.report("day") is first
    clock.advance(KEPT_SECONDS)
    assert (await reporting.report("day")).made == first.made + KEPT_SECONDS


async def test_there_is_no_other(site: Site) -> None:
    with pytest.raises(KeyError):
        await Reporting(Archive(opener(FakeStore())), site, FakeClock()).report("year")


def test_colours_of_charts_fit_the_page() -> None:
    style = (STATIC / "dashboard.css").read_text()
    assert all(f'[fill="{colour}"]' in style for colour in COLOURS.values())
