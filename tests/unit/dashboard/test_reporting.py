# SPDX-License-Identifier: MIT
import asyncio
import threading
from pathlib import Path

import pytest

from qpsmtpd.dashboard import reporting as module
from qpsmtpd.dashboard.archive import Archive
from qpsmtpd.dashboard.reporting import KEPT_SECONDS, KINDS, Reporting, ReportPart
from qpsmtpd.dashboard.site import Site
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.digest.charts import COLOURS
from qpsmtpd.errors import StoreError
from qpsmtpd.testing import FakeClock, FakeStore
from tests.unit.client import PATIENCE
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
    assert isinstance(report, ReportPart)
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
    second = await reporting.report("day")
    assert isinstance(first, ReportPart)
    assert isinstance(second, ReportPart)
    assert second.made == first.made + KEPT_SECONDS


class HeldStore(FakeStore):
    """Tells of some decisions, and of no more before `release` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def scoped(self, name: str) -> "HeldStore":
        return self

    async def get(self, key: str) -> bytes | None:
        while key == f"{41:012}" and not self.release.is_set():
            await asyncio.sleep(0)
        return await super().get(key)


async def test_nobody_waits_for_a_long_report(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 0.0)
    store, clock = HeldStore(), FakeClock()
    await write(store, list(map(a_decision, range(-60, 0))), 1)
    archive = Archive(opener(store))
    reporting = Reporting(archive, site, clock)
    assert isinstance(await reporting.report("day"), float)
    async with asyncio.timeout(PATIENCE):
        while (part := await reporting.report("day")) == 0.0:
            await asyncio.sleep(0)
        assert isinstance(part, float)
        assert 0 < part < 1
        assert await reporting.report("week") == 0.0
        assert await reporting.report("shadow") == 0.0
        # One is made at a time, so questions are answered.
        assert await archive.find("A.B.C", 0.0) is None
        clock.advance(100)
        store.release.set()
        while isinstance(made := await reporting.report("day"), float):
            await asyncio.sleep(0)
        clock.advance(10 * 100 - 1)
        assert await reporting.report("day") is made
        store.release.clear()
        clock.advance(1)
        assert await reporting.report("day") is made, "the old one, while there is no new one"
        store.release.set()


async def test_a_report_that_cannot_be_made(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reporting = Reporting(Archive(opener(FakeStore(down=True))), site, FakeClock())
    for _ in range(2):
        with pytest.raises(StoreError):
            await reporting.report("day")


async def test_there_is_no_other(site: Site) -> None:
    with pytest.raises(KeyError):
        await Reporting(Archive(opener(FakeStore())), site, FakeClock()).report("year")


def test_colours_of_charts_fit_the_page() -> None:
    style = (STATIC / "dashboard.css").read_text()
    assert all(f'[fill="{colour}"]' in style for colour in COLOURS.values())
