# SPDX-License-Identifier: MIT
"""content_log: keep a copy of every message in a file.

Each message, with the header fields that we added, is appended to the file, with LF line ends and
nothing between two messages. Use it for debugging, and for a short time: it fills the disk, and
holds other people's mail. Only the daemon can read the files. When several workers write at the
same time, messages of more than a megabyte can get mixed up.

File `content_log_file`: the name of the file, with % and letters of strftime(3) for date and time;
without it `mail/%Y%m%d`, relative to the working directory. The directory must exist. File
`content_log_enabled`: true, 1 or yes (or no such file) means on, anything else off.

Refuses nothing: when a copy cannot be written, or not within a minute, a line in the log says so,
and the message goes on.

Differences from the Perl version: 0.94 had no configuration files.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import BinaryIO

from qpsmtpd.api import Message, NoOptions, Plugin, Transaction

DEFAULT_FILE = "mail/%Y%m%d"
ON = frozenset({"true", "1", "yes"})
TIMEOUT = 60.0


class ContentLog(Plugin[NoOptions]):
    """Appends messages to a file."""

    files = {
        "content_log_enabled": "Whether copies of messages are kept.",
        "content_log_file": "The file for copies, with % and letters of strftime(3).",
    }

    async def start(self) -> None:
        config = self.services.config
        self._pattern = await config.value("content_log_file", DEFAULT_FILE)
        self._enabled = (await config.value("content_log_enabled", "true")).strip().lower() in ON
        self._turn = asyncio.Lock()

    async def hook_data_post(self, tx: Transaction) -> None:
        if not self._enabled or tx.message is None or self.services.rehearsal:
            return
        name = time.strftime(self._pattern, time.localtime(self.services.clock.now()))
        try:
            async with asyncio.timeout(TIMEOUT), self._turn:
                await _append(Path(name), tx.message)
        except TimeoutError:
            self.log.error("not written within %g s file=%r", TIMEOUT, name)
        except OSError as error:
            self.log.error("not written file=%r: %s", name, error.strerror)


async def _append(path: Path, message: Message) -> None:
    file = await asyncio.to_thread(_open, path)
    try:
        async for block in message.stream():
            # Messages have no CR but in CRLF.
            await asyncio.to_thread(file.write, block.replace(b"\r", b""))
    finally:
        await asyncio.to_thread(file.close)


def _open(path: Path) -> BinaryIO:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return os.fdopen(handle, "ab")
