# SPDX-License-Identifier: MIT
"""Breaker: nobody waits for a scanner, a milter or the like that is down.

It is down when nobody can connect to it, or when it has failed a few times in a row: a single
message that it cannot cope with must not switch it off.  From then on attempts fail at once, but
for one every now and then, the trial; each trial doubles the wait for the next.  The log has one
line when it goes down, and one when it works again.

An attempt is what happens within `attempt()`, after `may_try()` has allowed it.  What takes many
steps, as the dialogue with a milter does, says itself how it goes: `reached`, `failed`, `worked`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from qpsmtpd.errors import PeerError
from qpsmtpd.metrics.catalogue import SERVICE_DOWN, SERVICE_FAILURES, SERVICE_OUTAGES
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.plugin.services import Clock

log = logging.getLogger(__name__)

#: So many failures in a row mean that it is down.
MAX_FAILURES = 3

#: Seconds from going down to the first trial, and the most between two of them.
RETRY = 1.0
MAX_RETRY = 10.0


class Breaker:
    """Whether somebody is worth asking."""

    def __init__(self, clock: Clock, kind: str, place: str) -> None:
        """For the log, `kind` is what it is, such as "scanner", and `place` which one."""
        self._clock = clock
        self._kind = kind
        self._place = place
        self._failures = 0
        #: Whether the last failure was that nobody could connect.
        self._unreachable = False
        #: Why it is down, "" while it is up.
        self._reason = ""
        self._since = 0.0
        self._retry = RETRY
        self._next_trial = 0.0
        self._refused = 0
        FIGURES.each_second(self._sample)

    def _sample(self) -> None:
        FIGURES.add_sample(SERVICE_DOWN, not self.closed, self._kind, self._place)

    @property
    def closed(self) -> bool:
        """Whether it works, as far as we know."""
        return not self._reason

    @property
    def reason(self) -> str:
        """Why it is down; empty while it works."""
        return self._reason

    def may_try(self) -> bool:
        """Whether to make an attempt now: it works, or it is time for a trial, which this is."""
        if self.closed:
            return True
        now = self._clock.monotonic()
        if now < self._next_trial:
            self._refused += 1
            return False
        self._retry = min(2 * self._retry, MAX_RETRY)
        self._next_trial = now + self._retry
        return True

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What happens within is an attempt; a PeerError is a failure, and raised again."""
        try:
            yield
        except PeerError as error:
            self.failed(error)
            raise
        self.worked()

    def reached(self) -> None:
        """One could connect to it: if that was what failed, the next trial need not wait."""
        if self._unreachable:
            self._next_trial = self._clock.monotonic()

    def failed(self, error: PeerError) -> None:
        """It did not do its part.  While it is down, that changes nothing."""
        self._failures += 1
        self._unreachable = error.unreachable
        FIGURES.count(SERVICE_FAILURES, self._kind, self._place)
        if self.closed and (error.unreachable or self._failures >= MAX_FAILURES):
            self._reason = str(error)
            self._since, self._retry, self._refused = self._clock.monotonic(), RETRY, 0
            self._next_trial = self._since + RETRY
            log.warning("%s down: %s: %s", self._kind, self._place, error)
            FIGURES.count(SERVICE_OUTAGES, self._kind, self._place)

    def worked(self) -> None:
        """It has done its part."""
        self._failures = 0
        if self.closed:
            return
        self._reason = ""
        seconds = self._clock.monotonic() - self._since
        log.warning(
            "%s up again: %s seconds=%.0f unanswered=%d",
            self._kind,
            self._place,
            seconds,
            self._refused,
        )
