# SPDX-License-Identifier: MIT
"""Guard: what requests get in, and what browsers may do with the pages.

Whoever reaches our socket may read: who that is, the web server or ssh decides.  But any site in
the world can have the administrator's browser ask us.  It learns nothing by that, unless its name
comes to stand for our address (DNS rebinding): so on TCP we answer only under names that are ours.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from qpsmtpd.dashboard.archive import BusyError
from qpsmtpd.errors import ConfigError, StoreError

log = logging.getLogger(__name__)

#: Requests that are answered at the same time; those who look at what is live take one each.
MOST_REQUESTS = 128

#: Nothing from elsewhere, nothing inline, nothing kept, and nobody may frame or read the pages.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_METHODS = ("GET", "HEAD")
#: What the loopback addresses are called.
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

ShowError = Callable[[web.Request, HTTPStatus, str], Awaitable[web.StreamResponse]]


class Guard:
    """Middleware that is around all handlers.

    names: under which we answer, without a port; None means any, as on a Unix socket.
    show: makes the page about an error.
    """

    def __init__(self, names: Collection[str] | None, show: ShowError) -> None:
        self._names = names
        self._show = show
        self._answering = 0

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request."""
        self._answering += 1
        try:
            response = await self._admit(request, handler)
        finally:
            self._answering -= 1
        return response

    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._answering > MOST_REQUESTS:
            return await self._show(request, HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests.")
        if self._names is not None and _host(request) not in self._names:
            text = "This is not a name of the dashboard; see the option --host."
            return await self._show(request, HTTPStatus.MISDIRECTED_REQUEST, text)
        if request.method not in _METHODS:
            response = await self._show(
                request, HTTPStatus.METHOD_NOT_ALLOWED, "The dashboard can only be read."
            )
            response.headers["Allow"] = ", ".join(_METHODS)
            return response
        return await self._answer(request, handler)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            status = HTTPStatus(error.status)
            return await self._show(request, status, error.text or status.description)
        except (BusyError, ConfigError) as error:
            return await self._show(request, HTTPStatus.SERVICE_UNAVAILABLE, f"{error}.")
        except StoreError as error:
            text = f"The store does not answer: {error}."
            return await self._show(request, HTTPStatus.SERVICE_UNAVAILABLE, text)
        except Exception:
            log.exception("fault: %s", request.rel_url)
            text = "The dashboard failed; its log has the reason."
            return await self._show(request, HTTPStatus.INTERNAL_SERVER_ERROR, text)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add what every response has."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


def _host(request: web.Request) -> str:
    """The host that is asked, in lower case, without the port."""
    host = request.headers.get("Host", "").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
