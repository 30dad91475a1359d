# SPDX-License-Identifier: MIT
"""UdpPort: a socket that is connected to a name server, and the queries that wait on it.

The kernel drops what comes from elsewhere, and chooses the port at random; ids are random as well.
An answer counts when id and question are those of a query that waits (RFC 5452).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import time
from abc import ABC, abstractmethod
from typing import Any, Protocol

from qpsmtpd.dns.answers import HEADER_OCTETS, NO_ERROR, OF_ONE, rcode_of

log = logging.getLogger(__name__)

#: A port is replaced after some use, when somebody may have found it out.
QUERIES_PER_PORT = 100
SECONDS_PER_PORT = 2.0
#: Random ids that are got from the kernel at once: a system call for each takes longer.
_NUMBERS_AT_ONCE = 32
_numbers = struct.Struct("2s" * _NUMBERS_AT_ONCE)

#: Seconds for reading answers before others have their turn: one takes up to a millisecond, and
#: nobody else is to wait for very many of them.
SECONDS_PER_TURN = 0.003
#: Octets of a datagram that are read; it is three times what we say that we take.
_MAX_DATAGRAM = 4096

# After the id: recursion desired, one question, no records; or one, which is for EDNS.
_HEADER = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
_EDNS_HEADER = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01"
# OPT (RFC 6891 section 6.1.2): the root, 1232 octets are taken, no flags, no options.
_EDNS_RECORD = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"


class Query(ABC):
    """A question that is asked, of one name server after the other if need be.

    question: in wire format, with type and class.
    edns: whether it says how long the answer may be.
    instead: whether it is asked without that because it failed with it.
    number, port: its id, and where it waits for an answer; None if it does not.
    """

    # Most are asked once, as this says.
    edns = True
    instead = False
    number = b""
    port: UdpPort | None = None

    question: bytes

    @abstractmethod
    def take(self, answer: bytes) -> None:
        """The answer is there, in wire format."""

    @abstractmethod
    def fail(self, error: OSError) -> None:
        """There will be no answer from there."""

    def give_up(self) -> None:
        """Wait no longer; nothing is taken any more."""
        if self.port is not None:
            self.port.forget(self)
            self.port = None


class Listener(Protocol):
    """The owner of a port: all answers pass through it (nameserver.py).

    heard: when anything came, in the loop's time.
    """

    heard: float

    def take(self, query: Query, answer: bytes) -> None:
        """A query has its answer."""


def random_number() -> bytes:
    """An id for a query."""
    return os.urandom(2)


def plain_query(number: bytes, question: bytes) -> bytes:
    """A query without EDNS in wire format."""
    return number + _HEADER + question


class Turn:
    """The time for which all ports together read answers before the event loop does other things.

    It is not asked whether that was in one turn of the loop or in several: to notice each turn's
    end would cost a callback for nearly each answer.

    left: seconds; while there are any, one more answer may be read.
    """

    def __init__(self) -> None:
        self.left = SECONDS_PER_TURN

    def end(self) -> None:
        """None are left; the next turn brings some."""
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self.left = SECONDS_PER_TURN


class UdpPort:
    """One socket.

    turn: what limits how many answers are read at once.
    """

    def __init__(self, family: int, sockaddr: Any, turn: Turn, listener: Listener) -> None:
        self._turn = turn
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[bytes, Query] = {}
        #: How many more queries it is for, and until when, in the loop's time.
        self.queries_left = QUERIES_PER_PORT
        self.until = self._loop.time() + SECONDS_PER_PORT
        #: Random ids for the next queries.
        self._numbers: list[bytes] = []
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
    def is_open(self) -> bool:
        """Whether the socket is still there."""
        return self._socket.fileno() >= 0

    def send(self, query: Query) -> None:
        """Send a query, which waits here until it is answered or given up.  Raises OSError."""
        waiting, numbers = self._waiting, self._numbers
        while not numbers or numbers[-1] in waiting:
            self._draw_number()
        query.number = number = numbers.pop()
        self.queries_left -= 1
        try:
            if query.edns:
                self._socket.send(number + _EDNS_HEADER + query.question + _EDNS_RECORD)
            else:
                self._socket.send(plain_query(number, query.question))
        except BlockingIOError:
            # As the network might lose it.
            log.debug("the buffer of the socket is full: a query is lost")
        query.port = self
        waiting[number] = query

    def _draw_number(self) -> None:
        """Another id in place of the last one, or a number of them if there is none."""
        if self._numbers:
            self._numbers.pop()
        else:
            self._numbers += _numbers.unpack(os.urandom(_numbers.size))

    def send_unawaited(self, question: bytes) -> None:
        """Ask a question whose answer is not waited for; that anything comes is enough."""
        with contextlib.suppress(OSError):
            self._socket.send(plain_query(random_number(), question))

    def forget(self, query: Query) -> None:
        """Wait no longer for the answer to a query."""
        self._waiting.pop(query.number, None)
        if self._retired:
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
        if not self._waiting:
            self.close()

    def _readable(self) -> None:
        # Not the loop's time, which stands still within a turn of uvloop.
        before = time.monotonic()
        waiting, turn, listener = self._waiting, self._turn, self._listener
        # What is left makes us readable again in the next turn.
        while turn.left > 0:
            try:
                answer = self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(error)
                return
            listener.heard = self._loop.time()
            query = waiting.get(answer[:2])
            if query is not None and is_answer(answer, query.question):
                query.port = None
                del waiting[query.number]
                if self._retired:
                    self._close_when_done()
                listener.take(query, answer)
            now = time.monotonic()
            turn.left -= now - before
            if turn.left <= 0:
                turn.end()
            if not waiting:
                return  # nothing else is expected, and the socket may be closed
            before = now

    def _fail(self, error: OSError) -> None:
        """Nobody listens there (ICMP), so none of those who wait will get an answer."""
        for query in tuple(self._waiting.values()):
            query.give_up()
            query.fail(error)


def is_answer(answer: bytes, question: bytes) -> bool:
    """Whether a message, which has the id of a query, is a response to its question.

    The name may come back in another case: length octets are below "A", so it is safe to fold, and
    so are our types and classes.  Who could not read the question may leave it out.
    """
    if answer[2:HEADER_OCTETS] in OF_ONE and answer.startswith(question, HEADER_OCTETS):
        return True  # as nearly all
    if len(answer) < HEADER_OCTETS or answer[2] & 0xF8 != 0x80:
        return False
    if answer[HEADER_OCTETS : HEADER_OCTETS + len(question)].lower() == question:
        return answer[4:6] == b"\x00\x01"
    return len(answer) == HEADER_OCTETS and rcode_of(answer) not in NO_ERROR
