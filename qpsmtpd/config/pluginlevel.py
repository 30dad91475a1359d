# SPDX-License-Identifier: MIT
"""The argument `loglevel` that every plugin line takes: how important a plugin's log lines are."""

from __future__ import annotations

import logging
import re

from qpsmtpd.logs.levels import LogLevel

_shift_of = re.compile(r"([+-][0-7])").fullmatch

#: The logger whose level says which records anybody wants.
_LISTENED = logging.getLogger("qpsmtpd")


class PluginLevel(logging.Filter):
    """Gives records another level: a fixed one ("6", "LOGINFO"), or "+1" less important."""

    def __init__(self, text: str) -> None:
        """Raises a ValueError that says what would be right."""
        super().__init__()
        self._shift = int(text) if _shift_of(text) else 0
        self._fixed = None if _shift_of(text) else _parse(text)

    def filter(self, record: logging.LogRecord) -> bool:
        level = self._fixed or self._shifted(LogLevel.of(record))
        record.levelno = level
        record.levelname = logging.getLevelName(level)
        return level >= _LISTENED.getEffectiveLevel()

    def _shifted(self, level: LogLevel) -> LogLevel:
        return LogLevel.parse(str(min(7, max(0, level.priority + self._shift))))


def _parse(text: str) -> LogLevel:
    try:
        return LogLevel.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}, or +1, -1") from None


def set_plugin_level(logger: logging.Logger, text: str) -> None:
    """Apply the argument `loglevel` to the logger of a plugin; "" means none was given."""
    for old in [kept for kept in logger.filters if isinstance(kept, PluginLevel)]:
        logger.removeFilter(old)
    logger.setLevel(logging.DEBUG if text else logging.NOTSET)
    if text:
        logger.addFilter(PluginLevel(text))
