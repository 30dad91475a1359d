# SPDX-License-Identifier: MIT
"""UdpPort: a socket that is connected to a name server, and the queries that wait on it.

The kernel drops what comes from elsewhere, and chooses the port at random; ids are random as well.
An answer counts when id and question are those of a query that waits (RFC 5452).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from qpsmtpd.dns.answers import HEADER_OCTETS, NO_ERROR, rcode_of

#: Called with the answer in wire format, or with what makes one impossible.
Taker = Callable[[bytes | OSError], None]

#: A port is replaced after some use, when somebody may have found it out.
QUERIES_PER_PORT = 100
SECONDS_PER_PORT = 2.0

#: Seconds for reading answers in one turn of the event loop: one takes up to a millisecond, and
#: nobody else is to wait for very many of them.
SECONDS_PER_TURN = 0.003
#: Octets of a datagram that are read; it is three times what we say that we take.
_MAX_DATAGRAM = 4096

# After the id: recursion desired, one question, no records; or one, which is for EDNS.
_HEADER = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
_EDNS_HEADER = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01"
# OPT (RFC 6891 section 6.1.2): the root, 1232 octets are taken, no flags, no options.
_EDNS_RECORD = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"


class Query:
    """A question that waits for its answer.

    edns: whether it says how long the answer may be.
    instead: whether it is asked without that because it failed with it.
    """

    __slots__ = ("edns", "instead", "number", "port", "question", "taker")

    def __init__(self, question: bytes, taker: Taker, *, edns: bool, instead: bool) -> None:
        self.question = question
        self.taker = taker
        self.edns = edns
        self.instead = instead
        self.number = b""
        self.port: UdpPort | None = None

    def give_up(self) -> None:
        """Wait no longer; the taker is not called any more."""
        if self.port is not None:
            self.port.forget(self)
            self.port = None

    def wire(self) -> bytes:
        """The query in wire format."""
        if self.edns:
            return self.number + _EDNS_HEADER + self.question + _EDNS_RECORD
        return plain_query(self.number, self.question)


def random_number() -> bytes:
    """An id for a query."""
    return os.urandom(2)


def plain_query(number: bytes, question: bytes) -> bytes:
    """A query without EDNS in wire format."""
    return number + _HEADER + question


class Turn:
    """The time that all ports together may read answers for in one turn of the event loop."""

    def __init__(self) -> None:
        self._end = 0.0
        self._has_begun = False

    def has_time(self) -> bool:
        """Whether there is time for one more answer in this turn."""
        # Not the loop's time, which stands still within a turn of uvloop.
        now = time.monotonic()
        if not self._has_begun:
            self._has_begun = True
            self._end = now + SECONDS_PER_TURN
            asyncio.get_running_loop().call_soon(self._is_over)
        return now < self._end

    def _is_over(self) -> None:
        self._has_begun = False


class UdpPort:
    """One socket.

    turn: what limits how many answers are read at once.
    heard: called when anything has come from the name server.
    take: called with a query and its answer.
    """

    def __init__(
        self,
        family: int,
        sockaddr: Any,
        turn: Turn,
        heard: Callable[[], None],
        take: Callable[[Query, bytes], None],
    ) -> None:
        self._turn = turn
        self._heard = heard
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[bytes, Query] = {}
        self._queries = 0
        self._opened = self._loop.time()
        self._retired = False
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(sockaddr)
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket, self._readable)

    @property
    def worn_out(self) -> bool:
        """Whether the port has been in use for so long that it should be replaced."""
        age = self._loop.time() - self._opened
        return self._queries >= QUERIES_PER_PORT or age > SECONDS_PER_PORT

    @property
    def is_open(self) -> bool:
        """Whether the socket is still there."""
        return self._socket.fileno() >= 0

    def send(self, query: Query) -> None:
        """Send a query, which waits here until it is answered or given up.  Raises OSError."""
        query.number = random_number()
        while query.number in self._waiting:
            query.number = random_number()
        self._queries += 1
        # A full socket buffer loses the query, as the network might.
        with contextlib.suppress(BlockingIOError):
            self._socket.send(query.wire())
        query.port = self
        self._waiting[query.number] = query

    def send_unawaited(self, question: bytes) -> None:
        """Ask a question whose answer is not waited for; that anything comes is enough."""
        with contextlib.suppress(OSError):
            self._socket.send(plain_query(random_number(), question))

    def forget(self, query: Query) -> None:
        """Wait no longer for the answer to a query."""
        self._waiting.pop(query.number, None)
        self._close_when_done()

    def retire(self) -> None:
        """Close as soon as nobody waits any more."""
        self._retired = True
        self._close_when_done()

    def close(self) -> None:
        """Close the socket; what waits on it gets no answer."""
        if self.is_open:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _close_when_done(self) -> None:
        if self._retired and not self._waiting:
            self.close()

    def _readable(self) -> None:
        # What is left makes us readable again in the next turn.
        while self._turn.has_time():
            try:
                answer = self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(error)
                return
            self._heard()
            self._deliver(answer)
            if not self._waiting:
                return  # nothing else is expected, and the socket may be closed

    def _deliver(self, answer: bytes) -> None:
        query = self._waiting.get(answer[:2])
        if query is not None and is_answer(answer, query.number, query.question):
            query.give_up()
            self._take(query, answer)

    def _fail(self, error: OSError) -> None:
        """Nobody listens there (ICMP), so none of those who wait will get an answer."""
        for query in tuple(self._waiting.values()):
            query.give_up()
            query.taker(error)


def is_answer(answer: bytes, number: bytes, question: bytes) -> bool:
    """Whether a message is a response to the query with this id and question.

    The name may come back in another case: length octets are below "A", so it is safe to fold, and
    so are our types and classes.  Who could not read the question may leave it out.
    """
    if len(answer) < HEADER_OCTETS or answer[:2] != number or answer[2] & 0xF8 != 0x80:
        return False
    if len(answer) == HEADER_OCTETS:
        return rcode_of(answer) not in NO_ERROR
    end = HEADER_OCTETS + len(question)
    return answer[4:6] == b"\x00\x01" and answer[HEADER_OCTETS:end].lower() == question
