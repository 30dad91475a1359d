# SPDX-License-Identifier: MIT
"""The plugin `recorder` of a fuzzed daemon: takes every message, and watches the event loop.

It writes a line of JSON for each message into the file RECORDED beside the configuration.  For each
worker the file `held-PID` has the longest time, in seconds of CPU, that the loop took for one turn,
and `left-PID` the number of connections that are not over for the daemon when the worker ends.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from pathlib import Path

from qpsmtpd.api import NoOptions, Plugin, Transaction, Verdict, accept
from qpsmtpd.smtp.protocol import SmtpProtocol

RECORDED = "recorded"
#: Seconds between two looks at the clock of the processor.
TICK = 0.002
#: Holding the loop for less is not worth a line, in seconds.
_LEAST = 0.005


class Recorder(Plugin[NoOptions]):
    """Records messages."""

    async def start(self) -> None:
        self._directory = self.services.plugin_dirs[0]
        self._most = _LEAST

    async def hook_post_fork(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._before = time.thread_time()
        self._tick()

    async def stop(self) -> None:
        left = sum(
            isinstance(thing, SmtpProtocol) and thing.connection is not None
            for thing in gc.get_objects()
        )
        (self._directory / f"left-{os.getpid()}").write_text(str(left))

    def _tick(self) -> None:
        """A turn of the loop lasts no longer than the CPU time between two calls of this."""
        now = time.thread_time()
        if now - self._before > self._most:
            self._most = now - self._before
            unfinished = self._directory / f".held-{os.getpid()}"
            unfinished.write_text(str(self._most))
            unfinished.rename(self._directory / f"held-{os.getpid()}")
        self._before = time.thread_time()
        self._loop.call_later(TICK, self._tick)

    async def hook_queue(self, tx: Transaction) -> Verdict | None:
        assert tx.message is not None
        if tx.reverse_path is None and tx.message.headers.peek("Auto-Submitted") == "auto-replied":
            # A notice of ours about a message.
            return accept("Taken")
        record = {
            # Whoever is there may speak for another client.
            "address": (tx.session.proxy or tx.session.client).ip,
            "recipients": [recipient.address.unquoted for recipient in tx.recipients],
            "octets": (await tx.message.read(1 << 30)).decode("latin-1"),
        }
        await asyncio.to_thread(_append, self._directory / RECORDED, json.dumps(record))
        return accept("Recorded")


def held_in(directory: Path) -> float:
    """The longest that any worker's loop was held so far, in seconds of CPU."""
    return max((float(path.read_text()) for path in directory.glob("held-*")), default=0.0)


def _append(path: Path, line: str) -> None:
    """In one piece: other workers write here, too."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        data = f"{line}\n".encode()
        written = os.write(file, data)
        assert written == len(data)
    finally:
        os.close(file)
