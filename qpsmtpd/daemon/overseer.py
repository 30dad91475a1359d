# SPDX-License-Identifier: MIT
"""Overseer: whom a worker tells how it is doing – the service manager, or the supervisor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from qpsmtpd.daemon import notify

#: What a worker tells the supervisor, an octet each.
READY, RELOADED, NOT_RELOADED, ALIVE = b"R", b"L", b"N", b"A"


class Overseer(Protocol):
    """Hears of a worker."""

    @property
    def interval(self) -> float | None:
        """Seconds between two calls of `alive`; None when nobody wants to hear it."""

    def ready(self) -> None:
        """The worker takes connections."""

    def reloading(self) -> None:
        """It reads its configuration again; `reloaded` follows."""

    def reloaded(self, *, success: bool) -> None:
        """It has done so; without success the old one stays."""

    def alive(self) -> None:
        """Its event loop turns."""

    def stopping(self) -> None:
        """It ends."""

    def when_gone(self, stop: Callable[[], None]) -> None:
        """Call this when there is nobody any more who could stop the worker."""


class ServiceManager(Overseer):
    """systemd, or nobody."""

    @property
    def interval(self) -> float | None:
        return notify.watchdog_interval()

    def ready(self) -> None:
        notify.ready("Taking connections")

    def reloading(self) -> None:
        notify.reloading()

    def reloaded(self, *, success: bool) -> None:
        self.ready()

    def alive(self) -> None:
        notify.alive()

    def stopping(self) -> None:
        notify.stopping()

    def when_gone(self, stop: Callable[[], None]) -> None:
        pass


class ToSupervisor(Overseer):
    """The worker's end of the connection with its supervisor."""

    def __init__(self, connection: socket.socket, interval: float | None) -> None:
        self._connection = connection
        self._interval = interval
        # What the supervisor does not read is no reason to stop serving mail.
        connection.setblocking(False)

    @property
    def interval(self) -> float | None:
        return self._interval

    def ready(self) -> None:
        self._tell(READY)

    def reloading(self) -> None:
        pass  # it is the supervisor who wanted it

    def reloaded(self, *, success: bool) -> None:
        self._tell(RELOADED if success else NOT_RELOADED)

    def alive(self) -> None:
        self._tell(ALIVE)

    def stopping(self) -> None:
        pass

    def when_gone(self, stop: Callable[[], None]) -> None:
        """The supervisor never says anything: what can be read is its end."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self._connection)
            stop()

        loop.add_reader(self._connection, gone)

    def _tell(self, what: bytes) -> None:
        with suppress(OSError):
            self._connection.send(what)
