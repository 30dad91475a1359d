# SPDX-License-Identifier: MIT
"""Logging: the levels of the Perl version on top of the standard `logging` package.

Everybody logs through `logging.getLogger(__name__)`.  `install` puts one handler, PluginHandler,
on the root logger.  It gives each record the ids that `bind` has set for the task at hand and
passes it to the logging plugins, or, when there are none, to stderr.  The logger `qpsmtpd` gets
the most talkative level that anybody listens to: what is below costs one comparison, and text is
put together only by those who write it.
"""

from __future__ import annotations

import enum
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol, Self, runtime_checkable

#: The level of a sink that writes nothing.
NOTHING = 100

#: Log lines of plugins come from the logger of this name plus the plugin's.
_PLUGIN_LOGGERS = "qpsmtpd.plugin."


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
        """Read LOGWARN, warn or 4.  Raises ValueError that says what would be right."""
        word = text.upper()
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

#: What `record.levelname` says of the levels that `logging` does not have.
for _level in (LogLevel.LOGNOTICE, LogLevel.LOGALERT, LogLevel.LOGEMERG):
    logging.addLevelName(_level, _level.name.removeprefix("LOG"))


# --- what a record is about -----------------------------------------------------------------


class Subject(Protocol):
    """What records are about: a session and the transaction it is in."""

    @property
    def id(self) -> str:
        """The id of the session."""

    @property
    def transaction(self) -> HasId | None:
        """The transaction at the moment."""


class HasId(Protocol):
    """A transaction, as far as records are concerned."""

    @property
    def id(self) -> str:
        """The id of the transaction."""


_subject: ContextVar[Subject | None] = ContextVar("subject", default=None)


def bind(subject: Subject | None) -> None:
    """Say what this task (or callback context) works on, for its log records from here on."""
    _subject.set(subject)


class ContextFilter(logging.Filter):
    """Puts session, transaction, hook and plugin on records, "" where there is none.

    What `extra` gave stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        subject = _subject.get()
        transaction = None if subject is None else subject.transaction
        values = record.__dict__
        values.setdefault("session", "" if subject is None else subject.id)
        values.setdefault("transaction", "" if transaction is None else transaction.id)
        values.setdefault("hook", "")
        if "plugin" not in values:
            values["plugin"] = _plugin_of(record.name)
        return True


def _plugin_of(logger: str) -> str:
    if not logger.startswith(_PLUGIN_LOGGERS):
        return ""
    return logger.removeprefix(_PLUGIN_LOGGERS).replace(".", "/")


# --- text -----------------------------------------------------------------------------------


def format_record(record: logging.LogRecord) -> str:
    """A record as text: `ID hook=NAME plugin=NAME: message`, without time and level.

    ID is the transaction's, which begins with the session's, or the session's.  The rest is as
    `printable_text` has it.
    """
    prefix = _prefix(record)
    text = printable_text(record)
    return f"{prefix}: {text}" if prefix else text


def printable_text(record: logging.LogRecord) -> str:
    """The text of a record, control characters escaped.

    Further lines, of the message or a traceback, are indented by four columns.
    """
    text = record_text(record)
    if text.isprintable():
        return text
    lines = text.split("\n")
    return "\n    ".join(line if line.isprintable() else _escape(line) for line in lines)


def record_text(record: logging.LogRecord) -> str:
    """The message of a record and, after it, its traceback; as they are."""
    text = record.getMessage()
    if not (record.exc_info or record.stack_info):
        return text.rstrip("\n")
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + "".join(traceback.format_exception(*record.exc_info))
    if record.stack_info:
        text += "\n" + record.stack_info
    return text.rstrip("\n")


def _prefix(record: logging.LogRecord) -> str:
    get = record.__dict__.get
    words = get("transaction") or get("session") or ""
    if hook := get("hook"):
        words += f" hook={hook}"
    if plugin := get("plugin"):
        words += f" plugin={plugin}"
    return words.lstrip(" ")


def _escape(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in line)


def stderr_text(record: logging.LogRecord, text: str, prefix: str = "") -> str:
    """Lines of a record as they are written to stderr: prefix, process id, line.

    Where stderr is the journal the priority comes first (sd-daemon(3)), and no process id.
    """
    if stderr_is_journal():
        mark = f"<{LogLevel.of(record).priority}>{prefix}"
    else:
        mark = f"{prefix}{record.process} "
    return "".join(f"{mark}{line}\n" for line in text.split("\n"))


def write_stderr(text: str) -> None:
    """Write to stderr, in one piece; never raises."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # Closed, on a full disk, or not there at all: nobody is left to tell.
        return


def stderr_is_journal() -> bool:
    """Whether systemd has connected stderr to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    stream = os.environ.get("JOURNAL_STREAM")
    if not stream:
        return False
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


# --- where records go -----------------------------------------------------------------------


class LogSink(Protocol):
    """A logging plugin as seen from here.

    It may have a number `level`: the lowest level of records that it wants; it still gets others.
    """

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
        self._sinks: tuple[LogSink, ...] = ()
        self._busy = False
        self.addFilter(ContextFilter())

    def replace(self, sinks: Sequence[LogSink], level: LogLevel | None = None) -> None:
        """Change the logging plugins, and the level that holds for stderr, at once."""
        self._sinks = tuple(sinks)
        if level is not None:
            self._stderr_level = level
        logging.getLogger("qpsmtpd").setLevel(self.lowest_level)

    @property
    def lowest_level(self) -> int:
        """The level below which nobody listens."""
        levels = [int(getattr(sink, "level", logging.DEBUG)) for sink in self._sinks]
        return min(levels, default=self._stderr_level)

    def reopen(self) -> None:
        """Let the logging plugins open their files again, after log rotation (SIGUSR1)."""
        for sink in self._sinks:
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
        for sink in self._sinks:
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
