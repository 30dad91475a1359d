# SPDX-License-Identifier: MIT
"""The pages, as browsers get them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError

from qpsmtpd.dashboard import application as module
from qpsmtpd.dashboard.guard import HEADERS
from qpsmtpd.dashboard.views import LATEST
from qpsmtpd.decisions.decision import Decision, Said
from tests.unit.client import PATIENCE
from tests.unit.dashboard.examples import SITE, Answer, Browser, Reader, a_dashboard, a_status
from tests.unit.decisions.examples import BEGIN, a_decision

CONFIG = "dnsbl mode=shadow\nbadmailfrom\nrcpt_ok\nqueue/discard\n"

#: What strangers may write, everywhere.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</td></table></bdi><style>*{display:none}</style>",
    "javascript:alert(1)//",
    "&lt;b&gt;&#x3c;b&#62;<!--",
    "{{ 7*7 }}{% raw %}",
    "\x1b[31m\x00\x07\u202e\u2066\ud800",
    "\r\n\r\ndata: x\nevent: y",
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "plugins").write_text(CONFIG)
    (tmp_path / "me").write_text(f"{SITE}\n")
    return tmp_path


def page_of(decision: Decision) -> str:
    return f"/decisions/{decision.id}/{round(decision.time * 10_000)}"


def texts_in(page: str) -> str:
    return Reader(page).text


# --- what is on the pages -------------------------------------------------------------------------


async def test_now(config: Path) -> None:
    decisions = [a_decision(-number, id=f"A.B.{number:X}.1") for number in range(20)]
    async with a_dashboard(config, *reversed(decisions), status=a_status()) as browser:
        answer = await browser.get("/")
    reader = Reader(answer.text)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for part in (
        "accepted a minute 12",
        "deferred 0.5",
        "open of 500 3",
        "x x 90.0 s more dnsbl rcpt 250 ms 1.0 s",
        "x 127.0.0.1:11333 is down.",
        "The certificate x expires in 3 days.",
        "badmailfrom 7",
    ):
        assert part in reader.text
    assert len([link for link in reader.links if "decisions/A.B." in link]) == LATEST
    assert SITE in reader.text


async def test_while_the_daemon_is_down_there_are_decisions(config: Path) -> None:
    async with a_dashboard(config, a_decision(-1)) as browser:
        text = texts_in((await browser.get("/")).text)
        assert "The daemon is not running." in text
        assert "spamassassin" in text
        assert "The daemon is not running." in texts_in((await browser.get("/services")).text)
        assert "the daemon is not running" in texts_in((await browser.get("/plugins")).text)


async def test_while_the_store_is_down_there_are_figures(config: Path) -> None:
    async with a_dashboard(config, status=a_status()) as browser:
        browser.store.down = True
        text = texts_in((await browser.get("/")).text)
    assert "accepted a minute 12" in text
    assert "The store does not answer" in text


async def test_those_who_are_asked(config: Path) -> None:
    async with a_dashboard(config, status=a_status()) as browser:
        text = texts_in((await browser.get("/services")).text)
    for part in (
        "12, 250 ms on average, 95 % within 1.0 s.",
        "nxdomain 2",
        "clamd in use x 1 0",
        "x down 127.0.0.1:11333 9 1",
        "x 40 1 0 1 1 2 250 ms 1.0 s",
        "dkim pass 3 x 1",
        "TLSv1.3 20",
        "4711",
    ):
        assert part in text


async def test_a_list_goes_on_where_it_ended(config: Path) -> None:
    async with a_dashboard(
        config, *(a_decision(n, id=f"A.B.{n:X}.1") for n in range(-120, 0))
    ) as browser:
        found: list[str] = []
        path = "/decisions"
        for _ in range(3):
            reader = Reader((await browser.get(path)).text)
            found += [link for link in reader.links if link.startswith("./decisions/")]
            older = [more for tag, more in reader.elements if more.get("rel") == "next"]
            path = str(older[0]["href"]).removeprefix(".") if older else ""
    assert path == ""
    assert len(found) == len(set(found)) == 120


async def test_a_search(config: Path) -> None:
    decisions = (a_decision(-1), a_decision(-2, ip="198.51.100.1", plugin="dnsbl"))
    async with a_dashboard(config, *reversed(decisions)) as browser:
        text = texts_in((await browser.get("/decisions?q=198.51.100.1&plugin=dnsbl&in=hour")).text)
        assert "198.51.100.1" in text
        assert "192.0.2.7" not in text
        nothing = texts_in((await browser.get("/decisions?outcome=accepted")).text)
        assert "Nothing found" in nothing
        answer = await browser.get("/decisions?outcome=lost")
        assert (answer.status, "no such outcome" in texts_in(answer.text)) == (400, True)


async def test_a_form_has_what_was_searched_for(config: Path) -> None:
    async with a_dashboard(config) as browser:
        reader = Reader((await browser.get("/decisions?q=%22x&outcome=refused&in=week")).text)
    fields = {str(more.get("name")): more for tag, more in reader.elements if tag == "input"}
    assert fields["q"]["value"] == '"x'
    chosen = [more for tag, more in reader.elements if tag == "option" and "selected" in more]
    assert len(chosen) == 2


async def test_one_decision(config: Path) -> None:
    decision = a_decision(plugin="badmailfrom")
    async with a_dashboard(config, decision) as browser:
        text = texts_in((await browser.get(page_of(decision))).text)
        for part in (
            "refused by badmailfrom",
            "which called itself client.example",
            "mode=shadow: it only would have",
            "If that was wrong",
            "the file badmailfrom",
            "400 ms",
        ):
            assert part in text
        gone = await browser.get(page_of(decision._replace(time=BEGIN + 1)))
        assert (gone.status, "does not have this decision" in texts_in(gone.text)) == (404, True)


async def test_plugins(config: Path) -> None:
    (config / "badmailfrom").write_text("nonsense\n")
    (config / "databytes").write_text("much\n")
    async with a_dashboard(config, status=a_status()) as browser:
        text = texts_in((await browser.get("/plugins")).text)
    assert re.search(
        r"dnsbl refuse clients on DNS \S+ .* shadow 0 0 5 0 250 ms \S.* plugins:1", text
    )
    assert re.search(r"badmailfrom .* enforce 7 0 0 0 – mail plugins:2", text)
    assert re.search(r"error \S+databytes:1 ", text)


async def test_all_links_lead_somewhere(config: Path) -> None:
    decision = a_decision(message_id="<a/../?&#%2F@x>")
    async with a_dashboard(config, decision, status=a_status()) as browser:
        for path in ("/", "/decisions", "/plugins", "/services", "/report", page_of(decision)):
            reader = Reader((await browser.get(path)).text)
            for address in addresses(reader):
                assert not address.startswith(("/", "http:", "https:", "javascript:"))
                if not address.startswith("#"):
                    target = joined(path, address)
                    assert (await browser.get(target)).status == 200, target


def addresses(reader: Reader) -> Iterator[str]:
    for _, more in reader.elements:
        yield from (str(more[name]) for name in ("href", "src", "action") if name in more)


def joined(page: str, address: str) -> str:
    from urllib.parse import urljoin

    return urljoin(f"http://x{page}", address).removeprefix("http://x")


async def test_while_the_store_is_down(config: Path) -> None:
    async with a_dashboard(config) as browser:
        browser.store.down = True
        answer = await browser.get("/decisions")
        assert (answer.status, "store does not answer" in texts_in(answer.text)) == (503, True)


async def test_a_fault_shows_nothing_of_itself(
    config: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    async with a_dashboard(config) as browser:
        monkeypatch.setattr("qpsmtpd.dashboard.archive.Archive.search", broken)
        answer = await browser.get("/decisions")
    assert (answer.status, "secret" in answer.text) == (500, False)
    assert "a secret" in caplog.text


# --- text of strangers ----------------------------------------------------------------------------


def hostile(text: str) -> Decision:
    """A decision with that text wherever there can be one."""
    said = Said(text, text, "shadow", "deny", text, 0.1)
    fields = ("plugin", "reply", "reason", "ip", "name", "helo", "tls", "user", "sender", "about")
    more: dict[str, Any] = dict.fromkeys((*fields, "message_id", "next_hop_id"), text)
    return a_decision(-1, id="A.B.C.1", recipients=(text, text), trail=(said,), **more)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("hook", ["message", "rcpt", "<i>"])
async def test_text_of_strangers_is_text(config: Path, text: str, hook: str) -> None:
    decision = hostile(text)._replace(hook=hook)
    harmless = hostile("harmless")._replace(hook=hook)
    async with a_dashboard(config, harmless, status=a_status()) as browser:
        expected = [await everything(browser, harmless)]
    async with a_dashboard(config, decision, status=a_status(text)) as browser:
        found = [await everything(browser, decision)]
    for one, other in zip(found, expected, strict=True):
        assert one == other


async def everything(browser: Browser, decision: Decision) -> list[list[tuple[str, list[str]]]]:
    """The elements of all pages, with the names of their attributes."""
    found = []
    for path in (
        "/",
        "/decisions",
        page_of(decision),
        "/plugins",
        "/services",
        "/decisions?in=day",
    ):
        answer = await browser.get(path)
        assert answer.status == 200
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e\u2066]", answer.text)
        reader = Reader(answer.text)
        assert {more["src"] for tag, more in reader.elements if tag == "script"} <= {
            "./static/live.js",
            "../../static/live.js",
        }
        assert not [link for link in reader.links if not link.startswith(("./", "../", "#"))]
        found.append([(tag, sorted(more)) for tag, more in reader.elements])
    return found


async def test_what_is_searched_for_is_text(config: Path) -> None:
    async with a_dashboard(config) as browser:
        expected = Reader((await browser.get("/decisions?q=x&plugin=y")).text).elements
        page = "/decisions?q=%22%3E%3Cscript%3E&plugin=%3C/option%3E%3Cscript%3E"
        found = Reader((await browser.get(page)).text).elements
    assert [tag for tag, _ in found] == [tag for tag, _ in expected]


async def test_names_of_plugins_are_text(config: Path) -> None:
    (config / "plugins").write_text("<script>alert(1)</script>\n" + CONFIG)
    async with a_dashboard(config) as browser:
        answer = await browser.get("/plugins")
    assert "<script>alert" in texts_in(answer.text)
    assert "<script>alert" not in answer.text


async def test_the_address_of_a_page_that_is_not_there_is_text(config: Path) -> None:
    async with a_dashboard(config) as browser:
        answer = await browser.get("/%3Cscript%3Ealert(1)%3C/script%3E")
    assert answer.status == 404
    assert "alert" not in answer.text


# --- who may ask, and what ------------------------------------------------------------------------

PATHS = (
    "/", "/decisions", "/decisions?in=year", "/decisions/A/1", "/plugins", "/services", "/report",
    "/report?of=x", "/nothing", "/events/now",
    "/static/live.js", "/static/dashboard.css", "/static/icon.svg", "/static/", "/static/../x",
)  # fmt: skip


async def first(browser: Browser, path: str, **headers: str) -> Answer:
    """The answer, without what comes later."""
    async with browser.session.get(f"{browser.address}{path}", headers=headers) as response:
        text = "" if path.startswith("/events/") else await response.text()
        return Answer(response.status, response.headers, text)


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_forbids_all_that_pages_do_not_need(config: Path, path: str) -> None:
    async with a_dashboard(config, a_decision(-1)) as browser:
        answer = await first(browser, path)
        refused = await first(browser, path, Host="evil.example")
    for each in (answer, refused):
        assert {name: each.headers.get(name) for name in HEADERS} == HEADERS
        assert "Cache-Control" in each.headers
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_it_can_only_be_read(config: Path, path: str, method: str) -> None:
    async with a_dashboard(config) as browser:
        answer = await browser.get(path, method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.headers["Content-Security-Policy"]


async def test_heads_have_no_body(config: Path) -> None:
    async with a_dashboard(config) as browser:
        answer = await browser.get("/plugins", "HEAD")
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8425", 200),
        ("mx.example", 200),
        ("MX.example:443", 200),
        ("[::1]:8425", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1:8425:1", 421),
        ("mx.example@evil.example", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
async def test_names_of_others_are_turned_away(config: Path, host: str, status: int) -> None:
    """A site whose name comes to stand for our address must not read us (DNS rebinding)."""
    async with a_dashboard(config, names=("127.0.0.1", "mx.example", "[::1]")) as browser:
        answer = await browser.get("/", Host=host)
    assert answer.status == status


async def test_on_a_unix_socket_any_name_will_do(config: Path) -> None:
    async with a_dashboard(config, names=None) as browser:
        assert (await browser.get("/", Host="anything.example")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../templates/base.html",
        "/static/%2e%2e/templates/base.html",
        "/static/..%2ftemplates%2fbase.html",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/live.js%00.css",
        "/../../etc/passwd",
        "/decisions/../../etc/passwd/1",
        "/decisions/A.B/..%2f1",
        "/decisions/A.B/99999999999999999999",
    ],
)
async def test_no_path_leads_out(config: Path, path: str) -> None:
    async with a_dashboard(config) as browser:
        answer = await browser.get(path)
    assert answer.status == 404
    assert "root:" not in answer.text
    assert "block main" not in answer.text


async def test_what_is_too_long_is_refused(config: Path) -> None:
    async with a_dashboard(config) as browser:
        assert (await browser.get(f"/decisions?q={'x' * 300}")).status == 400
        try:
            status = (await browser.get(f"/decisions?q={'x' * 100_000}")).status
        except ClientError:
            status = 400
        assert status == 400
        assert (await browser.get("/decisions")).status == 200


# --- live -----------------------------------------------------------------------------------------


async def test_events_are_parts_of_the_first_page(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIVE_SECONDS", 0.0)
    text = "\r\n\r\nevent: other\n\u2028\x85data: x"
    decision = a_decision(-1, sender=text, recipients=(text,))
    async with (
        asyncio.timeout(PATIENCE),
        a_dashboard(config, decision) as browser,
        browser.session.get(f"{browser.address}/events/now") as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream"
        lines = [await response.content.readline() for _ in range(30)]
    assert {line.partition(b" ")[0] for line in lines} <= {b"data:", b"\n"}


async def test_whoever_goes_away_is_no_fault(
    config: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LIVE_SECONDS", 0.0)
    monkeypatch.setattr("qpsmtpd.dashboard.live.MOST_VIEWERS", 1)
    async with asyncio.timeout(PATIENCE), a_dashboard(config, a_decision(-1)) as browser:
        async with browser.session.get(f"{browser.address}/events/now") as response:
            await response.content.readline()
        while (await first(browser, "/events/now")).status != 200:
            pass
    assert "fault" not in caplog.text


async def test_whoever_is_too_many_comes_back_later(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpsmtpd.dashboard.live.MOST_VIEWERS", 1)
    async with (
        asyncio.timeout(PATIENCE),
        a_dashboard(config, a_decision(-1)) as browser,
        browser.session.get(f"{browser.address}/events/now") as response,
    ):
        await response.content.readline()
        assert (await browser.get("/events/now")).status == 503
