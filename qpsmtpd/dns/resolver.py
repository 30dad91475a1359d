# SPDX-License-Identifier: MIT
"""DnsResolver: asks the name servers of the system, and remembers what they said.

Whoever asks what is being asked already waits for the same answer.  Answers are remembered as long
as their TTL says, failures for a few seconds.  There is no search list.

A look-up costs no task and no timer: a datagram calls its Lookup, which calls back here, and one
timer for all of them gives up the tries that take too long.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from qpsmtpd.dns.answers import RECORD_TYPES
from qpsmtpd.dns.cache import Cache
from qpsmtpd.dns.lookup import Lookup, Outcome, Patience, Question, Taker
from qpsmtpd.dns.methods import ResolverMethods, address_type, has_address
from qpsmtpd.dns.names import encode_name, encode_reverse_name
from qpsmtpd.dns.resolvconf import RESOLV_CONF, ResolvConfFile
from qpsmtpd.dns.servers import Servers
from qpsmtpd.errors import DnsError
from qpsmtpd.metrics.catalogue import DNS_LOOKUPS, DNS_SECONDS
from qpsmtpd.metrics.counting import FIGURES, Series
from qpsmtpd.plugin.services import Clock, DnsAnswer, RecordType, Told

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
        # To find out which one runs takes a system call.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._servers = Servers(clock)
        self._file: ResolvConfFile | None = None
        if nameservers is None:
            self._file = ResolvConfFile(resolv_conf, clock)
            self._follow(self._file)
        else:
            self._servers.use(nameservers)

    def look_up(self, kind: RecordType, name: str) -> Coroutine[Any, Any, DnsAnswer]:
        return self._look_up((kind, encode_name(name) or b""), name)

    async def ptr(self, ip: str) -> list[str]:
        # This spares the text of the name, and to read that.
        return list((await self._look_up(("PTR", encode_reverse_name(ip) or b""), ip)).records)

    def tell_names(self, ip: str, told: Told) -> None:
        # Every client is asked about: this spares a task, and each time that it would be woken.
        # Who asks remembers the names (clientnames.py), and hardly anybody else wants them.
        question: Question = "PTR", encode_reverse_name(ip) or b""
        known = self._known(question)
        if known is None:
            self._ask(question, told, remembered=False)
        else:
            told(known)

    def tell_confirmed(self, ip: str, names: Sequence[str], told: Told) -> None:
        if len(names) == 1:
            question: Question = address_type(ip), encode_name(names[0]) or b""
            known = self._known(question)
            if known is None:
                self._ask(question, functools.partial(_tell_confirmed, told, ip, names))
            else:
                _tell_confirmed(told, ip, names, known)
        else:
            super().tell_confirmed(ip, names, told)

    async def _look_up(self, question: Question, name: str) -> DnsAnswer:
        """The answer to a question; `name` is for errors."""
        outcome = self._known(question)
        if outcome is None:
            future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            self._ask(question, functools.partial(_settle, future))
            outcome = await future
        if isinstance(outcome, DnsError):
            raise DnsError(f"{question[0]} {name!r}: {outcome}")
        return outcome

    def _known(self, question: Question) -> Outcome | None:
        """What is known now; the name is b"" if the DNS cannot be asked about it."""
        if not question[1]:
            return _NOTHING
        if self._file is not None and self._file.changed():
            self._follow(self._file)
            log.info("resolv_conf changed servers=%s", self._servers)
        return self._cache.get(question)

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

    def _ask(self, question: Question, taker: Taker, *, remembered: bool = True) -> None:
        """Ask the name servers, unless that is under way, and have the taker told the outcome."""
        if lookup := self._asking.get(question):
            lookup.waiting.append(taker)
            return
        if self._closed:
            taker(DnsError("the resolver is closed"))
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        servers = self._servers.in_order()
        lookup = Lookup(question, servers, self._patience, self._loop, self._finished)
        lookup.waiting.append(taker)
        lookup.remembered = remembered
        self._asking[question] = lookup
        lookup.ask_next()
        if self._timer is None:
            self._set_timer(self._interval)

    def _finished(self, lookup: Lookup, outcome: Outcome, seconds: int) -> None:
        del self._asking[lookup.about]
        FIGURES.values[_counter(lookup.about[0], _result(lookup, outcome)).cell] += 1
        _took(lookup.seconds)
        if lookup.remembered:
            self._cache.put(lookup.about, outcome, seconds)
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


def _settle(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)


def _tell_confirmed(told: Told, ip: str, names: Sequence[str], addresses: Outcome) -> None:
    if isinstance(addresses, DnsAnswer):
        told(DnsAnswer(tuple(names) if has_address(addresses, ip) else (), True))
    else:
        told(addresses)


@functools.lru_cache(maxsize=64)
def _counter(kind: RecordType, result: str) -> Series:
    return FIGURES.series(DNS_LOOKUPS, kind, result)


def _result(lookup: Lookup, outcome: Outcome) -> str:
    """What an outcome is counted as."""
    if isinstance(outcome, DnsError):
        return "error" if lookup.is_answered else "timeout"
    if outcome.records:
        return "found"
    return "empty" if outcome.name_exists else "nxdomain"
