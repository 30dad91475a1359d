# SPDX-License-Identifier: MIT
"""Pace: how long clients may take, and how often they may err, which is less under stress.

While many connections are open, those that do nothing useful keep others out.  So the settings hold
only for quiet times; the fuller the daemon is, the smaller is the share of them that is allowed.
No share is so small that it would hurt a client that speaks SMTP properly.
"""

from __future__ import annotations

from typing import Protocol

from qpsmtpd.plugin.options import Seconds

#: What is left of time-outs and of errors and junk commands in each grade of stress; 0 is none.
SHARES = (1.0, 1 / 3, 1 / 10, 1 / 30)
#: Seconds of a time-out that are always left, if it is not shorter anyway.
LEAST_SECONDS = 10.0
#: Errors and junk commands that are always allowed.  A client that begins TLS and logs in needs
#: four of the latter, and RSET and NOOP are not unusual.
LEAST_ERRORS = 5
LEAST_JUNK = 10

#: Connections of one grade less are needed to leave a grade than to enter it.
HYSTERESIS = 0.9


class Allowed(Protocol):
    """What settings say about it (settings.py)."""

    @property
    def command_timeout(self) -> Seconds:
        """How long to wait for a command."""

    @property
    def timeout(self) -> Seconds:
        """How long to wait for more of a message."""

    @property
    def max_errors(self) -> int:
        """Error replies in one session."""

    @property
    def max_junk_commands(self) -> int:
        """Commands without use since the last message."""


class Pace:
    """What clients are allowed under the settings of a configuration, as things are.

    grade: the grade of stress, an index of SHARES.
    command, data: seconds to wait for a command, and for more of a message.
    """

    __slots__ = ("_settings", "command", "data", "grade", "max_errors", "max_junk_commands")

    def __init__(self, settings: Allowed) -> None:
        self._settings = settings
        self.set(0)

    def set(self, grade: int) -> None:
        """From now on this is the grade of stress."""
        settings, share = self._settings, SHARES[grade]
        self.grade = grade
        # Settings may be whole numbers, and a mixed addition takes longer than both kinds.
        self.command = float(_part(settings.command_timeout, share, LEAST_SECONDS))
        self.data = float(_part(settings.timeout, share, LEAST_SECONDS))
        self.max_errors = int(_part(settings.max_errors, share, LEAST_ERRORS))
        self.max_junk_commands = int(_part(settings.max_junk_commands, share, LEAST_JUNK))


def _part(whole: float, share: float, least: float) -> float:
    """A share, but at least so much, unless the whole is less."""
    return min(whole, max(whole * share, least))


def begins_at(grade: int, percent: float) -> float:
    """The part of all connections with which a grade of stress begins; 1 is all.

    percent: the setting stress_percent, with which the first one begins.
    """
    first = percent / 100
    return first + (1 - first) * (grade - 1) / (len(SHARES) - 1)


def grade_of(part: float, percent: float, current: int = 0) -> int:
    """The grade of stress while this part of all connections is open.

    current: the grade until now, which ends only with HYSTERESIS.
    percent: the setting stress_percent; with 0 there is never any stress.
    """
    if not percent:
        return 0
    for grade in range(len(SHARES) - 1, 0, -1):
        begins = begins_at(grade, percent)
        if part >= (begins * HYSTERESIS if grade <= current else begins):
            return grade
    return 0
