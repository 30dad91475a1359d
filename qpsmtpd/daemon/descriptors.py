# SPDX-License-Identifier: MIT
"""Descriptors: how many connections the limit on open files allows (RLIMIT_NOFILE)."""

from __future__ import annotations

import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from qpsmtpd.config.problems import Problem

log = logging.getLogger(__name__)

#: Descriptors of the process itself: logs, resolver, store, idle connections to next hops.
_OWN = 200

#: Descriptors that must be free before another connection is accepted: its message needs some, too.
SPARE = 10
#: Seconds between two lines about a shortage of them.
LOG_INTERVAL = 10.0


def raise_limit(connections: int) -> None:
    """Raise the limit to what this many connections need; 0 means unlimited."""
    with suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        hard = sys.maxsize if hard == resource.RLIM_INFINITY else hard
        wanted = min(_needed(connections), hard) if connections else hard
        if soft != resource.RLIM_INFINITY and soft < wanted < sys.maxsize:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_files() -> int:
    """Our limit on open files; sys.maxsize when there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def connections_for(descriptors: int) -> int:
    """How many connections this many descriptors allow.

    Every second connection uses a second one: for the next hop, a scratch file or a scanner.
    """
    return max(1, (descriptors - _OWN) * 2 // 3)


def check_spare() -> None:
    """Raise OSError (EMFILE, ENFILE) if hardly any descriptor is free."""
    opened: list[int] = []
    try:
        for _ in range(SPARE):
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for descriptor in opened:
            os.close(descriptor)


class Shortage:
    """Says in the log that no connection can be accepted: when it begins, and when it ends."""

    def __init__(self, time: Callable[[], float]) -> None:
        """`time`: a clock that only goes forward, in seconds."""
        self._time = time
        self._since: float | None = None
        self._next_line = 0.0

    def begins(self, error: OSError, connections: int) -> None:
        """Nothing can be accepted while this many connections are open; it may be known already."""
        now = self._time()
        if self._since is None and now >= self._next_line:
            self._since, self._next_line = now, now + LOG_INTERVAL
            text = "cannot accept connections for now: %s limit=%d connections=%d"
            log.error(text, error.strerror, open_files(), connections)

    def ends(self) -> None:
        """Connections are accepted, perhaps again."""
        if self._since is not None:
            log.warning("accepting connections again seconds=%.1f", self._time() - self._since)
            self._since = None


def check_limit(connections: int, workers: int) -> Iterator[Problem]:
    """A warning if the limit is too low for this many connections in this many workers."""
    files = open_files()
    enough_for = connections_for(files) * workers
    if connections > enough_for:
        yield Problem(
            "max_connections",
            f"{connections} connections are more than {files} open files in each of {workers} "
            f"workers allow, which is {enough_for}: raise that limit (LimitNOFILE= in the "
            "service's unit; ulimit -Hn without systemd), or lower max_connections",
            "warning",
        )


def _needed(connections: int) -> int:
    return connections * 3 // 2 + _OWN + 1
