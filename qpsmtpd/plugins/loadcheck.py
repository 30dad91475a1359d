# SPDX-License-Identifier: MIT
"""loadcheck: turn clients away while the load of this machine is too high.

    loadcheck [max_load 7] [cache_time 10]

While the system's load average of the last minute is above `max_load`, clients are told with 450
4.3.2 to try again later, in place of the greeting. The load is read at most every `cache_time`
seconds. If it is unknown, nobody is turned away.

Differences from the Perl version: the operating system is asked directly, so `uptime`, the path of
a program, has no effect.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from qpsmtpd.api import Plugin, Seconds, Session, Verdict, defer, opt


@dataclass(frozen=True, kw_only=True)
class LoadcheckOptions:
    """Options of loadcheck."""

    max_load: float = opt(7.0, doc="The load above which clients are turned away.")
    cache_time: Seconds = opt(Seconds(10), doc="How long a load counts before it is read again.")
    uptime: str = opt("", doc="Accepted for old configurations; has no effect.")


class Loadcheck(Plugin[LoadcheckOptions]):
    """The limit of the load."""

    async def start(self) -> None:
        self._load = 0.0
        self._looked: float | None = None

    async def hook_connect(self, session: Session) -> Verdict | None:
        load = self._current_load()
        if load <= self.options.max_load:
            return None
        self.log.info("fail load=%.2f max_load=%g", load, self.options.max_load)
        return defer("Server load too high, please try again later", status="4.3.2")

    def _current_load(self) -> float:
        now = self.services.clock.monotonic()
        if self._looked is None or now - self._looked >= self.options.cache_time:
            self._looked = now
            self._load = self._system_load()
        return self._load

    def _system_load(self) -> float:
        try:
            return os.getloadavg()[0]
        except OSError as error:
            self.log.warning("the load is unknown: %s", error)
            return 0.0
