# SPDX-License-Identifier: MIT
"""logging/syslog: log to the system log.

    logging/syslog [loglevel LEVEL] [priority PRIORITY] [ident NAME]
                   [facility FACILITY]

Sends what reaches LEVEL to the socket /dev/log (in the RFC 3164 format of syslog(3)), each line of
a record separately.  The priority is that of the message unless one is given.  The daemon does not
wait for the system log: what the log does not take at once is lost; a message on stderr says so, at
most once a minute.

Differences from the Perl version: `logsock` is understood but has no effect: the socket is always a
local one.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from qpsmtpd.api import DatagramOutlet, LogLevel, Plugin, format_record, opt

Facility = Literal[
    "LOG_KERN", "LOG_USER", "LOG_MAIL", "LOG_DAEMON", "LOG_AUTH", "LOG_SYSLOG", "LOG_LPR",
    "LOG_NEWS", "LOG_UUCP", "LOG_CRON", "LOG_AUTHPRIV", "LOG_FTP", "LOG_LOCAL0", "LOG_LOCAL1",
    "LOG_LOCAL2", "LOG_LOCAL3", "LOG_LOCAL4", "LOG_LOCAL5", "LOG_LOCAL6", "LOG_LOCAL7",
]  # fmt: skip

# RFC 3164 section 4.1.1: the first twelve are counted from 0, the local ones from 16.
_NUMBERS = [*range(12), *range(16, 24)]
_FACILITIES = dict(zip(get_args(Facility), _NUMBERS, strict=True))

#: Bytes of one line; system logs cut longer ones at places of their own.
LINE_LIMIT = 8000


@dataclass(frozen=True, kw_only=True)
class SyslogOptions:
    loglevel: LogLevel = opt(
        LogLevel.LOGWARN, doc="The level that a message must reach to be sent."
    )
    priority: LogLevel | None = opt(None, doc="The priority of every message, e.g. LOG_INFO.")
    ident: str = opt("qpsmtpd", doc="The name of the program in the log.")
    facility: Facility = opt("LOG_MAIL", doc="The facility.")
    logsock: str = opt("", doc="Accepted for old configurations; has no effect.")
    socket: Path = opt(Path("/dev/log"), doc="The socket of the system log.")

    @staticmethod
    def rewrite(words: list[str]) -> list[str]:
        """Accept the names of syslog(3) as well as our own."""
        result = list(words)
        for index, word in enumerate(words[:-1]):
            if word == "priority":
                result[index + 1] = _level_name(words[index + 1])
            if word == "facility":
                result[index + 1] = "LOG_" + words[index + 1].upper().removeprefix("LOG_")
        return result


class Syslog(Plugin[SyslogOptions]):
    """Send records to /dev/log."""

    async def start(self) -> None:
        self._outlet = DatagramOutlet(self.options.socket)
        self._facility = _FACILITIES[self.options.facility] * 8

    def hook_logging(self, record: logging.LogRecord) -> None:
        level = self.options.priority or LogLevel.of(record)
        stamp = time.strftime("%b %e %T", time.localtime(record.created))
        head = (
            f"<{self._facility + level.priority}>{stamp} {self.options.ident}[{record.process}]: "
        )
        for line in format_record(record).split("\n"):
            datagram = (head + line).encode("utf-8", "backslashreplace")
            self._outlet.write(datagram[:LINE_LIMIT])

    async def stop(self) -> None:
        self._outlet.close()


def _level_name(word: str) -> str:
    """LOG_WARNING, LOG_ERR and LOG_PANIC of syslog(3) as our own words."""
    name = word.upper().removeprefix("LOG_").removeprefix("LOG")
    return {"WARNING": "WARN", "ERR": "ERROR", "PANIC": "EMERG"}.get(name, name)
