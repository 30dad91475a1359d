# SPDX-License-Identifier: MIT
"""PluginHandler: passes log records to the logging plugins, or to stderr if there are none.

If stderr is the journal, and the plugins write elsewhere, errors go to both: an administrator who
finds nothing wrong in `systemctl status` does not look any further.

Every module logs through `logging.getLogger(__name__)`.  `install` puts one handler on the root
logger.  It gives each record the ids that `bind` has set for the task at hand (records.py).  The
logger `qpsmtpd` gets the most verbose level that anybody listens to: what is below costs one
comparison, and text is composed only by those who write it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.logs.records import (
    ContextFilter,
    format_record,
    stderr_is_journal,
    stderr_text,
    write_stderr,
)


class LogSink(Protocol):
    """A logging plugin as seen from here."""

    @property
    def log_level(self) -> int:
        """The lowest level of records that it wants."""

    def hook_logging(self, record: logging.LogRecord) -> None:
        """Write one record somewhere, without waiting."""


@runtime_checkable
class Reopenable(Protocol):
    """A logging plugin that keeps files open; log rotation moves them away."""

    def reopen(self) -> None:
        """Close the files; the next record opens them under their names again."""


@runtime_checkable
class Apart(Protocol):
    """A logging plugin that can tell where its records go."""

    @property
    def apart(self) -> bool:
        """Whether that is neither stderr nor the journal."""


class PluginHandler(logging.Handler):
    """Passes records to the logging plugins, or to stderr if there are none."""

    def __init__(self, level: LogLevel = LogLevel.LOGWARN) -> None:
        super().__init__()
        self._stderr_level: int = level
        self._sinks: tuple[tuple[int, LogSink], ...] = ()
        self._to_both = False
        self._busy = False
        self.addFilter(ContextFilter())

    def replace(
        self, sinks: Sequence[LogSink], level: LogLevel | None = None, *, to_both: bool = True
    ) -> None:
        """Replace the logging plugins, and the level for stderr, in one step.

        to_both: whether errors go to the journal too.
        """
        self._sinks = tuple((sink.log_level, sink) for sink in sinks)
        apart = len(sinks_apart(sinks)) == len(sinks) > 0
        self._to_both = to_both and apart and stderr_is_journal()
        if level is not None:
            self._stderr_level = level
        logging.getLogger("qpsmtpd").setLevel(self.lowest_level)

    @property
    def lowest_level(self) -> int:
        """The level below which nobody listens."""
        return min((level for level, _ in self._sinks), default=self._stderr_level)

    def reopen(self) -> None:
        """Have the logging plugins reopen their files after log rotation (SIGUSR1)."""
        for _, sink in self._sinks:
            if isinstance(sink, Reopenable):
                sink.reopen()

    def take(self, record: logging.LogRecord) -> None:
        """As `handle`, for a record that says already what it is about."""
        # In the lock, or a line would be dropped while another thread writes one.
        assert self.lock is not None
        with self.lock:
            self.emit(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on.  What a logging plugin logs meanwhile is dropped."""
        if self._busy:
            return
        self._busy = True
        try:
            self._pass_on(record)
        finally:
            self._busy = False

    def _pass_on(self, record: logging.LogRecord) -> None:
        least = logging.ERROR if self._to_both else self._stderr_level
        if record.levelno >= least and (self._to_both or not self._sinks):
            write_stderr(stderr_text(record, format_record(record)))
        for level, sink in self._sinks:
            if record.levelno < level:
                continue
            try:
                sink.hook_logging(record)
            except Exception:
                write_stderr(f"a logging plugin failed:\n{traceback.format_exc()}")


def sinks_apart(sinks: Sequence[LogSink]) -> list[LogSink]:
    """Those that write neither to stderr nor to the journal."""
    return [sink for sink in sinks if isinstance(sink, Apart) and sink.apart]


def install(
    level: LogLevel = LogLevel.LOGWARN, sinks: Sequence[LogSink] = (), *, to_both: bool = True
) -> PluginHandler:
    """Take over logging; `level` (config `loglevel`) is for stderr as long as there is no sink.

    to_both: see PluginHandler.replace.
    Returns the handler, that of an earlier call if there was one.
    """
    # Our records name their module by their logger.  To find the place in the code as well costs
    # as much as writing the line (Optimization in the Logging HOWTO); the thread tells nothing.
    logging._srcfile = None
    logging.logThreads = False
    logging.logMultiprocessing = False
    root = logging.getLogger()
    handler = next((h for h in root.handlers if isinstance(h, PluginHandler)), None)
    if handler is None:
        handler = PluginHandler()
        root.addHandler(handler)
    handler.replace(sinks, level, to_both=to_both)
    return handler
