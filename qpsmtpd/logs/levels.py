# SPDX-License-Identifier: MIT
"""Levels of log lines: the numbers of `logging`, names and priorities of the Perl version."""

from __future__ import annotations

import enum
import logging
import re
from typing import Self

#: The level of a sink that writes nothing.
NOTHING = 100


_is_number = re.compile(r"[0-9]{1,9}").fullmatch


class LogLevel(enum.IntEnum):
    """A level: its number is that of `logging`, its name that of the Perl version."""

    LOGDEBUG = 10
    LOGINFO = 20
    LOGNOTICE = 25
    LOGWARN = 30
    LOGERROR = 40
    LOGCRIT = 50
    LOGALERT = 55
    LOGEMERG = 60
    LOGRADAR = 60

    def __str__(self) -> str:
        return self.name

    @property
    def priority(self) -> int:
        """The number in the Perl version and in syslog: 7 is debug, 0 is emergency."""
        return _PRIORITIES[self]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read LOGWARN, warn or 4.  Raises a ValueError that says what would be right.

        8 and more mean everything, as 7 does: the Perl version's own samples have 8 and 9.
        """
        word = text.upper()
        if _is_number(word) and int(word) > cls.LOGDEBUG.priority:
            return cls.LOGDEBUG
        for level in cls:
            if word == str(level.priority):
                return level
        try:
            return cls[word if word.startswith("LOG") else "LOG" + word]
        except KeyError:
            raise ValueError("a log level (0 to 7, or LOGDEBUG to LOGEMERG)") from None

    @classmethod
    def of(cls, record: logging.LogRecord) -> LogLevel:
        """The level of a record: the highest that it reaches."""
        return next((level for level in _DESCENDING if record.levelno >= level), cls.LOGDEBUG)


_DESCENDING = tuple(sorted(LogLevel, reverse=True))
_PRIORITIES = {level: number for number, level in enumerate(_DESCENDING)}

#: What `record.levelname` says for the levels that `logging` does not have.
for _level in (LogLevel.LOGNOTICE, LogLevel.LOGALERT, LogLevel.LOGEMERG):
    logging.addLevelName(_level, _level.name.removeprefix("LOG"))
