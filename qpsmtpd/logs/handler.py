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

import asyncio
import logging
import traceback
from collections.abc import Sequence
from contextvars import Context
from typing import Protocol, runtime_checkable

from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.logs.records import (
    ContextFilter,
    LineMaker,
    format_record,
    stderr_is_journal,
    stderr_text,
    write_stderr,
)

#: Seconds for which a line about a session waits for others, and how many do not wait any longer.
#: To write fifty in a row costs a third of writing each in its turn, when other code has driven
#: what writes out of the processor's caches.
DELAY = 0.01
MANY = 64


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
        self._waiting: list[tuple[LineMaker, float]] = []
        self.addFilter(ContextFilter())

    def replace(
        self, sinks: Sequence[LogSink], level: LogLevel | None = None, *, to_both: bool = True
    ) -> None:
        """Replace the logging plugins, and the level for stderr, in one step.

        to_both: whether errors go to the journal too.
        """
        self.flush()
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
        self.flush()
        for _, sink in self._sinks:
            if isinstance(sink, Reopenable):
                sink.reopen()

    def take_soon(self, make: LineMaker, created: float) -> None:
        """Take a line, which is made and passed on DELAY later, together with others.

        Nothing overtakes it.  In the thread of the event loop; without a loop it is passed on now.
        What a logging plugin logs while it writes is dropped.
        """
        # In the lock, or it would be dropped while another thread writes a record.
        assert self.lock is not None
        with self.lock:
            if self._busy:
                return
            waiting = self._waiting
            waiting.append((make, created))
            if len(waiting) == 1:
                self._flush_later()
            elif len(waiting) >= MANY:
                self._pass_all()

    def _flush_later(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._pass_all()
        else:
            # Not in the context of the session that happens to be first.
            loop.call_later(DELAY, self.flush, context=Context())

    def flush(self) -> None:
        """Pass on the lines that are waiting."""
        assert self.lock is not None
        with self.lock:
            if not self._busy:
                self._pass_all()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on.  What a logging plugin logs meanwhile is dropped."""
        if not self._busy:
            self._pass_all(record)

    def _pass_all(self, *records: logging.LogRecord) -> None:
        """Pass on the lines that are waiting, and then these records."""
        self._busy = True
        try:
            waiting, self._waiting = self._waiting, []
            for make, created in waiting:
                try:
                    line = make(created)
                except Exception:
                    # Whoever logs next is not to suffer from it.
                    write_stderr(f"a line cannot be composed:\n{traceback.format_exc()}")
                else:
                    self._pass_on(line)
            for record in records:
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
