# SPDX-License-Identifier: MIT
"""What resolvers have in common: a method for each record type, and look-ups on a budget."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Literal, TypeVar

from qpsmtpd.dns.names import reverse_name
from qpsmtpd.errors import DnsLimitError
from qpsmtpd.plugin.services import DnsAnswer, RecordType, Resolver, Told
from qpsmtpd.plugin.timelimit import time_limit

T = TypeVar("T")

# The event loop does not keep them.
_telling: set[asyncio.Task[list[str]]] = set()

#: Names of one address that are confirmed; whoever owns it can write a thousand.
MAX_CONFIRMED = 5


class ResolverMethods(ABC):
    """The methods of a Resolver, made of `look_up` and `exists`."""

    @abstractmethod
    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer: ...

    @abstractmethod
    async def exists(self, name: str) -> bool: ...

    def recall(self, kind: RecordType, name: str) -> DnsAnswer | None:
        """What is known without waiting; None when that is nothing, or a failure."""
        return None

    async def a(self, name: str) -> list[str]:
        return list((await self.look_up("A", name)).records)

    async def aaaa(self, name: str) -> list[str]:
        return list((await self.look_up("AAAA", name)).records)

    async def mx(self, name: str) -> list[tuple[int, str]]:
        return list((await self.look_up("MX", name)).records)

    async def txt(self, name: str) -> list[str]:
        return list((await self.look_up("TXT", name)).records)

    async def ns(self, name: str) -> list[str]:
        return list((await self.look_up("NS", name)).records)

    async def ptr(self, ip: str) -> list[str]:
        name = reverse_name(ip)
        return list((await self.look_up("PTR", name)).records) if name else []

    async def confirmed(self, ip: str, names: Sequence[str]) -> list[str]:
        kind, names = address_type(ip), names[:MAX_CONFIRMED]
        if len(names) == 1:  # as with most clients; it spares a task
            return [*names] if has_address(await self.look_up(kind, names[0]), ip) else []
        questions = [self.look_up(kind, name) for name in names]
        answers = await asyncio.gather(*questions, return_exceptions=True)
        found = [
            name
            for name, answer in zip(names, answers, strict=True)
            if isinstance(answer, DnsAnswer) and has_address(answer, ip)
        ]
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if failures and not found:
            raise failures[0]
        return found

    def tell_names(self, ip: str, told: Told) -> None:
        _tell(self.ptr(ip), told)

    def tell_confirmed(self, ip: str, names: Sequence[str], told: Told) -> None:
        _tell(self.confirmed(ip, names), told)

    def limited(self, *, questions: int = 40, seconds: float = 20.0) -> Resolver:
        return LimitedResolver(self, questions, seconds)


def _tell(asking: Coroutine[Any, Any, list[str]], told: Told) -> None:
    def tell(task: asyncio.Task[list[str]]) -> None:
        _telling.discard(task)
        if task.cancelled():
            told(asyncio.CancelledError())
        else:
            told(task.exception() or DnsAnswer(tuple(task.result()), True))

    task = asyncio.get_running_loop().create_task(asking)
    _telling.add(task)
    task.add_done_callback(tell)


def address_type(ip: str) -> Literal["A", "AAAA"]:
    """The type of the records that hold such an address."""
    return "AAAA" if ":" in ip else "A"


def has_address(answer: DnsAnswer, ip: str) -> bool:
    """Whether an answer has this address, in whatever spelling."""
    if ip in answer.records:
        return True
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    wanted = socket.inet_pton(family, ip)
    return any(socket.inet_pton(family, address) == wanted for address in answer.records)


class LimitedResolver(ResolverMethods):
    """A resolver on a budget.

    What is known already counts as a question as well, so that no verdict depends on that.
    """

    def __init__(self, resolver: ResolverMethods, questions: int, seconds: float) -> None:
        self._resolver = resolver
        self._questions = questions
        self._seconds = seconds
        # How many wait, and since when somebody does.
        self._waiting = 0
        self._since = 0.0

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        self._count()
        # A look-up that does not wait needs no timer.
        known = self._resolver.recall(kind, name)
        if known is not None:
            return known
        return await self._in_time(self._resolver.look_up, kind, name)

    async def exists(self, name: str) -> bool:
        self._count()
        return await self._in_time(self._resolver.exists, name)

    def _count(self) -> None:
        if self._questions <= 0:
            raise DnsLimitError("no more look-ups: their number is limited")
        self._questions -= 1

    async def _in_time(self, ask: Callable[..., Awaitable[T]], *arguments: str) -> T:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._since = loop.time()
        left = self._seconds - (loop.time() - self._since)
        self._waiting += 1
        try:
            with time_limit(left):
                return await ask(*arguments)
        except TimeoutError:
            raise DnsLimitError("no more look-ups: they have taken too long") from None
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._seconds -= loop.time() - self._since
