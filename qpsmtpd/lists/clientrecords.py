# SPDX-License-Identifier: MIT
"""Client records: how clients have behaved, as the plugin karma remembers it in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from qpsmtpd.mail.ip import IPAddress, network_of
from qpsmtpd.plugin.services import Store

DAY = 86400.0
#: Digits of a number in a record.
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """What is remembered of a client: how many of its connections were naughty, nice, counted.

    last: when it was last connected, in seconds since the epoch.
    session: which session was counted last, so that none counts twice.
    """

    naughty: int = 0
    nice: int = 0
    connects: int = 0
    last: int = 0
    session: str = ""

    @property
    def history(self) -> int:
        """The more the better."""
        return self.nice - self.naughty

    def __bytes__(self) -> bytes:
        words = (self.naughty, self.nice, self.connects, self.last, self.session)
        return ":".join(map(str, words)).encode()

    @classmethod
    def of(cls, value: bytes | None) -> ClientRecord:
        """What these bytes say; an empty record if they are not a record."""
        *numbers, session = (value or b"").decode("utf-8", "replace").split(":", 4)
        if len(numbers) != 4 or not all(map(_is_number, numbers)):
            return cls()
        naughty, nice, connects, last = map(int, numbers)
        return cls(naughty, nice, connects, last, session)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS


class ClientRecords:
    """The records of clients, and who is in the penalty box, in the store of this plugin.

    How long a penalty lasts is the time of the store's entry; its value is when it ends by the
    clock on the wall, to be shown.
    """

    def __init__(self, store: Store, days: float) -> None:
        """`days`: until the record of a client that stays away ends."""
        self.store = store
        self._days = days

    async def get(self, client: str) -> ClientRecord:
        """The record of a client."""
        return ClientRecord.of(await self.store.get(f"record/{client}"))

    async def change(
        self, client: str, change: Callable[[ClientRecord], ClientRecord]
    ) -> ClientRecord:
        """Change the record of a client."""

        def changed(value: bytes | None) -> bytes:
            return bytes(change(ClientRecord.of(value)))

        return ClientRecord.of(
            await self.store.update(f"record/{client}", changed, self._days * DAY)
        )

    async def penalty(self, client: str) -> int | None:
        """When the penalty of a client ends, None if it is not in the penalty box."""
        value = await self.store.get(f"penalty/{client}")
        return None if value is None else _number(value)

    async def capture(self, client: str, days: float, now: float) -> None:
        """Put a client into the penalty box."""
        await self.store.put(f"penalty/{client}", b"%d" % (now + days * DAY), max(days * DAY, 1.0))

    async def release(self, client: str) -> None:
        """Let a client out of the penalty box."""
        await self.store.delete(f"penalty/{client}")

    async def forget(self, client: str) -> None:
        """Forget a client."""
        await self.store.delete(f"record/{client}")

    async def all(self) -> AsyncIterator[tuple[str, ClientRecord]]:
        """All records, by client."""
        async for key, value in self.store.items("record/"):
            yield key.removeprefix("record/"), ClientRecord.of(value)

    async def penalties(self) -> dict[str, int]:
        """When the penalties end, by client."""
        return {
            key.removeprefix("penalty/"): _number(value)
            async for key, value in self.store.items("penalty/")
        }


def client_key(address: IPAddress) -> str:
    """What a client is remembered by: its address, or its IPv6 network of 64 bits."""
    if address.version == 4:
        return str(address)
    return network_of(address, 64)


def _number(value: bytes) -> int:
    return int(value) if value.isdigit() else 0
