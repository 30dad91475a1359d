# SPDX-License-Identifier: MIT
"""DnsResolver: asks the name servers of the system, and remembers what they said.

Whoever asks what is being asked already waits for the same answer.  Answers are remembered as long
as their TTL says, failures for a few seconds.  There is no search list.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from pathlib import Path
from typing import Any

from dns.rdatatype import RdataType

from qpsmtpd.dns.nameserver import FAILURE_TTL, NameServer, encode_name, read_answer
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import Clock

log = logging.getLogger(__name__)

Question = tuple[RdataType, bytes]
Outcome = tuple[Any, ...] | DnsError

DNS_PORT = 53
MAX_NAMESERVERS = 3
RESOLV_CONF = Path("/etc/resolv.conf")


class DnsResolver:
    """The Resolver of services.py.  Belongs to one event loop.

    nameservers: numeric addresses and ports; None means those of /etc/resolv.conf.
    timeout: seconds for one try at one name server.  lifetime: seconds for the whole look-up.
    cache_size: how many answers are remembered; the oldest are forgotten first.
    Raises OSError when a name server's address is none.
    """

    def __init__(
        self,
        nameservers: list[tuple[str, int]] | None = None,
        *,
        timeout: float = 3.0,
        lifetime: float = 10.0,
        cache_size: int = 10_000,
        clock: Clock | None = None,
    ) -> None:
        addresses = system_nameservers() if nameservers is None else nameservers
        self._servers = [NameServer(host, port) for host, port in addresses]
        self._timeout = timeout
        self._lifetime = lifetime
        self._cache = _Cache(cache_size, clock or Clock())
        self._asking: dict[Question, asyncio.Task[Outcome]] = {}

    async def a(self, name: str) -> list[str]:
        """IPv4 addresses of a name."""
        return await self._look_up(RdataType.A, name)

    async def aaaa(self, name: str) -> list[str]:
        """IPv6 addresses of a name."""
        return await self._look_up(RdataType.AAAA, name)

    async def mx(self, name: str) -> list[tuple[int, str]]:
        """Preferences and hosts, best first; a null MX (RFC 7505) is (0, "")."""
        return await self._look_up(RdataType.MX, name)

    async def txt(self, name: str) -> list[str]:
        """Text records, the strings of each one joined."""
        return await self._look_up(RdataType.TXT, name)

    async def ns(self, name: str) -> list[str]:
        """Name servers of a zone."""
        return await self._look_up(RdataType.NS, name)

    async def ptr(self, ip: str) -> list[str]:
        """Names of an address, without final dot; none when `ip` is no address."""
        try:
            name = ipaddress.ip_address(ip.partition("%")[0]).reverse_pointer
        except ValueError:
            return []
        return await self._look_up(RdataType.PTR, name)

    async def close(self) -> None:
        """Abandon the look-ups under way and close the sockets."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            server.close()

    async def _look_up(self, kind: RdataType, name: str) -> list[Any]:
        encoded = encode_name(name)
        if encoded is None:
            return []
        question = (kind, encoded)
        outcome = self._cache.get(question)
        if outcome is None:
            outcome = await self._shared(question)
        if isinstance(outcome, DnsError):
            raise DnsError(f"{kind.name} {name}: {outcome}")
        return list(outcome)

    async def _shared(self, question: Question) -> Outcome:
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(self._resolve(question))
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        # Whoever gives up waiting must not take the answer from the others.
        return await asyncio.shield(task)

    async def _resolve(self, question: Question) -> Outcome:
        outcome: Outcome
        try:
            outcome, ttl = await self._ask_servers(question)
        except DnsError as error:
            outcome, ttl = error, FAILURE_TTL
        self._cache.put(question, outcome, ttl)
        return outcome

    async def _ask_servers(self, question: Question) -> tuple[tuple[Any, ...], int]:
        """Ask one server after the other; those that kept silent are asked again."""
        kind, name = question
        wire = name + kind.to_bytes(2, "big") + b"\x00\x01"
        problem = "no name server is configured"
        servers = self._servers
        loop = asyncio.get_running_loop()
        end = loop.time() + self._lifetime
        while servers:
            silent = []
            for server in servers:
                if (left := end - loop.time()) <= 0:
                    raise DnsError("no name server answered in time")
                try:
                    async with asyncio.timeout(min(self._timeout, left)):
                        return read_answer(await server.ask(wire), kind)
                except TimeoutError:
                    silent.append(server)
                except (OSError, DnsError) as error:
                    problem = f"{server}: {error}"
            servers = silent
        raise DnsError(problem)


class _Cache:
    """Outcomes with the time until which they hold."""

    def __init__(self, size: int, clock: Clock) -> None:
        self._size = size
        self._clock = clock
        self._outcomes: dict[Question, tuple[float, Outcome]] = {}

    def get(self, question: Question) -> Outcome | None:
        entry = self._outcomes.get(question)
        if entry is None or entry[0] <= self._clock.monotonic():
            return None
        return entry[1]

    def put(self, question: Question, outcome: Outcome, ttl: int) -> None:
        self._outcomes.pop(question, None)
        if ttl <= 0:
            return
        while len(self._outcomes) >= self._size:
            del self._outcomes[next(iter(self._outcomes))]
        self._outcomes[question] = (self._clock.monotonic() + ttl, outcome)


def system_nameservers(path: Path = RESOLV_CONF) -> list[tuple[str, int]]:
    """The name servers of resolv.conf(5); this machine when there are none, as in the C library."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        log.warning("resolv_conf=%s unreadable error=%s", path, error)
        text = ""
    return parse_resolv_conf(text) or [("127.0.0.1", DNS_PORT)]


def parse_resolv_conf(text: str) -> list[tuple[str, int]]:
    """The first three `nameserver` lines that hold an address."""
    servers = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and _is_address(words[1]):
            servers.append((words[1], DNS_PORT))
    return servers[:MAX_NAMESERVERS]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
