# SPDX-License-Identifier: MIT
"""Lookup: one question on its way from name server to name server, and those who wait for it.

The name servers are asked in turn.  One that failed is not asked again; those that kept silent are,
as long as there is time.  Whoever gives up waiting leaves the look-up to the others.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from qpsmtpd.dns.answers import (
    FAILURE_TTL,
    RECORD_TYPES,
    AnswerTooLargeError,
    is_truncated,
    read_any,
    read_single,
)
from qpsmtpd.dns.nameserver import NameServer
from qpsmtpd.dns.udpport import Query
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import DnsAnswer, RecordType

#: A type, and a name in wire format and lower case.
Question = tuple[RecordType, bytes]
#: What is known at the end of a look-up.
Outcome = DnsAnswer | DnsError
#: One that is told it; raises nothing.
Taker = Callable[[Outcome], None]

#: Type and class (IN) of a question.
_TYPES = {kind: struct.pack(">HH", number, 1) for kind, number in RECORD_TYPES.items()}
_TOO_LATE = "no name server answered in time"


class Patience(NamedTuple):
    """How long to wait.

    timeout: seconds for one try at one name server.  lifetime: seconds for all of them.
    attempts: how often a name server that keeps silent is asked; None sets no limit.
    """

    timeout: float
    lifetime: float
    attempts: int | None = None


class Lookup(Query):
    """One look-up.  Its owner calls `give_up_try` after each `deadline`.

    about: what is asked.
    finished: called once, with the outcome and for how many seconds it holds.
    deadline: when the try has taken too long, in the loop's time.
    waiting: those who are told the outcome.  remembered: whether others may want to know it later.
    """

    deadline: float
    remembered = True

    _round = 1
    _problem = "no name server is configured"
    # The attempt under way: which server was asked, and by what if not by a datagram.
    _server: NameServer
    _asked: float
    _tcp: asyncio.Task[None] | None = None
    # Those that kept silent, since the last round.
    _silent: Sequence[NameServer] = ()

    def __init__(
        self,
        about: Question,
        servers: Sequence[NameServer],
        patience: Patience,
        loop: asyncio.AbstractEventLoop,
        finished: Callable[[Lookup, Outcome, int], None],
    ) -> None:
        self.about = about
        self.question = about[1] + _TYPES[about[0]]
        self.waiting: list[Taker] = []
        self._servers = servers
        self._patience = patience
        self._finished = finished
        self._loop = loop
        self._to_ask = [*servers]
        self._began = began = loop.time()
        self._end = began + patience.lifetime

    @property
    def is_answered(self) -> bool:
        """Whether any name server has said anything meanwhile, to this question or another."""
        return any(server.heard >= self._began for server in self._servers)

    @property
    def seconds(self) -> float:
        """How long it has taken until now."""
        return self._loop.time() - self._began

    def ask_next(self) -> None:
        """Ask the next name server; finish when there is none, or no time left."""
        self._asked = now = self._loop.time()
        while self._to_ask or self._begin_round():
            if now >= self._end:
                self._problem = _TOO_LATE
                break
            self._server = server = self._to_ask.pop(0)
            try:
                server.ask(self, now, again=self._round > 1)
            except OSError as error:
                self._cannot_reach(error)
            else:
                self.deadline = min(now + self._patience.timeout, self._end)
                return
        self.finish(DnsError(self._problem), FAILURE_TTL)

    def give_up_try(self) -> None:
        """The name server that was asked has not answered in time."""
        if self.port is not None:
            self._server.kept_silent(self._asked)
        self._end_try()
        self._silent = [*self._silent, self._server]
        self.ask_next()

    def start_over(self, servers: Sequence[NameServer]) -> None:
        """Ask other name servers."""
        self._end_try()
        self._servers = servers
        self._to_ask, self._silent, self._round = [*servers], (), 1
        self.ask_next()

    def finish(self, outcome: Outcome, seconds: int) -> asyncio.Task[None] | None:
        """End the look-up.  Returns a task of it that is still to end."""
        # After an answer there is nothing to end.
        ending = self._end_try() if self.port or self._tcp else None
        self._finished(self, outcome, seconds)
        for taker in self.waiting:
            taker(outcome)
        return ending

    def _begin_round(self) -> bool:
        """Those that kept silent are to be asked again; False if that is nobody, or enough."""
        if not self._silent:
            return False
        if self._round == self._patience.attempts:
            self._problem = _TOO_LATE
            return False
        self._to_ask, self._silent = [*self._silent], ()
        self._round += 1
        return True

    def _end_try(self) -> asyncio.Task[None] | None:
        tcp, self._tcp = self._tcp, None
        if tcp is not None:
            tcp.cancel()
        self.give_up()
        return tcp

    # --- what a name server says ------------------------------------------------------------

    def fail(self, error: OSError) -> None:
        self._cannot_reach(error)
        self.ask_next()

    def take(self, answer: bytes) -> None:
        if single := read_single(answer, self.question, self.about[0]):
            self.finish(*single)
        elif is_truncated(answer):
            self.deadline = min(self._loop.time() + self._patience.timeout, self._end)
            self._tcp = self._loop.create_task(self._ask_by_tcp(self._server))
        else:
            self._read(answer)

    async def _ask_by_tcp(self, server: NameServer) -> None:
        try:
            wire = await server.ask_by_tcp(self.question)
        except (OSError, DnsError) as error:
            self._tcp = None
            self._does_not_know(error)
        else:
            self._tcp = None
            self._read(wire)

    def _read(self, wire: bytes) -> None:
        try:
            answer, seconds = read_any(wire, self.question, self.about[0])
        except DnsError as error:
            self._does_not_know(error)
        else:
            self.finish(answer, seconds)

    def _does_not_know(self, error: OSError | DnsError) -> None:
        """The name server does not know, or says what cannot be read."""
        if isinstance(error, AnswerTooLargeError):
            # The others have the same answer, and it has cost enough.
            self.finish(error, FAILURE_TTL)
            return
        self._problem = f"{self._server}: {error}"
        self.ask_next()

    def _cannot_reach(self, error: OSError) -> None:
        self._server.avoid()
        self._problem = f"{self._server}: {error}"
