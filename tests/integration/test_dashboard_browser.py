# SPDX-License-Identifier: MIT
"""The dashboard in Debian's Chromium: as it looks, and as it works without JavaScript."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.decisions.decision import Decision, Said
from tests.browser import Tab, a_tab
from tests.debian_system import install_on_host
from tests.unit.client import PATIENCE
from tests.unit.dashboard.examples import Browser, a_dashboard, a_status
from tests.unit.decisions.examples import a_decision

pytestmark = pytest.mark.real_systems

HOSTILE = "<script>alert(1)</script>\"'><img src=//evil.example/x onerror=alert(2)>"
LONG = "an-address-without-any-place-where-a-line-could-end" * 4 + "@client.example"
WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")

#: Text whose contrast with what is behind it is less than 4.5 (WCAG 2.2, AA).
FAINT = """
(() => {
  const shade = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return { a, rgb: [r, g, b] };
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((each) => {
      const part = each / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const found = shade(getComputedStyle(each).backgroundColor);
      if (found.a === 1) return found.rgb;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const drawn = element.closest("svg") ? style.fill : style.color;
    const [one, other] = [light(shade(drawn).rgb), light(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push([walker.currentNode.data.trim(), contrast]);
  }
  return faint;
})()
"""


def decisions() -> list[Decision]:
    """A usual one, one of a stranger who means to deceive, and one that takes much room."""
    said = Said("rcpt", HOSTILE, "shadow", "deny", HOSTILE, 0.1)
    fields = ("plugin", "reply", "reason", "ip", "name", "helo", "tls", "user", "sender", "about")
    hostile: dict[str, Any] = dict.fromkeys((*fields, "message_id", "next_hop_id"), HOSTILE)
    return [
        a_decision(-3, id="A.B.1.1"),
        a_decision(-2, id="A.B.2.1", recipients=(HOSTILE,), trail=(said,), **hostile),
        a_decision(-1, id="A.B.3.1", sender=LONG, recipients=(LONG,), name=LONG, reply=LONG),
    ]


PAGES = (
    "/",
    "/decisions",
    "/decisions?q=nothing",
    *(f"/decisions/{each.id}/{round(each.time * 10_000)}" for each in decisions()),
    "/plugins",
    "/services",
    "/nothing",
)


@pytest.fixture(scope="module", autouse=True)
def chromium() -> None:
    install_on_host({"chromium": "chromium"})


@asynccontextmanager
async def both(directory: Path) -> AsyncIterator[tuple[Browser, Tab]]:
    """A dashboard, and a tab that may look at it."""
    config = directory / "config"
    config.mkdir()
    (config / "plugins").write_text("dnsbl\nbadmailfrom\nrcpt_ok\nqueue/discard\n")
    (config / "databytes").write_text("much\n")
    async with (
        asyncio.timeout(2 * PATIENCE),
        a_dashboard(config, *decisions(), status=a_status(HOSTILE)) as browser,
        a_tab(directory / "chromium") as tab,
    ):
        yield browser, tab


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_pages(tmp_path: Path, width: int, scheme: str) -> None:
    """No error, nothing asked of others, nothing beside the window, no faint text."""
    async with both(tmp_path) as (browser, tab):
        await tab.look_like(width, scheme)
        for page in PAGES:
            await tab.open(f"{browser.address}{page}")
            expected = ["Failed to load resource"] if page == "/nothing" else []
            assert [text[: len("Failed to load resource")] for text in tab.said] == expected, page
            tab.said.clear()
            assert await tab.evaluate("document.images.length") == 0
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width, page
            assert await tab.evaluate(FAINT) == [], page
            await tab.picture(tmp_path / "page.png")
        assert {address[: len(browser.address)] for address in tab.asked} == {browser.address}


async def test_pages_are_whole_without_scripts(tmp_path: Path) -> None:
    async with both(tmp_path) as (browser, tab):
        texts = {}
        for scripts in (True, False):
            await tab.look_like(1280, "light", scripts=scripts)
            for page in PAGES[1:3] + PAGES[-4:-1]:
                await tab.open(f"{browser.address}{page}")
                await tab.call("Emulation.setScriptExecutionDisabled", value=False)
                texts[page, scripts] = await tab.evaluate(
                    "document.querySelector('main').innerText"
                )
                await tab.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        for (page, scripts), text in texts.items():
            assert text.replace("Pause\n", "") == texts[page, not scripts].replace("Pause\n", "")
        assert "spamassassin" in texts["/decisions", False]


async def test_searching_by_keyboard_alone(tmp_path: Path) -> None:
    """Whatever has the focus can be seen to have it."""
    async with both(tmp_path) as (browser, tab):
        await tab.look_like(1280, "light")
        await tab.open(f"{browser.address}/decisions")
        seen = []
        for _ in range(30):
            await tab.press("Tab")
            seen.append(
                await tab.evaluate("document.activeElement.id || document.activeElement.className")
            )
            assert (
                await tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                != "none"
            )
            if seen[-1] == "q":
                break
        assert (seen[0], seen[-1]) == ("skip", "q")
        await tab.call("Input.insertText", text="192.0.2.7")
        await tab.next_page(partial(tab.press, "Enter"))
        assert "q=192.0.2.7" in await tab.evaluate("location.search")


async def test_the_first_page_is_live_and_can_be_stopped(tmp_path: Path) -> None:
    changed = """
    new Promise((resolve) => new MutationObserver(() => resolve(true)).observe(
      document.querySelector("[data-live]"), { childList: true }))
    """
    async with both(tmp_path) as (browser, tab):
        await tab.look_like(1280, "light")
        await tab.open(f"{browser.address}/")
        assert await tab.evaluate(changed)
        assert await tab.evaluate(changed)
        assert await tab.evaluate("document.querySelectorAll('[data-live] h2').length") > 3
        await tab.evaluate("document.querySelector('[data-pause]').click()")
        assert await tab.evaluate("document.querySelector('[data-pause]').innerText") == "Go on"
        assert tab.said == []
