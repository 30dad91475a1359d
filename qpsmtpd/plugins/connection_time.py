# SPDX-License-Identifier: MIT
"""connection_time: log how long each connection lasted.

    connection_time [LEVEL]

When a connection is closed, one line is logged with the seconds since it was accepted, to three
decimal places, at LEVEL: a number from 0 (emergency) to 7 (debug), or a name such as LOGINFO, the
default. Refuses nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from qpsmtpd.api import Plugin, Session, matching, opt

LEVELS = {
    "emerg": logging.CRITICAL,
    "alert": logging.CRITICAL,
    "crit": logging.CRITICAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "notice": logging.INFO,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}


def _number(level: str) -> int | None:
    """The level in Python's logging, None when there is no such level."""
    if len(level) == 1 and level in "01234567":
        return list(LEVELS.values())[int(level)]
    return LEVELS.get(level.lower().removeprefix("log"))


@dataclass(frozen=True, kw_only=True)
class ConnectionTimeOptions:
    """Options of connection_time."""

    level: str = opt(
        "LOGINFO",
        positional=True,
        doc="Level of the line, 0 to 7 or LOGINFO etc.",
        check=matching(_number, "one of 0 to 7 or LOGEMERG to LOGDEBUG"),
    )


class ConnectionTime(Plugin[ConnectionTimeOptions]):
    """Logs the duration of each connection."""

    async def hook_post_connection(self, session: Session) -> None:
        seconds = self.services.clock.monotonic() - session.started
        level = _number(self.options.level)
        assert level is not None
        self.log.log(level, "connection lasted %.3f s. ip=%s", seconds, session.client.ip)
