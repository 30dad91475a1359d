# SPDX-License-Identifier: MIT
"""logging/adaptive: log accepted messages differently from the rest, to standard error.

    logging/adaptive [accept LEVEL] [reject LEVEL] [prefix TEXT]

What reaches the level `reject` is written at once, as by logging/warn.  What reaches the level
`accept` is remembered until the transaction ends.  If its message was accepted, these lines are
written, again or for the first time, with the prefix in front; so a program like multilog can pick
out the lines of accepted messages.  Otherwise they are forgotten.

The lines of a session are remembered from the end of its last transaction on: the last 500 lines,
for the last 5000 sessions.

Differences from the Perl version: there one refusal kept everything after it, in all sessions of
the process, from being written with the prefix; and lines that only reached `accept` were lost.  A
refused recipient does not matter if the message was accepted for others.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from qpsmtpd.api import (
    LogLevel,
    Plugin,
    Session,
    Transaction,
    format_record,
    opt,
    stderr_text,
    write_stderr,
)

MOST_LINES = 500
MOST_SESSIONS = 5000


@dataclass(frozen=True, kw_only=True)
class AdaptiveOptions:
    accept: LogLevel = opt(
        LogLevel.LOGERROR, doc="What is written with the prefix when the message was accepted."
    )
    reject: LogLevel = opt(LogLevel.LOGWARN, doc="What is written at once, whatever happens.")
    prefix: str = opt("`", doc="The text in front of the lines of accepted messages.")


@dataclass(slots=True)
class _Memory:
    """What is remembered about a session, until its transaction ends."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    accepted: bool = False


class Adaptive(Plugin[AdaptiveOptions]):
    """Write records at once, and those of accepted messages again with a prefix."""

    @property
    def log_level(self) -> int:
        return int(min(self.options.accept, self.options.reject))

    async def start(self) -> None:
        self._memories: OrderedDict[str, _Memory] = OrderedDict()

    def hook_logging(self, record: logging.LogRecord) -> None:
        session = getattr(record, "session", "")
        now = record.levelno >= self.options.reject
        later = bool(session) and record.levelno >= self.options.accept
        text = format_record(record)
        if now:
            write_stderr(stderr_text(record, text))
        if later:
            self._memory(session).lines.append(stderr_text(record, text, self.options.prefix))

    async def hook_queue_post(self, tx: Transaction) -> None:
        self._memory(tx.session.id).accepted = True

    async def hook_reset_transaction(self, tx: Transaction) -> None:
        memory = self._memories.pop(tx.session.id, None)
        if memory is not None and memory.accepted:
            write_stderr("".join(memory.lines))

    async def hook_post_connection(self, session: Session) -> None:
        self._memories.pop(session.id, None)

    def _memory(self, session: str) -> _Memory:
        memory = self._memories.get(session)
        if memory is None:
            while len(self._memories) >= MOST_SESSIONS:
                self._memories.popitem(last=False)
            memory = self._memories[session] = _Memory()
        return memory
