# SPDX-License-Identifier: MIT
"""ProxyHandshake: the first bytes of a connection that may come from a proxy such as HAProxy.

Theory of operation.  Whatever connects from one of `proxy_networks` is a proxy, and has to say with
a header of the PROXY protocol, before anything else, whose connection it passes on.  Whatever
connects from elsewhere is a client: its header is never believed but is an unknown command.  So
nobody can choose between the two, as the protocol's specification demands (section 2).

Once the header has been read, an SmtpProtocol takes over the transport, with the addresses of the
client as if it had connected directly; what follows the header is passed on to it, TLS included.
From then on the address of the proxy plays no part: not in relaying, not in DNS lists, not in the
limits per client.

A header without TCP addresses (UNKNOWN, a Unix socket) ends the connection with a 421, although
the specification would have us take the proxy for the client: the proxy may be one of
`relayclients`, and then a client about which nothing is known could relay.  With LOCAL, which
proxies send in their health checks, the proxy really is the client.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

from qpsmtpd.mail.ip import Endpoint, parse_ip
from qpsmtpd.smtp.protocol import DRAIN_PATIENCE, Host, SmtpProtocol, endpoint
from qpsmtpd.smtp.proxyheader import BadHeaderError, ProxyHeader, parse
from qpsmtpd.smtp.replies import CLIENT_UNKNOWN, TOO_MANY_CONNECTIONS
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)


class ProxyHost(Host, Protocol):
    """What such a connection needs from the server that accepted it (server.py)."""

    def expect_header(self, protocol: ProxyHandshake, ip: str) -> bool:
        """Register a connection whose header is still to come; False when the worker is full."""

    def expect_no_header(self, protocol: ProxyHandshake) -> None:
        """The header has come, or never will."""


class ProxyHandshake(asyncio.Protocol):
    """A connection until it is known whose it is.

    client, local: its ends when somebody else accepted it, as for SmtpProtocol.
    """

    def __init__(
        self,
        host: ProxyHost,
        loop: asyncio.AbstractEventLoop,
        *,
        implicit_tls: bool = False,
        client: Endpoint | None = None,
        local: Endpoint | None = None,
        lmtp: bool = False,
    ) -> None:
        self._host = host
        self._loop = loop
        self._implicit_tls = implicit_tls
        self._client = client
        self._local = local
        self._lmtp = lmtp
        self._proxy = Endpoint("")
        self._data = b""
        self._draining = False
        self._timer: asyncio.TimerHandle | None = None

    # --- asyncio calls these ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected: a proxy or a client?"""
        self._transport = cast("asyncio.Transport", transport)
        settings = self._host.snapshot.settings
        peer = self._client or endpoint(transport.get_extra_info("peername"))
        if peer is None or parse_ip(peer.ip) not in settings.proxies:
            self._begin_session(self._client, self._local)
            return
        self._proxy = peer
        if not self._host.expect_header(self, peer.ip):
            self._say(TOO_MANY_CONNECTIONS)
            self._transport.close()
            return
        self._wait_for_header(settings.proxy_timeout)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived: of the header, and perhaps of what follows it."""
        if self._timer is None:
            return
        self._data += data
        try:
            header = parse(self._data)
        except BadHeaderError as error:
            self._refuse(f"bad header: {error}")
        else:
            if header is not None:
                self._pass_on(header)

    def connection_lost(self, _error: Exception | None) -> None:
        """The connection ended before its header did."""
        if self._stop_waiting():
            # Simple health checks connect and say nothing.
            level = logging.WARNING if self._data else logging.DEBUG
            log.log(level, "proxy ip=%s hung up before its header was complete", self._proxy.ip)

    # --- the server calls these -------------------------------------------------------------

    def drain(self) -> None:
        """The server is stopping: tell the client so, if its header is under way."""
        self._draining = True
        if self._timer is not None:
            self._timer.cancel()
            self._wait_for_header(DRAIN_PATIENCE)

    def cut(self) -> None:
        """End the connection now."""
        if self._stop_waiting():
            self._transport.abort()

    # --- what becomes of it -----------------------------------------------------------------

    def _wait_for_header(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._refuse, "no header in time")

    def _pass_on(self, header: ProxyHeader) -> None:
        if header.kind == "unusable":
            self._say(CLIENT_UNKNOWN)
            self._refuse(f"its client's address is {header.family}, not TCP")
            return
        self._stop_waiting()
        if header.kind == "proxy":
            session = self._begin_session(self._client, self._local)
        else:
            log.debug("proxy ip=%s passes on client=%s", self._proxy.ip, header.client)
            session = self._begin_session(header.client, header.local)
            if session.connection is not None:
                session.connection.session.proxy = self._proxy
        if rest := self._data[header.length :]:
            session.data_received(rest)
        if self._draining:
            session.drain()

    def _begin_session(self, client: Endpoint | None, local: Endpoint | None) -> SmtpProtocol:
        session = SmtpProtocol(
            self._host,
            self._loop,
            implicit_tls=self._implicit_tls,
            client=client,
            local=local,
            lmtp=self._lmtp,
        )
        self._transport.set_protocol(session)
        session.connection_made(self._transport)
        return session

    def _refuse(self, reason: str) -> None:
        self._stop_waiting()
        log.warning("connection of proxy ip=%s refused: %s", self._proxy.ip, reason)
        self._transport.close()

    def _stop_waiting(self) -> bool:
        """Stop waiting for the header; whether it was still expected."""
        if self._timer is None:
            return False
        self._timer.cancel()
        self._timer = None
        self._host.expect_no_header(self)
        return True

    def _say(self, reply: Reply) -> None:
        if not self._implicit_tls:
            self._transport.write(reply.octets)
