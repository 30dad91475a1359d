# SPDX-License-Identifier: MIT
"""logging/transaction_id: log to standard error, each line with the id of its transaction.

    logging/transaction_id [LEVEL]

Writes what reaches LEVEL as `PID [ID] text`, every line of a record with its prefix.
Lines outside a transaction have the id of their session, or none.

Differences from the Perl version: there the plugin refused to load.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from qpsmtpd.api import LogLevel, Plugin, opt, printable_text, stderr_text, write_stderr


@dataclass(frozen=True, kw_only=True)
class TransactionIdOptions:
    loglevel: LogLevel = opt(
        LogLevel.LOGWARN, doc="The level that a message must reach to be written.", positional=True
    )


class TransactionId(Plugin[TransactionIdOptions]):
    """Write records to stderr with the id of their transaction."""

    def hook_logging(self, record: logging.LogRecord) -> None:
        ident = getattr(record, "transaction", "") or getattr(record, "session", "")
        mark = f"[{ident}] " if ident else ""
        lines = printable_text(record).split("\n")
        write_stderr(stderr_text(record, "\n".join(mark + line for line in lines)))
