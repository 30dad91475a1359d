# SPDX-License-Identifier: MIT
"""Tarpit: the clients of a worker that are made to wait for a reply (Session.tarpit).

It takes nothing from anybody: while connections are scarce nobody has to wait, and when the last
one is taken, the one that has waited longest is told to go, so that the next client has its place.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class Waiting(Protocol):
    """The wire of a client that waits."""

    def end_pause(self) -> None:
        """The client need not wait any longer."""


class Tarpit:
    """Who waits, in the order in which they began; and who has to go.

    scarce: whether connections are scarce, so that nobody is to wait.
    """

    def __init__(self) -> None:
        self.scarce = False
        self._waiting: OrderedDict[Waiting, None] = OrderedDict()
        self._to_go: set[Waiting] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, wire: Waiting) -> bool:
        """Whether the client is to wait; `leave` must follow then."""
        if self.scarce:
            return False
        self._waiting[wire] = None
        return True

    def leave(self, wire: Waiting) -> bool:
        """The wait is over; False if the client has to go."""
        self._waiting.pop(wire, None)
        stays = wire not in self._to_go
        self._to_go.discard(wire)
        return stays

    def answer_all(self) -> None:
        """Let nobody wait any longer."""
        for wire in tuple(self._waiting):
            wire.end_pause()

    def give_one_away(self) -> Waiting | None:
        """End the wait that began first: that client has to go.  None if nobody waits."""
        if not self._waiting:
            return None
        wire, _ = self._waiting.popitem(last=False)
        self._to_go.add(wire)
        wire.end_pause()
        return wire
