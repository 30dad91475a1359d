# SPDX-License-Identifier: MIT
"""logging/warn: log to standard error.

    logging/warn [LEVEL]

Writes what reaches LEVEL as a line `PID ID hook=NAME plugin=NAME: text`; ID is that of the
transaction or session.  Further lines, of a traceback for instance, are indented.  If stderr is
systemd's journal, the line begins with its priority in place of the PID (sd-daemon(3)).

Differences from the Perl version: ids are shown, and hook and plugin as `hook=` and `plugin=`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from qpsmtpd.api import LogLevel, Plugin, format_record, opt, stderr_text, write_stderr


@dataclass(frozen=True, kw_only=True)
class WarnOptions:
    loglevel: LogLevel = opt(
        LogLevel.LOGWARN, doc="The level that a message must reach to be written.", positional=True
    )


class Warn(Plugin[WarnOptions]):
    """Write records to stderr."""

    def hook_logging(self, record: logging.LogRecord) -> None:
        write_stderr(stderr_text(record, format_record(record)))
