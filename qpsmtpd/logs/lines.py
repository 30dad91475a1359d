# SPDX-License-Identifier: MIT
"""Lines about a session that are written for every message and every refusal, on a short way.

They are records as all others are, but nobody looks up what no logging plugin reads, and they go
straight to our handler, unless somebody else listens as well (tests do).  It makes records of
several of them at once: see `PluginHandler.take_soon`.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from qpsmtpd.logs.handler import PluginHandler
from qpsmtpd.logs.records import Line, LineMaker, Subject

_service = logging.getLogger("qpsmtpd")


def write_line(
    log: logging.Logger,
    subject: Subject,
    text: str,
    *values: Any,
    hook: str = "",
    plugin: str = "",
) -> None:
    """Log at the level info, as `log.info` does.  Nobody may change the values any more."""
    if not log.isEnabledFor(logging.INFO):
        return
    transaction = subject.transaction
    ids = (subject.id, subject.client.ip, "" if transaction is None else transaction.id)
    write_soon(log, partial(Line, log.name, text, values, ids, hook=hook, plugin=plugin))


def write_soon(log: logging.Logger, make: LineMaker) -> None:
    """Write a line that is made when its turn comes; its level is known to be wanted."""
    handlers = logging.root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], PluginHandler) and not _service.handlers:
        handlers[0].take_soon(make, time.time())
    else:
        log.handle(make(time.time()))


def write_waiting() -> None:
    """Write the lines that wait for others: the logging plugins are about to stop."""
    for handler in logging.root.handlers:
        handler.flush()
