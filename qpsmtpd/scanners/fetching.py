# SPDX-License-Identifier: MIT
"""Fetching a file by HTTP or HTTPS."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from qpsmtpd.plugin.place import Place, parse_place
from qpsmtpd.scanners.http import Response, exchange
from qpsmtpd.scanners.service import converse
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

#: What a URL has to be, for messages about one that is not.
URL_FORMS = "https://HOST[:PORT]/PATH or http://HOST[:PORT]/PATH, in ASCII and without a password"

_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Url:
    """A URL: where its server is, the name of that, and what to ask for there."""

    text: str
    place: Place
    host: str
    path: str
    secure: bool

    def __str__(self) -> str:
        return self.text


def parse_url(text: str) -> Url:
    """What a URL means.  Raises a ValueError that says what would be right."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        written = f"[{host}]" if ":" in host else host
        port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
        place = parse_place(f"{written}:{port}")
    except ValueError:
        raise ValueError(URL_FORMS) from None
    plain = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in _PORTS or not plain or "@" in parts.netloc or parts.fragment:
        raise ValueError(URL_FORMS)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if text.endswith("?"):
        path += "?"
    return Url(text, place, host, path, parts.scheme == "https")


async def fetch(url: Url, context: ssl.SSLContext, timeout: float) -> Response:
    """What the server answers; redirections are not followed.  Raises ScannerError."""

    async def talk(wire: ScannerWire) -> Response:
        if url.secure:
            await wire.start_tls(context, url.host)
        response = await exchange(wire, "GET", url.path, [("Host", _host_field(url))])
        if not response.delimited:
            raise ScannerError("its answer has no length: some of it may be missing")
        return response

    return await converse(url.place, talk, asyncio.get_running_loop().time() + timeout)


def _host_field(url: Url) -> str:
    written = f"[{url.host}]" if ":" in url.host else url.host
    default = url.place.port == _PORTS["https" if url.secure else "http"]
    return written if default else f"{written}:{url.place.port}"
