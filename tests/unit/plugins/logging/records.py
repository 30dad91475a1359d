# SPDX-License-Identifier: MIT
"""Records as the core passes them to logging plugins."""

from __future__ import annotations

import logging
import sys
from typing import Any

from qpsmtpd.api import Plugin


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


def pass_on(plugin: Plugin[Any], record: logging.LogRecord) -> None:
    """Let the plugin have the record if it wants it, as PluginHandler does."""
    if record.levelno >= plugin.log_level:
        plugin.hook_logging(record)


def a_record_of_a_fault() -> logging.LogRecord:
    """A record with a traceback."""
    record = a_record(level=logging.ERROR)
    try:
        raise ValueError("broken")
    except ValueError:
        record.exc_info = sys.exc_info()
    return record
