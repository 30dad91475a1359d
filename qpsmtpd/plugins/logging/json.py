# SPDX-License-Identifier: MIT
"""logging/json: log one JSON object per line, to standard error or a file.

    logging/json [LEVEL] [file PATH]

Writes what reaches LEVEL.  The members are `time` (RFC 3339, UTC), `level` (LOGDEBUG to
LOGEMERG), `pid`, `logger`, `message` and, where they are known, `session`, `ip` (of the client),
`transaction`, `hook`, `plugin` and `traceback`.  The text is ASCII; everything else is escaped as
JSON has it.

The file is opened for appending, created with mode 0640, and reopened on SIGUSR1 (log rotation).
What cannot be written is lost; a message on stderr says so, at most once a minute.

Differences from the Perl version: the Perl version has no such plugin.
"""

from __future__ import annotations

import json
import logging
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime

from qpsmtpd.api import FileOutlet, LogLevel, Plugin, opt, write_stderr

_CONTEXT = ("session", "ip", "transaction", "hook", "plugin")


@dataclass(frozen=True, kw_only=True)
class JsonOptions:
    loglevel: LogLevel = opt(
        LogLevel.LOGINFO, doc="The level that a message must reach to be written.", positional=True
    )
    file: str = opt("", doc="The file to append to; without it stderr.")


class Json(Plugin[JsonOptions]):
    """Write records as JSON."""

    @property
    def apart(self) -> bool:
        """Whether records go neither to stderr nor to the journal."""
        return bool(self.options.file)

    async def start(self) -> None:
        self._outlet = FileOutlet(self.options.file) if self.options.file else None

    def hook_logging(self, record: logging.LogRecord) -> None:
        line = json.dumps(_members(record)) + "\n"
        if self._outlet is None:
            write_stderr(line)
        else:
            self._outlet.write(line.encode())

    def reopen(self) -> None:
        """Close; the next record opens the file under its name."""
        if self._outlet is not None:
            self._outlet.close()

    async def stop(self) -> None:
        self.reopen()


def _members(record: logging.LogRecord) -> dict[str, object]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    members: dict[str, object] = {
        "time": time.replace("+00:00", "Z"),
        "level": str(LogLevel.of(record)),
        "pid": record.process,
        "logger": record.name,
    }
    for name in _CONTEXT:
        if value := getattr(record, name, ""):
            members[name] = value
    members["message"] = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        members["traceback"] = "".join(traceback.format_exception(*record.exc_info))
    return members
