# SPDX-License-Identifier: MIT
"""DnsResolver: asks the name servers of the system, and remembers what they said.

Whoever asks what is being asked already waits for the same answer.  Answers are remembered as long
as their TTL says, failures for a few seconds.  There is no search list.

A look-up costs no task and no timer: a datagram calls its Lookup, which calls back here, and one
timer for all of them gives up the tries that take too long.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from qpsmtpd.dns.answers import RECORD_TYPES
from qpsmtpd.dns.cache import Cache
from qpsmtpd.dns.lookup import Lookup, Outcome, Patience, Question
from qpsmtpd.dns.methods import ResolverMethods
from qpsmtpd.dns.names import encode_name
from qpsmtpd.dns.resolvconf import RESOLV_CONF, ResolvConfFile
from qpsmtpd.dns.servers import Servers
from qpsmtpd.errors import DnsError
from qpsmtpd.metrics.catalogue import DNS_LOOKUPS, DNS_SECONDS
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.plugin.services import Clock, DnsAnswer, RecordType

log = logging.getLogger(__name__)

DNS_PORT = 53

#: What cannot be asked about does not exist.
_NOTHING = DnsAnswer((), False)
#: How often within a try the timer looks, and how many it gives up in one turn of the event loop.
_LOOKS_PER_TRY = 16
_TRIES_PER_TURN = 100

_took = FIGURES.series(DNS_SECONDS).note


class DnsResolver(ResolverMethods):
    """The Resolver of plugin/services.py.  Belongs to one event loop.

    nameservers: numeric addresses and ports; None means those of /etc/resolv.conf.
    timeout: seconds for one try at one name server.  lifetime: seconds for the whole look-up.
    cache_size: how many answers are remembered; the oldest are forgotten first.
    resolv_conf: what is read, and read again when it has changed, without `nameservers`.
    """

    def __init__(
        self,
        nameservers: list[tuple[str, int]] | None = None,
        *,
        timeout: float = 3.0,
        lifetime: float = 10.0,
        cache_size: int = 10_000,
        clock: Clock | None = None,
        resolv_conf: Path = RESOLV_CONF,
    ) -> None:
        clock = clock or Clock()
        self._default = Patience(timeout, lifetime)
        self._patience = self._default
        self._cache = Cache(cache_size, clock)
        self._asking: dict[Question, Lookup] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._servers = Servers(clock)
        self._file: ResolvConfFile | None = None
        if nameservers is None:
            self._file = ResolvConfFile(resolv_conf, clock)
            self._follow(self._file)
        else:
            self._servers.use(nameservers)

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        encoded = encode_name(name)
        if encoded is None:
            return _NOTHING
        if self._file is not None and self._file.changed():
            self._follow(self._file)
            log.info("resolv_conf changed servers=%s", self._servers)
        question = (kind, encoded)
        outcome = self._cache.get(question)
        if outcome is None:
            outcome = await self._ask(question)
        if isinstance(outcome, DnsError):
            raise DnsError(f"{kind} {name!r}: {outcome}")
        return outcome

    async def exists(self, name: str) -> bool:
        # What is known about any type tells; else A is what others ask as well.
        known = [answer for kind in RECORD_TYPES if (answer := self.recall(kind, name))]
        if not known:
            known.append(await self.look_up("A", name))
        return any(answer.name_exists for answer in known)

    def recall(self, kind: RecordType, name: str) -> DnsAnswer | None:
        outcome = self._cache.get((kind, encode_name(name) or b""))
        return outcome if isinstance(outcome, DnsAnswer) else None

    async def close(self) -> None:
        """End the look-ups under way, with an error for those who wait, and close the sockets."""
        self._closed = True
        error = DnsError("the resolver is closed")
        ending = [lookup.finish(error, 0) for lookup in tuple(self._asking.values())]
        self._servers.close()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*filter(None, ending), return_exceptions=True)

    # --- look-ups under way -----------------------------------------------------------------

    def _ask(self, question: Question) -> asyncio.Future[Outcome]:
        """Ask the name servers, unless that is under way."""
        if lookup := self._asking.get(question):
            return lookup.wait()
        if self._closed:
            raise DnsError("the resolver is closed")
        lookup = Lookup(question, self._servers.in_order(), self._patience, self._finished)
        self._asking[question] = lookup
        outcome = lookup.wait()
        lookup.ask_next()
        if self._timer is None:
            self._set_timer(self._interval)
        return outcome

    def _finished(self, lookup: Lookup, outcome: Outcome, seconds: int) -> None:
        del self._asking[lookup.question]
        FIGURES.count(DNS_LOOKUPS, lookup.question[0], _result(lookup, outcome))
        _took(lookup.seconds)
        self._cache.put(lookup.question, outcome, seconds)
        if self._servers.all_silent or (isinstance(outcome, DnsError) and not self._closed):
            self._servers.note(answered=lookup.is_answered)

    @property
    def _interval(self) -> float:
        return min(self._patience.timeout, self._patience.lifetime) / _LOOKS_PER_TRY

    def _set_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up_tries)

    def _give_up_tries(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        overdue = [lookup for lookup in self._asking.values() if lookup.deadline <= now]
        for lookup in overdue[:_TRIES_PER_TURN]:
            lookup.give_up_try()
        if self._asking:
            self._set_timer(0 if overdue[_TRIES_PER_TURN:] else self._interval)

    # --- resolv.conf ------------------------------------------------------------------------

    def _follow(self, file: ResolvConfFile) -> None:
        """Do as resolv.conf says from now on, also in look-ups under way."""
        read = file.current
        timeout = read.timeout or self._default.timeout
        self._patience = self._default._replace(timeout=timeout, attempts=read.attempts)
        self._cache.clear()
        self._servers.use([(host, DNS_PORT) for host in read.nameservers], rotate=read.rotate)
        for lookup in tuple(self._asking.values()):
            lookup.start_over(self._servers.in_order())


def _result(lookup: Lookup, outcome: Outcome) -> str:
    """What an outcome is counted as."""
    if isinstance(outcome, DnsError):
        return "error" if lookup.is_answered else "timeout"
    if outcome.records:
        return "found"
    return "empty" if outcome.name_exists else "nxdomain"
