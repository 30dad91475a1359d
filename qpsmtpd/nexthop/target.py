# SPDX-License-Identifier: MIT
"""Target: where the next hop is, and how to talk to it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qpsmtpd.nexthop.hopauth import Credentials
from qpsmtpd.plugin.place import Place, parse_place

#: Exim delivers at once only what is among the first ten messages of a connection, if nobody has
#: changed smtp_accept_queue_per_connection.
MESSAGES = 10

TlsMode = Literal["off", "may", "require", "verify"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A next hop.

    host, port: its TCP address; or path: its Unix socket.
    hello: the name we give in EHLO, HELO or LHLO.
    lmtp: it speaks LMTP (RFC 2033) instead of SMTP.
    context: of TLS, None where tls is "off".
    implicit_tls: TLS begins with the connection and not with STARTTLS (RFC 8314).
    tls_name: the name that its certificate has to have, if that is not `host`.
    fingerprints: SHA-256 of the certificates that it may have, in hexadecimal; if none, any.
    credentials: with which we log in; None for not at all.
    source: our own address for the connection; "" is any.
    words: whether our replies have its words.
    messages: how many transactions a connection may carry.
    chunking: whether messages may go in chunks, where it offers that.
    timeout, dot_timeout: seconds for each step, and for the reply to a complete message.
    """

    host: str = ""
    port: int = 25
    path: str = ""
    hello: str
    lmtp: bool = False
    tls: TlsMode = "off"
    context: ssl.SSLContext | None = None
    implicit_tls: bool = False
    tls_name: str = ""
    fingerprints: frozenset[str] = frozenset()
    credentials: Credentials | None = None
    source: str = ""
    words: bool = False
    messages: int = MESSAGES
    chunking: bool = True
    timeout: float = 60.0
    dot_timeout: float = 300.0

    def __str__(self) -> str:
        return str(Place(self.host, self.port, self.path))


def smtp_target(text: str, *, hello: str, timeout: float) -> Target:
    """The SMTP server at a place, without TLS.  Raises ValueError as `parse_place` does."""
    place = parse_place(text)
    return Target(host=place.host, port=place.port, path=place.path, hello=hello, timeout=timeout)


def tls_context(mode: TlsMode, ca: Path | None, *, pinned: bool = False) -> ssl.SSLContext | None:
    """The client context of a mode.  Reads files; raises OSError if `ca` is not a certificate file.

    Only "verify" looks at the certificate: without it, TLS protects against those who listen, not
    against those who stand between us and the next hop.
    pinned: the certificate is known, and needs nobody who vouches for it.
    """
    if mode == "off":
        return None
    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    if mode != "verify" or pinned:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
