# SPDX-License-Identifier: MIT
"""Introspection (RFC 7662): asking the server that gives tokens what one of them is worth."""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import dataclass, field
from urllib.parse import quote_plus, urlencode, urlsplit

from qpsmtpd.logins.hosts import check_host, is_here
from qpsmtpd.plugin.place import Place
from qpsmtpd.scanners.content import Octets
from qpsmtpd.scanners.http import exchange
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

#: Octets of an answer that are read.
MOST = 64 << 10

_URL_FORM = "https://HOST[:PORT]/PATH, without a user; http:// on this machine only"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, and who we say we are.  path: with the query."""

    host: str
    port: int
    path: str
    tls: bool
    client_id: str = ""
    secret: str = field(default="", repr=False)

    @property
    def place(self) -> Place:
        """Where it listens."""
        return Place(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a valid token says.

    user: the claim that names the user, "" if there is none.  expires: seconds since the epoch.
    audience: who the token is meant for; empty if it does not say.
    """

    user: str
    scope: frozenset[str]
    audience: frozenset[str]
    expires: float | None = None


def parse_endpoint(url: str, client_id: str = "", secret: str = "") -> Endpoint:
    """The endpoint at a URL.  Raises a ValueError that says what would be right."""
    try:
        parts = urlsplit(url)
        host, tls = parts.hostname or "", parts.scheme == "https"
        check_host(host)
        port = parts.port or (443 if tls else 80)
    except ValueError:
        raise ValueError(_URL_FORM) from None
    secure = tls or (parts.scheme == "http" and is_here(host))
    if not secure or "@" in parts.netloc or parts.fragment or not _is_plain(url):
        raise ValueError(_URL_FORM)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(host, port, path, tls, client_id, secret)


def check_endpoint(url: str) -> None:
    """Check an option.  Raises a ValueError that says what would be right."""
    parse_endpoint(url)


def _is_plain(url: str) -> bool:
    return all("!" <= character <= "~" for character in url)


async def introspect(
    wire: ScannerWire, endpoint: Endpoint, context: ssl.SSLContext | None, token: str, claim: str
) -> Grant | None:
    """What a token is worth; None if nothing.

    context: that of TLS, None to do without.  claim: what names the user.
    Raises ScannerError.
    """
    if context is not None:
        await wire.start_tls(context, endpoint.host)
    form = Octets(urlencode({"token": token, "token_type_hint": "access_token"}).encode())
    response = await exchange(wire, "POST", endpoint.path, _fields(endpoint), form)
    if response.status in (401, 403):
        raise ScannerError("does not let us ask: client_id and secret may be wrong")
    if response.status != 200:
        raise ScannerError(f"answers with the status {response.status}")
    return parse_grant(response.content, claim)


def _fields(endpoint: Endpoint) -> list[tuple[str, str]]:
    # RFC 6749 section 2.3.1: both are encoded before they become Basic authentication.
    words = f"{quote_plus(endpoint.client_id)}:{quote_plus(endpoint.secret)}"
    basic = base64.b64encode(words.encode()).decode()
    return [
        ("Host", str(endpoint.place)),
        ("Accept", "application/json"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Authorization", f"Basic {basic}"),
    ]


def parse_grant(octets: bytes, claim: str) -> Grant | None:
    """What an answer says (RFC 7662 section 2.2); None if the token is not valid.

    Raises ScannerError.
    """
    if len(octets) > MOST:
        raise ScannerError("its answer is too long")
    try:
        said = json.loads(octets)
    except (ValueError, RecursionError):
        raise ScannerError("its answer is not JSON") from None
    if not isinstance(said, dict) or not isinstance(said.get("active"), bool):
        raise ScannerError("its answer does not say whether the token is active")
    if not said["active"]:
        return None
    user, scope, expires = said.get(claim, ""), said.get("scope", ""), said.get("exp")
    audience = said.get("aud", [])
    audience = [audience] if isinstance(audience, str) else audience
    if not isinstance(user, str) or not isinstance(scope, str) or not isinstance(audience, list):
        raise ScannerError("its answer has a claim of another type")
    if expires is not None and (isinstance(expires, bool) or not isinstance(expires, int | float)):
        raise ScannerError("its answer has a claim of another type")
    names = frozenset(each for each in audience if isinstance(each, str))
    return Grant(user, frozenset(scope.split()), names, expires)
