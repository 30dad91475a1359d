# SPDX-License-Identifier: MIT
"""logging/devnull: log nothing.

It takes no arguments.  As the only plugin in the file `logging` it keeps the daemon silent: once
any logging plugin is loaded, only logging plugins write to stderr.
"""

from __future__ import annotations

import logging

from qpsmtpd.api import NOTHING, NoOptions, Plugin


class Devnull(Plugin[NoOptions]):
    """Swallow every record."""

    log_level = NOTHING

    def hook_logging(self, record: logging.LogRecord) -> None:
        return
