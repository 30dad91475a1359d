# SPDX-License-Identifier: MIT
"""PluginHandler: passes log records to the logging plugins, or without any to stderr.

Everybody logs through `logging.getLogger(__name__)`.  `install` puts one handler on the root
logger.  It gives each record the ids that `bind` has set for the task at hand (records.py).  The
logger `qpsmtpd` gets the most talkative level that anybody listens to: what is below costs one
comparison, and text is put together only by those who write it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.logs.records import ContextFilter, format_record, stderr_text, write_stderr


class LogSink(Protocol):
    """A logging plugin as seen from here."""

    @property
    def log_level(self) -> int:
        """The lowest level of records that it wants."""

    def hook_logging(self, record: logging.LogRecord) -> None:
        """Write one record somewhere, without waiting."""


@runtime_checkable
class Reopenable(Protocol):
    """A logging plugin that keeps files open, which log rotation moves away."""

    def reopen(self) -> None:
        """Close the files; the next record opens them under their names again."""


class PluginHandler(logging.Handler):
    """Passes records to the logging plugins, without any to stderr."""

    def __init__(self, level: LogLevel = LogLevel.LOGWARN) -> None:
        super().__init__()
        self._stderr_level: int = level
        self._sinks: tuple[tuple[int, LogSink], ...] = ()
        self._busy = False
        self.addFilter(ContextFilter())

    def replace(self, sinks: Sequence[LogSink], level: LogLevel | None = None) -> None:
        """Change the logging plugins, and the level that holds for stderr, at once."""
        self._sinks = tuple((sink.log_level, sink) for sink in sinks)
        if level is not None:
            self._stderr_level = level
        logging.getLogger("qpsmtpd").setLevel(self.lowest_level)

    @property
    def lowest_level(self) -> int:
        """The level below which nobody listens."""
        return min((level for level, _ in self._sinks), default=self._stderr_level)

    def reopen(self) -> None:
        """Let the logging plugins open their files again, after log rotation (SIGUSR1)."""
        for _, sink in self._sinks:
            if isinstance(sink, Reopenable):
                sink.reopen()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on.  What a logging plugin logs meanwhile does not come back to it."""
        if self._busy:
            return
        self._busy = True
        try:
            self._pass_on(record)
        finally:
            self._busy = False

    def _pass_on(self, record: logging.LogRecord) -> None:
        if not self._sinks and record.levelno >= self._stderr_level:
            write_stderr(stderr_text(record, format_record(record)))
        for level, sink in self._sinks:
            if record.levelno < level:
                continue
            try:
                sink.hook_logging(record)
            except Exception:
                write_stderr(f"a logging plugin failed:\n{traceback.format_exc()}")


def install(level: LogLevel = LogLevel.LOGWARN, sinks: Sequence[LogSink] = ()) -> PluginHandler:
    """Take over logging; `level` (config `loglevel`) is for stderr as long as there is no sink.

    Returns the handler, the one of an earlier call if there was one.
    """
    # Our records name their module by their logger: no search for the place in the code, which
    # costs as much as writing the line (Optimization in the Logging HOWTO), and no thread.
    logging._srcfile = None
    logging.logThreads = False
    logging.logMultiprocessing = False
    root = logging.getLogger()
    handler = next((h for h in root.handlers if isinstance(h, PluginHandler)), None)
    if handler is None:
        handler = PluginHandler()
        root.addHandler(handler)
    handler.replace(sinks, level)
    return handler
