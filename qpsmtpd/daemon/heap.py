# SPDX-License-Identifier: MIT
"""Heap: memory that a crowd of clients has left behind goes back to the system.

TLS sessions leave the most: their objects refer to each other, so that they wait for Python's
collector, which has no reason to run when nobody comes any more.  And glibc gives back only what is
free at the end of its heap, where something always outlives the crowd.  So when it has gone, we
collect, and ask glibc to look everywhere.  That takes 15 ms of CPU for 200 MB; it is not done while
many connections are open, since the collector looks at all of them.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

#: Connections that are a crowd, and the part of them that may be left when it has gone.
CROWD = 100
LEFT = 0.1
#: Seconds from one time to the next.
INTERVAL = 60.0


def trim() -> None:
    """Give back what nobody needs, if the C library can."""
    gc.collect()
    if (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        malloc_trim(0)


class Heap:
    """Decides when."""

    def __init__(self, time: Callable[[], float], give_back: Callable[[], None] = trim) -> None:
        """`time`: a clock that only goes forward, in seconds."""
        self._time = time
        self._give_back = give_back
        self._most = 0
        self._not_before = 0.0

    def look(self, connections: int) -> None:
        """So many are open now; to be called about once a second."""
        self._most = max(self._most, connections)
        gone = self._most >= CROWD and connections <= self._most * LEFT
        if gone and self._time() >= self._not_before:
            self._give_back()
            self._most = connections
            self._not_before = self._time() + INTERVAL
