# SPDX-License-Identifier: MIT
"""Records as the core passes them to logging plugins."""

from __future__ import annotations

import logging
import sys


def a_record(
    message: str = "hello",
    level: int = logging.WARNING,
    *,
    session: str = "S1",
    transaction: str = "",
    hook: str = "",
    plugin: str = "",
) -> logging.LogRecord:
    """A record with the ids that the core gives."""
    record = logging.LogRecord("qpsmtpd.test", level, "/src/x.py", 7, message, (), None, "f")
    record.__dict__.update(session=session, transaction=transaction, hook=hook, plugin=plugin)
    return record


def a_record_of_a_fault() -> logging.LogRecord:
    """A record with a traceback."""
    record = a_record(level=logging.ERROR)
    try:
        raise ValueError("broken")
    except ValueError:
        record.exc_info = sys.exc_info()
    return record
