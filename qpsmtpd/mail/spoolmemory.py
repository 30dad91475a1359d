# SPDX-License-Identifier: MIT
"""SpoolMemory: what all messages of a worker take up in memory together.

Most messages are small, and memory is the fastest place for them; but as many as there are clients
may be under way at once, and clients that stall decide how long.  So the spools count what they
hold, and when that reaches the limit, each keeps no more than `ALLOWANCE` in memory; the rest goes
to files, however small the messages are.
"""

from __future__ import annotations

import logging
import sys

from qpsmtpd.logs.levels import LogLevel

log = logging.getLogger(__name__)

#: Bytes of its header section, and of its body, that a message may have in memory in any case:
#: most messages have less, and a file for each of a few lines would only be slow.
ALLOWANCE = 16 << 10


class SpoolMemory:
    """Counts the bytes in memory; `limit`: how many are enough."""

    __slots__ = ("_told", "limit", "used")

    def __init__(self, limit: int = sys.maxsize) -> None:
        self.limit = limit
        self.used = 0
        self._told = False

    @property
    def scarce(self) -> bool:
        """Whether messages should go to files."""
        return self.used >= self.limit

    def take(self, size: int) -> None:
        """This many bytes more are in memory."""
        self.used += size
        if self.used >= self.limit and not self._told:
            self._told = True
            log.log(
                LogLevel.LOGNOTICE,
                "messages in memory have reached spool_memory=%d: further ones go to spool_dir",
                self.limit,
            )

    def give_back(self, size: int) -> None:
        """This many bytes are not in memory any more."""
        self.used -= size
        if self._told and self.used < self.limit // 2:
            self._told = False
