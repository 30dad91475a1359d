# SPDX-License-Identifier: MIT
"""Breaker: nobody waits for a scanner that is down.

A scanner is down when nobody can connect to it, or when it has failed a few times in a row: a
single message that it cannot cope with must not switch it off.  From then on attempts fail at once,
but for one every now and then, the trial; each trial that fails doubles the wait for the next.  The
log has one line when it goes down, and one when it works again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from qpsmtpd.scanners.wire import ScannerError

log = logging.getLogger(__name__)

#: So many failures in a row mean that it is down.
MAX_FAILURES = 3

#: Seconds from going down to the first trial, and the most between two of them.
RETRY = 1.0
MAX_RETRY = 10.0


class Breaker:
    """Whether a scanner is worth asking."""

    def __init__(self, place: str) -> None:
        """`place`: the scanner, for the log."""
        self.place = place
        self._failures = 0
        #: Why it is down, "" while it is up.
        self._reason = ""
        self._since = 0.0
        self._retry = RETRY
        self._next_trial = 0.0
        self._trial = False
        self._refused = 0

    @property
    def closed(self) -> bool:
        """Whether it works, as far as we know."""
        return not self._reason

    def may_try(self) -> bool:
        """Whether an attempt makes sense now: it works, or it is time for a trial."""
        if self.closed:
            return True
        if not self._trial and asyncio.get_running_loop().time() >= self._next_trial:
            return True
        self._refused += 1
        return False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What happens within is an attempt; a ScannerError is a failure, and raised again."""
        trial = not self.closed
        self._trial = self._trial or trial
        try:
            yield
        except ScannerError as error:
            self._failed(error, trial)
            raise
        else:
            self._worked()
        finally:
            if trial:
                self._trial = False

    def _failed(self, error: ScannerError, trial: bool) -> None:
        self._failures += 1
        now = asyncio.get_running_loop().time()
        if trial:
            self._retry = min(2 * self._retry, MAX_RETRY)
            self._next_trial = now + self._retry
        elif self.closed and (error.unreachable or self._failures >= MAX_FAILURES):
            self._reason = str(error)
            self._since, self._retry, self._refused = now, RETRY, 0
            self._next_trial = now + RETRY
            log.warning("scanner down: %s: %s", self.place, error)

    def _worked(self) -> None:
        self._failures = 0
        if self.closed:
            return
        self._reason = ""
        seconds = asyncio.get_running_loop().time() - self._since
        log.warning(
            "scanner up again: %s seconds=%.0f unanswered=%d", self.place, seconds, self._refused
        )

    @property
    def reason(self) -> str:
        """Why it is down; empty while it works."""
        return self._reason
