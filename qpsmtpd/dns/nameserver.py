# SPDX-License-Identifier: MIT
"""NameServer: asks one name server, by UDP or TCP, and knows whether it answers, and how.

A question says that answers of up to 1232 octets are taken (EDNS, RFC 6891), which is what passes
everywhere in one piece.  A name server that fails because of that, or keeps silent, is asked
without it for some minutes.

Who asks is called back, so that a question costs neither a task nor a timer of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from qpsmtpd.dns.answers import MAX_OCTETS, NO_ERROR, AnswerTooLargeError, rcode_of
from qpsmtpd.dns.udpport import Query, Turn, UdpPort, is_answer, plain_query, random_number
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import Clock

#: Seconds for which a name server that keeps silent stands behind the others.
AVOID_SECONDS = 10.0
#: Seconds for which a name server is asked without EDNS.
PLAIN_SECONDS = 300.0

#: Ports that wait for late answers; when there are more, a worn-out one stays in use.
_MAX_RETIRED = 32
#: Connections at the same time.
_MAX_TCP = 8
#: FORMERR and NOTIMP, by which old name servers say that they do not know EDNS.
_NOT_UNDERSTOOD = (1, 4)
#: The name servers of the root, which every resolver knows.
_EASY_QUESTION = b"\x00\x00\x02\x00\x01"
_EASY_SECONDS = 1.0
_NEVER = float("-inf")


class NameServer:
    """One name server at a numeric address; OSError (gaierror) when it is not one."""

    def __init__(self, host: str, port: int, clock: Clock, turn: Turn) -> None:
        self._host = host
        self._port = port
        self._clock = clock
        self._turn = turn
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        self._family = infos[0][0]
        self._sockaddr = infos[0][4]
        self._udp: UdpPort | None = None
        self._retired: list[UdpPort] = []
        self._tcp = asyncio.Semaphore(_MAX_TCP)
        #: When it last said anything, in the loop's time.
        self.heard = _NEVER
        self._tested = _NEVER
        # Until when, and when it had last said anything before: a word from it ends that.
        self._avoided_until = self._heard_before = _NEVER
        self._plain_until = _NEVER
        #: Whether it has answered a question with EDNS.
        self._knows_edns = False

    def __str__(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    # --- asking -----------------------------------------------------------------------------

    def ask(self, query: Query, now: float, *, again: bool = False) -> None:
        """Ask by UDP; the query is told once, unless it is given up.  Raises OSError.

        now: the loop's time.  again: the same question got no answer, which may be because of EDNS.
        """
        if again or query.number or self._plain_until != _NEVER:
            plain = self._clock.monotonic() < self._plain_until
            query.edns = edns = not plain and (self._knows_edns or not again)
            query.instead = again and not edns
        port = self._udp
        if port is None or port.queries_left <= 0 or port.until < now:
            port = self._another_port()
        port.send(query)

    async def ask_by_tcp(self, question: bytes) -> bytes:
        """The answer in wire format.  Raises OSError or DnsError; waits without an end."""
        query = plain_query(random_number(), question)
        async with self._tcp:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                writer.write(len(query).to_bytes(2, "big") + query)
                answer = await _read(reader)
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        if answer[:2] != query[:2] or not is_answer(answer, question):
            raise DnsError("the answer does not belong to the question")
        return answer

    def close(self) -> None:
        """Close the sockets; what waits on them gets no answer."""
        for port in (*self._retired, *filter(None, [self._udp])):
            port.close()
        self._retired.clear()
        self._udp = None

    def _another_port(self) -> UdpPort:
        """A port in place of one that is worn out, unless too many of those are waited for."""
        if (port := self._udp) is not None:
            self._retired = [retired for retired in self._retired if retired.is_open]
            if len(self._retired) >= _MAX_RETIRED:
                return port
            port.retire()
            self._retired.append(port)
            self._udp = None  # also if there can be no other
        self._udp = port = UdpPort(self._family, self._sockaddr, self._turn, self)
        return port

    def take(self, query: Query, answer: bytes) -> None:
        """Pass an answer on, unless it fails because of EDNS: then ask without that."""
        if rcode_of(answer) in NO_ERROR:
            if query.edns:
                self._knows_edns = True
            elif query.instead:
                self._knows_edns = False
                self._plain_until = self._clock.monotonic() + PLAIN_SECONDS
        elif query.edns and self._may_not_know_edns(answer):
            self._ask_instead(query)
            return
        query.take(answer)

    def _may_not_know_edns(self, failure: bytes) -> bool:
        if failure[10:12] != b"\x00\x00":  # it has an OPT record itself
            return False
        return rcode_of(failure) in _NOT_UNDERSTOOD or not self._knows_edns

    def _ask_instead(self, query: Query) -> None:
        query.edns, query.instead = False, True
        try:
            (self._udp or self._another_port()).send(query)
        except OSError as error:
            query.fail(error)

    # --- whether it answers -----------------------------------------------------------------

    def kept_silent(self, since: float) -> None:
        """A question got no answer since then, in the loop's time.

        That may be due to the zone that was asked about.  So unless there was any other answer,
        an easy question finds out.
        """
        if self.heard >= since:
            return
        self.avoid()
        now = asyncio.get_running_loop().time()
        if self._udp is not None and now >= self._tested + _EASY_SECONDS:
            self._tested = now
            self._udp.send_unawaited(_EASY_QUESTION)

    def avoid(self) -> None:
        """It cannot be reached: others are asked first for some seconds."""
        self._avoided_until = self._clock.monotonic() + AVOID_SECONDS
        self._heard_before = self.heard

    def may_be_first(self) -> bool:
        """Whether to ask it first.  When it was avoided long enough, one question tries it."""
        if self._avoided_until == _NEVER or self.heard != self._heard_before:
            return True
        if self._clock.monotonic() < self._avoided_until:
            return False
        self.avoid()
        return True


async def _read(reader: asyncio.StreamReader) -> bytes:
    """A message by TCP (RFC 1035 section 4.2.2), unless it is too large."""
    try:
        size = int.from_bytes(await reader.readexactly(2), "big")
        if size > MAX_OCTETS:
            raise AnswerTooLargeError
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise DnsError("the connection was closed early") from None
