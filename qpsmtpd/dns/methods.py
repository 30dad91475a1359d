# SPDX-License-Identifier: MIT
"""What resolvers have in common: a method for each record type, and look-ups on a budget."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

from qpsmtpd.dns.names import reverse_name
from qpsmtpd.errors import DnsLimitError
from qpsmtpd.plugin.services import Answer, RecordType, Resolver

T = TypeVar("T")


class ResolverMethods(ABC):
    """The methods of a Resolver, made of `look_up` and `exists`."""

    @abstractmethod
    async def look_up(self, kind: RecordType, name: str) -> Answer: ...

    @abstractmethod
    async def exists(self, name: str) -> bool: ...

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

    def limited(self, *, questions: int = 40, seconds: float = 20.0) -> Resolver:
        return LimitedResolver(self, questions, seconds)


class LimitedResolver(ResolverMethods):
    """A resolver on a budget.  What is known already counts as well, so that verdicts do not depend
    on it.
    """

    def __init__(self, resolver: ResolverMethods, questions: int, seconds: float) -> None:
        self._resolver = resolver
        self._questions = questions
        self._seconds = seconds
        # How many wait, and since when somebody does.
        self._waiting = 0
        self._since = 0.0

    async def look_up(self, kind: RecordType, name: str) -> Answer:
        return await self._spend(self._resolver.look_up, kind, name)

    async def exists(self, name: str) -> bool:
        return await self._spend(self._resolver.exists, name)

    async def _spend(self, ask: Callable[..., Awaitable[T]], *arguments: str) -> T:
        if self._questions <= 0:
            raise DnsLimitError("no more look-ups: their number is limited")
        self._questions -= 1
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._since = loop.time()
        left = self._seconds - (loop.time() - self._since)
        self._waiting += 1
        try:
            async with asyncio.timeout(left):
                return await ask(*arguments)
        except TimeoutError:
            raise DnsLimitError("no more look-ups: they have taken too long") from None
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._seconds -= loop.time() - self._since
