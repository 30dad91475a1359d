# SPDX-License-Identifier: MIT
"""An event loop that has nothing but timers, and whose time goes when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


class FakeLoop:
    """Calls what is due when time passes."""

    def __init__(self) -> None:
        self.now = 100.0
        self.handles: list[FakeHandle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[..., None], *arguments: Any) -> FakeHandle:
        self.handles.append(FakeHandle(when, partial(call, *arguments)))
        return self.handles[-1]

    def call_later(self, seconds: float, call: Callable[[], None]) -> FakeHandle:
        return self.call_at(self.now + seconds, call)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while waiting := [h for h in self.handles if not h.done and h.when <= end]:
            handle = min(waiting, key=lambda h: h.when)
            self.now = max(self.now, handle.when)
            handle.done = True
            handle.call()
        self.now = end


class FakeHandle:
    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when, self.call, self.done = when, call, False

    def cancel(self) -> None:
        self.done = True
