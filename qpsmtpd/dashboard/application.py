# SPDX-License-Identifier: MIT
"""Application: the addresses of the dashboard, and who answers at each of them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import aclosing, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from qpsmtpd import __version__
from qpsmtpd.dashboard.guard import Guard, add_headers
from qpsmtpd.dashboard.live import Live
from qpsmtpd.dashboard.pages import Pages
from qpsmtpd.dashboard.search import parse_moment, parse_search
from qpsmtpd.dashboard.views import Views

#: Address and title of what is in the navigation.
PAGES = {
    "": "Now",
    "decisions": "Decisions",
    "plugins": "Plugins",
    "services": "DNS and scanners",
    "report": "Report",
}

#: Seconds between two looks at what is shown live.
LIVE_SECONDS = 3.0

_STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Dashboard:
    """Answers requests."""

    def __init__(self, views: Views, pages: Pages) -> None:
        self._views = views
        self._pages = pages
        #: By the name of the page: what is on it, of which a part is shown live.
        self._values = {"now": views.now, "services": views.services}
        self._live = {
            name: Live(partial(self._live_part, name), LIVE_SECONDS) for name in self._values
        }

    def application(self, names: Collection[str] | None) -> web.Application:
        """What answers requests; names: see Guard."""
        application = web.Application(middlewares=[Guard(names, self._error).handle])
        application.on_response_prepare.append(add_headers)
        application.on_shutdown.append(self._close)
        router = application.router
        router.add_get("/", partial(self._live_page, "now", PAGES[""]))
        router.add_get("/decisions", self._decisions)
        router.add_get("/decisions/{id:[0-9A-F.]+}/{ticks:[0-9]+}", self._decision)
        router.add_get("/plugins", self._plugins)
        router.add_get("/services", partial(self._live_page, "services", PAGES["services"]))
        router.add_get("/report", self._report)
        for name in self._live:
            router.add_get(f"/events/{name}", partial(self._events, name))
        for path in _STATIC.iterdir():
            file = partial(_file, path.read_bytes(), _TYPES[path.suffix])
            router.add_get(f"/static/{path.name}", file)
        return application

    async def _close(self, _: web.Application) -> None:
        for live in self._live.values():
            live.close()

    async def _live_page(self, name: str, title: str, request: web.Request) -> web.StreamResponse:
        return self._page(request, f"{name}.html", title=title, **await self._values[name]())

    async def _live_part(self, name: str) -> str:
        # The address of the page that it becomes a part of has no slash after the root's.
        return self._pages.render(f"{name}-part.html", {"root": "./", **await self._values[name]()})

    async def _events(self, name: str, request: web.Request) -> web.StreamResponse:
        """The part of a page that changes, again and again (server-sent events)."""
        headers = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        # Whoever looks goes away when he likes.
        with suppress(ConnectionResetError):
            await self._send_texts(name, request, response)
        return response

    async def _send_texts(
        self, name: str, request: web.Request, response: web.StreamResponse
    ) -> None:
        async with aclosing(self._live[name].texts()) as texts:
            async for text in texts:
                if not response.prepared:
                    await response.prepare(request)
                lines = "".join(f"data: {line}\n" for line in text.split("\n"))
                await response.write(f"{lines}\n".encode())

    async def _decisions(self, request: web.Request) -> web.StreamResponse:
        try:
            search = parse_search(request.query)
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"{str(error).capitalize()}.") from None
        values = await self._views.decisions(search)
        return self._page(request, "decisions.html", title="Decisions", **values)

    async def _decision(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        try:
            values = await self._views.decision(name, parse_moment(request.match_info["ticks"]))
        except ValueError:
            values = None
        if values is None:
            raise web.HTTPNotFound(text="The store does not have this decision, or not any more.")
        return self._page(request, "decision.html", title=f"Decision {name}", **values)

    async def _plugins(self, request: web.Request) -> web.StreamResponse:
        return self._page(request, "plugins.html", title="Plugins", **await self._views.plugins())

    async def _report(self, request: web.Request) -> web.StreamResponse:
        try:
            values = await self._views.report(request.query.get("of", "day"))
        except KeyError:
            raise web.HTTPNotFound(text="There is no such report.") from None
        return self._page(request, "report.html", title="Report", **values)

    def _page(
        self, request: web.Request, template: str, *, code: int = HTTPStatus.OK, **values: Any
    ) -> web.Response:
        path = request.rel_url.raw_path
        frame = {
            "root": "../" * (path.count("/") - 1) or "./",
            "pages": PAGES,
            "here": path.split("/")[1],
            "version": __version__,
        }
        text = self._pages.render(template, {**frame, "code": code, **values})
        return web.Response(text=text, content_type="text/html", status=code)

    async def _error(
        self, request: web.Request, status: HTTPStatus, text: str
    ) -> web.StreamResponse:
        return self._page(request, "error.html", code=int(status), title=status.phrase, text=text)


async def _file(content: bytes, kind: str, _: web.Request) -> web.StreamResponse:
    headers = {"Cache-Control": "no-cache"}
    return web.Response(body=content, content_type=kind, charset="utf-8", headers=headers)
