# SPDX-License-Identifier: MIT
"""Lines about a session that are written for every message and every refusal, on a short way.

They are records as all others are, but nobody looks up what no logging plugin reads, and they go
straight to our handler, unless somebody else listens as well (tests do).  That costs a third of
what `Logger.info` does.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from qpsmtpd.logs.handler import PluginHandler
from qpsmtpd.logs.records import Subject

_service = logging.getLogger("qpsmtpd")


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
    """A record about a session, at the level info."""

    def __init__(
        self,
        logger: str,
        subject: Subject,
        text: str,
        values: tuple[Any, ...],
        hook: str,
        plugin: str,
    ) -> None:
        # LogRecord.__init__ is not called: it costs more than all the rest.
        now = time.time()
        transaction = subject.transaction
        self.__dict__ = {
            **_UNKNOWN,
            "name": logger,
            "msg": text,
            "args": values,
            "created": now,
            "msecs": now % 1 * 1000,
            "process": os.getpid(),
            "session": subject.id,
            "ip": subject.client.ip,
            "transaction": "" if transaction is None else transaction.id,
            "hook": hook,
            "plugin": plugin,
        }


def write_line(
    log: logging.Logger,
    subject: Subject,
    text: str,
    *values: Any,
    hook: str = "",
    plugin: str = "",
) -> None:
    """Log at the level info, as `log.info` does."""
    if not log.isEnabledFor(logging.INFO):
        return
    line = Line(log.name, subject, text, values, hook, plugin)
    handlers = logging.root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], PluginHandler) and not _service.handlers:
        handlers[0].take(line)
    else:
        log.handle(line)
