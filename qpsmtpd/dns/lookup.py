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
    read_answer,
)
from qpsmtpd.dns.nameserver import NameServer
from qpsmtpd.dns.udpport import Query
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import DnsAnswer, RecordType

#: A type, and a name in wire format and lower case.
Question = tuple[RecordType, bytes]
#: What is known at the end of a look-up.
Outcome = DnsAnswer | DnsError

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


class Lookup:
    """One look-up.  Its owner calls `give_up_try` after each `deadline`.

    finished: called once, with the outcome and for how many seconds it holds.
    """

    def __init__(
        self,
        question: Question,
        servers: Sequence[NameServer],
        patience: Patience,
        finished: Callable[[Lookup, Outcome, int], None],
    ) -> None:
        self.question = question
        self._wire = question[1] + _TYPES[question[0]]
        self._servers = servers
        self._patience = patience
        self._finished = finished
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[Outcome]] = []
        self._to_ask = list(servers)
        self._silent: list[NameServer] = []
        self._round = 1
        self._problem = "no name server is configured"
        # The attempt under way: which server was asked, when, and what waits for the answer.
        self._server: NameServer
        self._query: Query | None = None
        self._tcp: asyncio.Task[None] | None = None
        self._began = self._asked = self._loop.time()
        self._end = self._began + patience.lifetime
        #: When the try has taken too long, in the loop's time.
        self.deadline = self._end

    @property
    def is_answered(self) -> bool:
        """Whether any name server has said anything meanwhile, to this question or another."""
        return any(server.heard >= self._began for server in self._servers)

    @property
    def seconds(self) -> float:
        """How long it has taken until now."""
        return self._loop.time() - self._began

    def wait(self) -> asyncio.Future[Outcome]:
        """The outcome, for one that waits."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.append(future)
        return future

    def ask_next(self) -> None:
        """Ask the next name server; finish when there is none, or no time left."""
        self._asked = self._loop.time()
        while server := self._next_server():
            self._server = server
            try:
                self._query = server.ask(self._wire, self._take, again=self._round > 1)
            except OSError as error:
                self._cannot_reach(error)
            else:
                self._set_deadline()
                return
        self.finish(DnsError(self._problem), FAILURE_TTL)

    def give_up_try(self) -> None:
        """The name server that was asked has not answered in time."""
        if self._query is not None:
            self._server.kept_silent(self._asked)
        self._end_try()
        self._silent.append(self._server)
        self.ask_next()

    def start_over(self, servers: Sequence[NameServer]) -> None:
        """Ask other name servers."""
        self._end_try()
        self._servers = servers
        self._to_ask, self._silent, self._round = list(servers), [], 1
        self.ask_next()

    def finish(self, outcome: Outcome, seconds: int) -> asyncio.Task[None] | None:
        """End the look-up.  Returns a task of it that is still to end."""
        ending = self._end_try()
        for future in self._waiting:
            if not future.done():
                future.set_result(outcome)
        self._finished(self, outcome, seconds)
        return ending

    def _next_server(self) -> NameServer | None:
        """Whom to ask next; None when there is nobody, or no time left."""
        if not self._to_ask:
            self._to_ask, self._silent = self._silent, []
            self._round += 1
        attempts = self._patience.attempts or self._round
        if self._to_ask and self._asked < self._end and self._round <= attempts:
            return self._to_ask.pop(0)
        if self._to_ask:
            self._problem = _TOO_LATE
        return None

    def _set_deadline(self) -> None:
        self.deadline = min(self._loop.time() + self._patience.timeout, self._end)

    def _end_try(self) -> asyncio.Task[None] | None:
        tcp, self._tcp = self._tcp, None
        if tcp is not None:
            tcp.cancel()
        if self._query is not None:
            self._query.give_up()
            self._query = None
        return tcp

    # --- what a name server says ------------------------------------------------------------

    def _take(self, result: bytes | OSError) -> None:
        self._query = None
        if isinstance(result, OSError):
            self._cannot_reach(result)
            self.ask_next()
        elif is_truncated(result):
            self._set_deadline()
            self._tcp = self._loop.create_task(self._ask_by_tcp(self._server))
        else:
            self._read(result)

    async def _ask_by_tcp(self, server: NameServer) -> None:
        try:
            wire = await server.ask_by_tcp(self._wire)
        except (OSError, DnsError) as error:
            self._tcp = None
            self._fail(error)
        else:
            self._tcp = None
            self._read(wire)

    def _read(self, wire: bytes) -> None:
        try:
            answer, seconds = read_answer(wire, self._wire, self.question[0])
        except DnsError as error:
            self._fail(error)
        else:
            self.finish(answer, seconds)

    def _fail(self, error: OSError | DnsError) -> None:
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
