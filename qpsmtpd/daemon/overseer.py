# SPDX-License-Identifier: MIT
"""Overseer: the service manager or the supervisor, to which a worker reports."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from qpsmtpd.daemon import notify
from qpsmtpd.daemon.reloads import Reloads
from qpsmtpd.metrics.catalogue import RELOADS
from qpsmtpd.metrics.counting import FIGURES

#: What a worker tells the supervisor, one octet each.
READY, RELOADED, NOT_RELOADED, ALIVE = b"R", b"L", b"N", b"A"


class Overseer(Protocol):
    """Hears how a worker is doing."""

    @property
    def interval(self) -> float | None:
        """Seconds between two calls of `alive`; None if nobody wants to hear it."""

    def ready(self) -> None:
        """The worker accepts connections."""

    def reloading(self) -> None:
        """It is reading its configuration again; `reloaded` follows."""

    def reloaded(self, *, success: bool) -> None:
        """It has done so; without success the old one stays in use."""

    def alive(self) -> None:
        """Its event loop is turning."""

    def stopping(self) -> None:
        """It is stopping."""

    def when_gone(self, stop: Callable[[], None]) -> None:
        """Call this when nobody is left who could stop the worker."""


class ServiceManager(Overseer):
    """systemd, or nobody."""

    def __init__(self) -> None:
        self._reloads = Reloads(os.environ)

    @property
    def interval(self) -> float | None:
        return notify.watchdog_interval()

    def ready(self) -> None:
        notify.ready("Taking connections")

    def reloading(self) -> None:
        self._reloads.begin()
        notify.reloading()

    def reloaded(self, *, success: bool) -> None:
        FIGURES.count(RELOADS, "used" if success else "refused")
        self._reloads.end(success=success)
        notify.ready("Taking connections" if success else f"Taking connections; {notify.REFUSED}")

    def alive(self) -> None:
        notify.alive()

    def stopping(self) -> None:
        notify.stopping()

    def when_gone(self, stop: Callable[[], None]) -> None:
        pass


class ToSupervisor(Overseer):
    """The worker's end of the connection to its supervisor."""

    def __init__(self, connection: socket.socket, interval: float | None) -> None:
        self._connection = connection
        self._interval = interval
        # Mail is served even if the supervisor does not read.
        connection.setblocking(False)

    @property
    def interval(self) -> float | None:
        return self._interval

    def ready(self) -> None:
        self._tell(READY)

    def reloading(self) -> None:
        pass  # the supervisor asked for it

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
