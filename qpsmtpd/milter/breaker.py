# SPDX-License-Identifier: MIT
"""Breaker: leaves a milter alone for a while after it has failed several times in a row.

Otherwise every client would wait until a milter that hangs has timed out.  An outage leaves two
lines in the log: one when it begins, one when it is over.
"""

from __future__ import annotations

import logging

from qpsmtpd.plugin.services import Clock

#: Failures in a row after which a milter is left alone, and for how many seconds.
FAILURES = 3
PAUSE = 10.0


class Breaker:
    """What one worker knows about the health of one milter."""

    def __init__(self, clock: Clock, log: logging.Logger, milter: str) -> None:
        self._clock = clock
        self._log = log
        self._milter = milter
        self._failures = 0
        self._began = 0.0
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether the milter is being left alone."""
        return self._clock.monotonic() < self._until

    def failed(self, why: object) -> None:
        """The milter did not do its part."""
        now = self._clock.monotonic()
        self._failures += 1
        if self._failures == 1:
            self._began = now
            self._log.error("milter fails milter=%s: %s", self._milter, why)
        else:
            self._log.debug("milter fails again milter=%s: %s", self._milter, why)
        if self._failures >= FAILURES:
            self._until = now + PAUSE

    def worked(self) -> None:
        """The milter has done its part for a message."""
        if self._failures:
            seconds = self._clock.monotonic() - self._began
            self._log.info(
                "milter works again milter=%s failures=%d seconds=%.0f",
                self._milter,
                self._failures,
                seconds,
            )
        self._failures, self._until = 0, 0.0
