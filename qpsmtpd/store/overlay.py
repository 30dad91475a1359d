# SPDX-License-Identifier: MIT
"""Overlay: a store that reads from another one, and keeps what is written to itself.

Each layer is one course of events that knows nothing of the others: what a task (or one that it has
begun) writes after `new_layer` is seen there only.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import Any

from qpsmtpd.plugin.services import Clock
from qpsmtpd.store.operation import (
    Add,
    Count,
    Delete,
    Get,
    Increment,
    Operation,
    Page,
    Put,
    Replace,
    Scan,
)
from qpsmtpd.store.view import Ask, StoreClient

#: By name: what was written, None if it was deleted; and when it ends.
_Layer = dict[bytes, tuple[Any, float]]

_layer: ContextVar[_Layer | None] = ContextVar("layer", default=None)


def new_layer() -> None:
    """From here on this task sees what is below, and what it writes itself."""
    _layer.set({})


class Overlay(StoreClient):
    """Implements services.Store."""

    def __init__(self, below: Ask | None, clock: Clock | None = None) -> None:
        """`below`: carries out what reads; None if nothing is there."""
        self._below = below
        self._clock = clock or Clock()
        self._own: _Layer = {}
        super().__init__(self._carry_out)

    async def _carry_out(self, operation: Operation) -> Any:
        layer = _layer.get()
        layer = self._own if layer is None else layer
        now = self._clock.monotonic()
        match operation:
            case Get() | Count():
                return await self._read(layer, operation, now)
            case Scan():
                return await self._scan(layer, operation, now)
            case Put(name, value, ttl):
                layer[name] = value, now + ttl
                return None
            case Delete(name):
                layer[name] = None, math.inf
                return None
            case Add(name, value, ttl):
                there = await self._read(layer, Get(name), now)
                if there is None:
                    layer[name] = value, now + ttl
                return there
            case Replace(name, old, value, ttl):
                there = await self._read(layer, Get(name), now)
                if there == old:
                    layer[name] = value, now + ttl
                return there
            case Increment(name, by, ttl):
                total = await self._read(layer, Count(name), now)
                _, end = layer.get(name, (0, 0.0))
                layer[name] = total + by, end if end > now else now + ttl
                return total + by

    async def _read(self, layer: _Layer, operation: Get | Count, now: float) -> Any:
        nothing = 0 if isinstance(operation, Count) else None
        if operation.name in layer:
            value, end = layer[operation.name]
            return nothing if value is None or end <= now else value
        return nothing if self._below is None else await self._below(operation)

    async def _scan(self, layer: _Layer, operation: Scan, now: float) -> Page:
        """What is below, page by page; what was written comes with the last one."""
        page = Page(()) if self._below is None else await self._below(operation)
        entries = [(name, value) for name, value in page.entries if name not in layer]
        if not page.cursor:
            entries += [
                (name, value)
                for name, (value, end) in layer.items()
                if value is not None and end > now and name.startswith(operation.beginning)
            ]
        return Page(tuple(entries), page.cursor)
