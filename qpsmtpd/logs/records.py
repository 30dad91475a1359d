# SPDX-License-Identifier: MIT
"""Log records: what they are about, and the text they become.

`bind` says which session the current task works on; ContextFilter puts its ids and the client's
address on every record.  A line that does not name the client itself has its address at the end.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from qpsmtpd.logs.levels import LogLevel

#: What these log is not about the client for which they happen to work.
_ABOUT_NO_CLIENT = (
    "qpsmtpd.config.",
    "qpsmtpd.daemon.",
    "qpsmtpd.dns.",
    "qpsmtpd.scanners.",
    "qpsmtpd.store.",
)

#: A plugin logs through the logger with this prefix and the plugin's name.
PLUGIN_LOGGERS = "qpsmtpd.plugins."


# --- what a record is about -----------------------------------------------------------------


class Subject(Protocol):
    """What records are about: a session and the transaction it is in."""

    @property
    def client(self) -> HasAddress:
        """The other end of the connection."""

    @property
    def id(self) -> str:
        """The id of the session."""

    @property
    def transaction(self) -> HasId | None:
        """The current transaction."""


class HasAddress(Protocol):
    """A client, as far as records are concerned."""

    @property
    def ip(self) -> str:
        """Its address."""


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
    """Puts session, ip, transaction, hook and plugin on records, "" where there is none.

    What `extra` has set stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        subject = _subject.get()
        transaction = None if subject is None else subject.transaction
        values = record.__dict__
        values.setdefault("session", "" if subject is None else subject.id)
        if subject is None or record.name.startswith(_ABOUT_NO_CLIENT):
            values.setdefault("ip", "")
        else:
            values.setdefault("ip", subject.client.ip)
        values.setdefault("transaction", "" if transaction is None else transaction.id)
        values.setdefault("hook", "")
        if "plugin" not in values:
            values["plugin"] = _plugin_of(record.name)
        return True


def _plugin_of(logger: str) -> str:
    if not logger.startswith(PLUGIN_LOGGERS):
        return ""
    return logger.removeprefix(PLUGIN_LOGGERS).replace(".", "/")


# --- lines about a session --------------------------------------------------------------------

#: What a line is about: the id of a session, its client's address, the id of the transaction or "".
LineIds = tuple[str, str, str]

#: Makes a line that was to be written at that time.
LineMaker = Callable[[float], "Line"]

#: What LogRecord looks up for each record, in the words for what it does not find.
_UNKNOWN: dict[str, Any] = {
    "levelno": logging.INFO,
    "levelname": "INFO",
    "pathname": "(unknown file)",
    "filename": "(unknown file)",
    "module": "(unknown file)",
    "lineno": 0,
    "funcName": "(unknown function)",
    "exc_info": None,
    "exc_text": None,
    "stack_info": None,
    "relativeCreated": 0.0,
    "thread": None,
    "threadName": None,
    "processName": None,
    "taskName": None,
}


class Line(logging.LogRecord):
    """A record about a session, at the level info; see lines.py."""

    def __init__(
        self,
        logger: str,
        text: str,
        values: tuple[Any, ...],
        ids: LineIds,
        created: float,
        *,
        hook: str = "",
        plugin: str = "",
    ) -> None:
        # LogRecord.__init__ is not called: it costs more than all the rest.
        session, ip, transaction = ids
        self.__dict__ = {
            **_UNKNOWN,
            "name": logger,
            "msg": text,
            "args": values,
            "created": created,
            "msecs": created % 1 * 1000,
            "process": os.getpid(),
            "session": session,
            "ip": ip,
            "transaction": transaction,
            "hook": hook,
            "plugin": plugin,
        }


# --- text -----------------------------------------------------------------------------------


def format_record(record: logging.LogRecord) -> str:
    """A record as text: `ID hook=NAME plugin=NAME: message`, without time and level.

    ID is that of the transaction, which begins with that of the session, or that of the session.
    The message is what `printable_text` returns.
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
    """The message of a record, unchanged, with the client's address; after it, its traceback."""
    text = record.getMessage()
    if (ip := record.__dict__.get("ip")) and "ip=%" not in str(record.msg):
        # Behind the first line: what a client or a plugin has written may consist of several.
        first, end, rest = text.partition("\n")
        text = f"{first} ip={ip}{end}{rest}"
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

    If stderr is the journal, the priority comes first (sd-daemon(3)), and there is no process id.
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
