# SPDX-License-Identifier: MIT
"""Server: one worker.  It accepts connections on listening sockets and hosts their sessions.

It knows nothing of processes and signals; start.py does.  A reload swaps the snapshot in one
assignment: connections keep the one they began with, and its plugins are stopped when the last
of them is gone.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from qpsmtpd.config.runoptions import Kind
from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.daemon import descriptors
from qpsmtpd.daemon.acceptor import Acceptor, make_acceptor
from qpsmtpd.daemon.admission import GIVEN_AWAY, Admission, Limits, Place, Refusal
from qpsmtpd.daemon.clientnames import ClientNames
from qpsmtpd.daemon.heap import Heap
from qpsmtpd.daemon.jobs import Jobs
from qpsmtpd.daemon.sampling import say_open
from qpsmtpd.daemon.scoreboard import Slot
from qpsmtpd.daemon.stress import Stress
from qpsmtpd.fronts.hosting import FrontConnection, Speak
from qpsmtpd.fronts.milterfront import speak_milter
from qpsmtpd.fronts.policyfront import speak_policy
from qpsmtpd.logs.lines import write_waiting
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import ReverseLookup
from qpsmtpd.mail.spoolmemory import SpoolMemory
from qpsmtpd.metrics.catalogue import CONNECTIONS, LOOP_LAG
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.smtp.deadlines import Watch
from qpsmtpd.smtp.protocol import SmtpProtocol
from qpsmtpd.smtp.proxyhandshake import ProxyHandshake
from qpsmtpd.smtp.reply import Reply
from qpsmtpd.smtp.tarpit import Tarpit

log = logging.getLogger(__name__)

#: Seconds that plugins get to notice the end of the sessions that were cut.
CUT_SECONDS = 5.0
#: Seconds that a worker with more than its share of connections leaves the next ones to others.
REST_SECONDS = 0.005
#: Seconds until the next attempt when the system has no descriptor or no memory left.
RETRY_SECONDS = 0.1
#: Seconds between two looks at descriptors and memory.
LOOK_SECONDS = 1.0
#: Connections that are told of another grade of stress in one turn of the event loop.
TOLD_AT_ONCE = 500

#: What mail systems speak that ask us about their sessions.
_FRONTS: dict[Kind, Speak] = {"policy": speak_policy, "milter": speak_milter}

_CONNECTIONS = FIGURES.series(CONNECTIONS)

#: Turns of the event loop from the end of a connection to the end of its socket (uvloop).
_CLOSING_TURNS = 3


@dataclass(frozen=True)
class Listener:
    """A listening socket, and what is spoken there; tls means implicit TLS (RFC 8314)."""

    socket: socket.socket
    tls: bool = False
    kind: Kind = "smtp"


class Server:
    """Hosts the sessions of one process; slot: its place on the scoreboard, if it is not alone."""

    def __init__(
        self, snapshot: Snapshot, loop: asyncio.AbstractEventLoop, slot: Slot | None = None
    ) -> None:
        self._loop = loop
        self._snapshot = snapshot
        self._names = ClientNames(loop)
        self._slot = slot
        self._admission = Admission(Limits.of(snapshot), loop, slot, self._make_room)
        self._stress = Stress(loop.time, self._keep_pace)
        self._acceptors: list[Acceptor] = []
        self._resting: asyncio.Task[None] | None = None
        self._shortage = descriptors.Shortage(loop.time)
        self._heap = Heap(loop.time)
        self._look: asyncio.TimerHandle | None = None
        self._look_at = 0.0
        self._protocols: dict[SmtpProtocol, Place] = {}
        self._before_header: dict[ProxyHandshake, Place] = {}
        self._fronts: dict[FrontConnection, Place] = {}
        self._by_snapshot: Counter[int] = Counter()
        self._retired: dict[int, Snapshot] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._jobs = Jobs(snapshot.services)
        #: What the messages of all connections have in memory.
        self.memory = SpoolMemory(snapshot.settings.spool_memory)
        #: The clients that are made to wait.
        self.tarpit = Tarpit()
        #: What looks at the deadlines of all connections.
        self.watch = Watch(loop)

    # --- Host -------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The configuration for new connections."""
        return self._snapshot

    def admit(self, protocol: SmtpProtocol, ip: str) -> int | Reply:
        """Register a connection.  Returns how many its client has open now, or the refusal.

        A client that is exempt from limits has 1.
        """
        place = self._admission.enter(ip)
        if isinstance(place, Refusal):
            return place.reply
        FIGURES.values[_CONNECTIONS.cell] += 1
        self._protocols[protocol] = place
        self._by_snapshot[id(self._snapshot)] += 1
        if len(self._protocols) == 1:
            self._empty.clear()
        self._leave_next_to_others()
        return place.from_client

    def admit_as(self, protocol: SmtpProtocol, ip: str) -> int | Reply:
        """Register a connection anew, as that of another client; returns the same as `admit`."""
        place = self._admission.exchange(self._protocols[protocol], ip)
        if isinstance(place, Refusal):
            return place.reply
        self._protocols[protocol] = place
        return place.from_client

    def forget(self, protocol: SmtpProtocol) -> None:
        """The connection is over."""
        place = self._protocols.pop(protocol)
        if place is not GIVEN_AWAY:
            self._admission.leave(place)
        assert protocol.connection is not None
        self.release(protocol.connection.snapshot)
        if not self._protocols:
            self._note_if_empty()

    def _make_room(self) -> bool:
        """Give the place of a client in the tarpit to another; False if there is none."""
        wire = self.tarpit.give_one_away()
        if not isinstance(wire, SmtpProtocol):
            return False
        self._admission.leave(self._protocols[wire])
        self._protocols[wire] = GIVEN_AWAY
        return True

    def expect_header(self, protocol: ProxyHandshake, ip: str) -> bool:
        """Register a connection whose PROXY header is still to come; False if there is no room."""
        place = self._admission.enter_unnamed(ip)
        if isinstance(place, Refusal):
            return False
        self._before_header[protocol] = place
        self._empty.clear()
        return True

    def expect_no_header(self, protocol: ProxyHandshake) -> None:
        """The header has come, or never will."""
        if place := self._before_header.pop(protocol, None):
            self._admission.leave(place)
        # Later, because its session may be about to begin.
        self._loop.call_soon(self._note_if_empty)

    def enter(self, front: FrontConnection) -> bool:
        """Register a connection of a mail system that asks us; False if there is no room."""
        place = self._admission.enter_unnamed("a mail system")
        if isinstance(place, Refusal):
            return False
        self._fronts[front] = place
        self._empty.clear()
        return True

    def leave(self, front: FrontConnection) -> None:
        """The connection is over."""
        self._admission.leave(self._fronts.pop(front))
        self._note_if_empty()

    def hold(self, snapshot: Snapshot) -> None:
        """A client is being asked about, with this configuration."""
        self._by_snapshot[id(snapshot)] += 1

    def release(self, snapshot: Snapshot) -> None:
        """It has left."""
        self._by_snapshot[id(snapshot)] -= 1
        if self._retired:
            self._stop_if_unused(snapshot)

    def _note_if_empty(self) -> None:
        if not self.connections:
            self._empty.set()

    def reverse_lookup(self, ip: str) -> ReverseLookup:
        """Begin to look up the client's name; returns the function that waits for it."""
        return self._names.begin(ip, self._snapshot)

    # --- listening --------------------------------------------------------------------------

    async def listen(self, listeners: Sequence[Listener]) -> None:
        """Accept connections on these sockets from now on."""
        for listener in listeners:
            factory = self._factory(listener.tls, kind=listener.kind)
            front = self._front(listener.kind)
            acceptor = make_acceptor(self._loop, listener.socket, front or factory, self._pause)
            await acceptor.start()
            self._acceptors.append(acceptor)
        if self._slot is not None:
            self._slot.say_accepting(True)
        self._jobs.begin()
        self._look_at = self._loop.time()
        self._look_around()

    def _leave_next_to_others(self) -> None:
        """Pause accepting if this worker has more than its share of connections."""
        if self._slot is not None and self._resting is None and self._slot.above_share:
            self._rest()

    def _rest(self) -> None:
        for acceptor in self._acceptors:
            acceptor.rest()
        self._resting = self._loop.create_task(self._accept_again())

    async def _accept_again(self) -> None:
        while self._resting is not None:
            await asyncio.sleep(REST_SECONDS)
            try:
                descriptors.check_spare()
                for acceptor in self._acceptors:
                    await acceptor.start()
            except OSError as error:
                self._shortage.begins(error, self.connections)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._resting = None
                self._shortage.ends()

    def _look_around(self) -> None:
        """Accept nothing while there are hardly any descriptors: what comes then waits.

        And write down what is open, for those who watch.
        """
        now = self._loop.time()
        lag, self._look_at = max(0.0, now - self._look_at), now + LOOK_SECONDS
        self._look = self._loop.call_at(self._look_at, self._look_around)
        FIGURES.measure(LOOP_LAG, lag)
        FIGURES.sample(self._say_open)
        self._heap.look(self.connections)
        self._look_for_stress()
        try:
            descriptors.check_spare()
        except OSError as error:
            self._pause(error)

    def _say_open(self) -> None:
        say_open(
            protocols=self._protocols,
            before_header=len(self._before_header),
            limit=self._snapshot.settings.max_connections,
            memory=self.memory.used,
        )

    def _look_for_stress(self) -> None:
        percent, admission = self._snapshot.settings.stress_percent, self._admission
        says_it = self._slot is None or self._slot.is_first or admission.part_here * 100 >= percent
        self._stress.look(admission.part, percent, is_logged=says_it)

    def _keep_pace(self, grade: int) -> None:
        """The grade of stress has changed."""
        for snapshot in (self._snapshot, *self._retired.values()):
            snapshot.pace.set(grade)
        self.tarpit.scarce = grade > 0
        if grade:
            self.tarpit.answer_all()
        self._tell(list(self._protocols))

    def _tell(self, protocols: list[SmtpProtocol]) -> None:
        """Have them keep the pace, some at a time, so that others have their turn."""
        for protocol in protocols[-TOLD_AT_ONCE:]:
            protocol.keep_pace()
        del protocols[-TOLD_AT_ONCE:]
        if protocols:
            self._loop.call_soon(self._tell, protocols)

    def _pause(self, error: OSError) -> None:
        self._shortage.begins(error, self.connections)
        if self._resting is None:
            self._rest()

    def _factory(
        self,
        tls: bool,
        client: Endpoint | None = None,
        local: Endpoint | None = None,
        *,
        kind: Kind = "smtp",
    ) -> Callable[[], ProxyHandshake | SmtpProtocol]:
        def protocol() -> ProxyHandshake | SmtpProtocol:
            cls = ProxyHandshake if self._snapshot.settings.proxy_networks else SmtpProtocol
            return cls(
                self,
                self._loop,
                implicit_tls=tls,
                client=client,
                local=local,
                lmtp=kind == "lmtp",
            )

        return protocol

    def _front(self, kind: Kind) -> Callable[[], FrontConnection] | None:
        """Makes connections of a mail system that asks us; None for SMTP."""
        speak = _FRONTS.get(kind)
        return None if speak is None else partial(FrontConnection, self, self._loop, speak)

    async def serve_one(
        self,
        connected: socket.socket,
        client: Endpoint | None,
        local: Endpoint | None,
    ) -> None:
        """Serve one connection that somebody else accepted, to its end (tcpserver, inetd)."""
        await self._loop.connect_accepted_socket(self._factory(False, client, local), connected)
        await self._until_empty()

    @property
    def connections(self) -> int:
        """How many are open, including those whose PROXY header is still to come."""
        return len(self._protocols) + len(self._before_header) + len(self._fronts)

    @property
    def _open(self) -> tuple[SmtpProtocol | FrontConnection, ...]:
        """Those whose client is known, or that are of a mail system."""
        return (*self._protocols, *self._fronts)

    async def _until_empty(self) -> None:
        """Wait until all connections are over, and closed."""
        await self._empty.wait()
        for _ in range(_CLOSING_TURNS):
            await asyncio.sleep(0)

    # --- changes ----------------------------------------------------------------------------

    def reload(self, snapshot: Snapshot) -> None:
        """Use a new configuration for new connections."""
        old, self._snapshot = self._snapshot, snapshot
        snapshot.pace.set(self._stress.grade)
        self._later(self._jobs.end())
        self._jobs = Jobs(snapshot.services)
        self._jobs.begin()
        self._admission.limits = Limits.of(snapshot)
        self.memory.limit = snapshot.settings.spool_memory
        self._retired[id(old)] = old
        self._names.forget()
        self._stop_if_unused(old)

    def _stop_if_unused(self, snapshot: Snapshot) -> None:
        if self._by_snapshot[id(snapshot)] > 0 or id(snapshot) not in self._retired:
            return
        del self._by_snapshot[id(snapshot)], self._retired[id(snapshot)]
        self._later(snapshot.stop())

    def _later(self, ending: Coroutine[Any, Any, None]) -> None:
        """End something that is out of use; `drain` waits for it."""
        task = self._loop.create_task(ending)
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _stop_accepting(self) -> None:
        """Close the listening sockets; every connection accepted before has its session then."""
        if self._slot is not None:
            self._slot.say_accepting(False)
        if self._resting is not None:
            self._resting.cancel()
        if self._look is not None:
            self._look.cancel()
        while self._acceptors:
            await self._acceptors.pop().close()

    async def drain(self, deadline: float) -> int:
        """Stop accepting, let transactions finish, and close.  Returns how many were cut.

        deadline: seconds that sessions have for it.
        """
        await self._stop_accepting()
        for waiting in tuple(self._before_header):
            waiting.drain()
        for open_one in self._open:
            open_one.drain()
        try:
            async with asyncio.timeout(deadline):
                await self._until_empty()
        except TimeoutError:
            pass
        for waiting in tuple(self._before_header):
            waiting.cut()
        cut = self._open
        for protocol in cut:
            protocol.cut()
        if cut:
            log.warning("cut %d connections after %gs", len(cut), deadline)
            tasks = [protocol.task for protocol in cut if protocol.task]
            await asyncio.wait(tasks, timeout=CUT_SECONDS)
        await self._jobs.end()
        write_waiting()
        await self._snapshot.stop()
        await asyncio.gather(*self._stopping)
        FIGURES.write()
        return len(cut)
