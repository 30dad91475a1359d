# SPDX-License-Identifier: MIT
"""Stores with decisions, and a dashboard that answers, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from aiohttp import ClientSession, web

from qpsmtpd.dashboard.application import Dashboard
from qpsmtpd.dashboard.archive import Archive
from qpsmtpd.dashboard.pages import Pages
from qpsmtpd.dashboard.site import Site
from qpsmtpd.dashboard.views import Views
from qpsmtpd.decisions.book import Book, Chunk
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.metrics.reading import NotRunningError
from qpsmtpd.metrics.status import (
    CertificateStatus,
    DnsStatus,
    Minute,
    NextHopStatus,
    PluginStatus,
    ServiceStatus,
    Status,
    StoreStatus,
    Timing,
    WorkerStatus,
)
from qpsmtpd.plugin.services import Store
from qpsmtpd.testing import FakeClock, FakeStore

#: Elements that may refer to something, and those that are empty.
EMPTY = frozenset({"br", "input", "link", "meta"})
SITE = "mx.example"
#: Made once: it takes a moment to read all templates.
PAGES = Pages(SITE)


async def write(store: Store, decisions: Sequence[Decision], each: int = 100) -> None:
    """Write decisions, the oldest first, in chunks of `each`."""
    book = Book(store)
    for start in range(0, len(decisions), each):
        some = decisions[start : start + each]
        chunk = Chunk.of(some[0].time, [decision.encode() for decision in some])
        size = len(chunk.packed)
        state = await book.begin(size, 1)
        await book.put(state.end - 1, chunk.encode(state.written - size), 1)


def opener(store: Store) -> Callable[[], AbstractAsyncContextManager[Store]]:
    """What an archive opens."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        yield store

    return opened


class Answer(NamedTuple):
    """What a browser gets."""

    status: int
    headers: Mapping[str, str]
    text: str


class Browser(NamedTuple):
    """Asks a dashboard.  store: what the dashboard reads."""

    store: FakeStore
    address: str
    session: ClientSession

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for a page; the path goes over the wire as it is."""
        from yarl import URL

        address = URL(f"{self.address}{path}", encoded=True)
        async with self.session.request(
            method, address, headers=headers, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.text())


@asynccontextmanager
async def a_dashboard(
    directory: Path,
    *decisions: Decision,
    names: Collection[str] | None = ("127.0.0.1",),
    status: Status | None = None,
) -> AsyncIterator[Browser]:
    """A dashboard on a loopback address; directory: of the configuration."""
    clock = FakeClock()
    store = FakeStore(clock)
    await write(store, decisions)
    archive = Archive(opener(store))
    views = Views(archive, lambda: known(status), Site(SITE, [directory], Privacy()), clock)
    runner = web.AppRunner(Dashboard(views, PAGES).application(names), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        async with ClientSession() as session:
            yield Browser(store, f"http://{host}:{port}", session)
    finally:
        await runner.cleanup()
        archive.close()


def known(status: Status | None) -> Status:
    """The status of a daemon that runs."""
    if status is None:
        raise NotRunningError("the daemon is not running")
    return status


def a_status(text: str = "x") -> Status:
    """A daemon that has done something of everything; names are `text`."""
    timing = Timing(12, 0.25, 1.0)
    begin = FakeClock().now() - 7200.0
    return Status(
        version="2.0.0",
        time=FakeClock().now(),
        since=begin,
        up=7200.0,
        workers=(WorkerStatus(4711, begin, 0.5, 3),),
        workers_wanted=1,
        worker_deaths=0,
        reloads={"used": 1},
        connections=100,
        connections_open={"command": 2, "data": 1},
        connections_limit=500,
        connections_refused={"full": 1},
        sessions_ended={"message": 40},
        tls={"TLSv1.3": 20, text: 1},
        tls_failures=1,
        logins={"failed": 1},
        a_minute={"accepted": 12.0, "deferred": 0.5, "refused": 34.0, "connections": 60.0},
        messages={"accepted": 40, "deferred": 2, "refused": 8},
        message_bytes=123456,
        message_timing=timing,
        refusals={text: 50},
        authentication={"dkim": {"pass": 3, text: 1}, text: {text: 1}},
        greylist_delay=timing,
        plugins=(
            PluginStatus("dnsbl", "rcpt", {"shadow": 5}, timing),
            PluginStatus("badmailfrom", "mail", {"deny": 7, "none": 1}, Timing(0, 0.0, 0.0)),
            PluginStatus(text, text, {"deny": 1, "defer": 2, "fault": 3}, Timing(1, 90.0, None)),
        ),
        dns=DnsStatus({"found": 10, "nxdomain": 2, text: 1}, timing),
        services=(
            ServiceStatus("clamd", text, 0, 1, 0),
            ServiceStatus(text, "127.0.0.1:11333", 1, 9, 1),
        ),
        next_hops=(NextHopStatus(text, {"done": 40, "failed": 1}, 1, 1, 2, timing),),
        store=StoreStatus(0, 100, 1, 0),
        certificates=(CertificateStatus(text, begin + 86400.0 * 3, 2.9),),
        blocking_calls=0,
        spool_memory=0,
        lag=timing,
        log_lines_lost=0,
        minutes=tuple(Minute(begin + 60.0 * n, n, n % 2, n % 3, n) for n in range(1, 61)),
    )


class Reader(HTMLParser):
    """Reads a page as browsers do.

    elements: names with attributes.  texts: what is between them.  Raises AssertionError if
    elements are not closed where they should be.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All that can be read."""
        return " ".join(" ".join(self.texts).split())

    @property
    def links(self) -> list[str]:
        """Where links lead."""
        return [str(more["href"]) for tag, more in self.elements if tag == "a"]
