# SPDX-License-Identifier: MIT
"""Stress: notices that connections get scarce, and that they are not any more.

What changes then is in config/pace.py.  One line in the log says that it begins, and one that it
has ended, whatever grades there were.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from qpsmtpd.config.pace import grade_of

log = logging.getLogger(__name__)


class Stress:
    """The grade of stress of one worker.

    grade: an index of SHARES; 0 is none.
    """

    def __init__(self, time: Callable[[], float], changed: Callable[[int], None]) -> None:
        """`time`: a clock that only goes forward, in seconds; `changed` gets each new grade."""
        self._time = time
        self._changed = changed
        self.grade = 0
        self._since = 0.0
        self._highest = 0
        self._is_logged = False

    def look(self, part: float, percent: float, *, is_logged: bool = True) -> None:
        """So great a part of all possible connections is open; to be called about once a second.

        percent: the setting stress_percent.  is_logged: False if another worker says it.
        """
        grade = grade_of(part, percent, self.grade)
        if grade == self.grade:
            return
        before, self.grade = self.grade, grade
        self._highest = max(self._highest, grade)
        if not before:
            self._since, self._highest, self._is_logged = self._time(), grade, is_logged
            text = "stress begins: clients have less time connections=%.0f%% grade=%d"
            self._log(text, 100 * part, grade)
        elif not grade:
            seconds = self._time() - self._since
            self._log("stress ends seconds=%.0f highest_grade=%d", seconds, self._highest)
        self._changed(grade)

    def _log(self, text: str, *values: object) -> None:
        if self._is_logged:
            log.warning(text, *values)
