# SPDX-License-Identifier: MIT
"""A worker whose event loop does not turn any more: it is ended, and says what it was at."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.unit.client import catching
from tests.unit.daemon_process import configure, running

HANGS = """
import threading
from qpsmtpd.api import *

class Hangs(Plugin[NoOptions]):
    async def hook_vrfy(self, session, argument):
        threading.Event().wait()
"""
WATCHED = {"WATCHDOG_USEC": "100000"}


async def test_it_says_where(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    directory = configure(tmp_path, catching(tmp_path, "hangs"))
    # Half of it is what a worker has for its traceback.
    async with running(directory, workers=2, environment=WATCHED, least_silence=4.0) as daemon:
        port = await daemon.port()
        # Watchdog messages that nobody reads leave no room for this one, which is waited for.
        await daemon.ready()
        client = await daemon.client(port)
        client.send(b"VRFY user\r\n")
        pid = (await daemon.logged("worker hangs pid=")).partition("pid=")[2].split()[0]
        await daemon.logged("Fatal Python error: Aborted")
        await daemon.logged(f'"{tmp_path}/hangs.py", line 7 in hook_vrfy')
        await daemon.logged(f"worker ended pid={pid} status=-6, starting another")
        await daemon.logged("worker started pid=")
        await client.close()


async def test_it_is_killed_when_it_cannot_even_abort(tmp_path: Path) -> None:
    watched = running(configure(tmp_path), workers=2, environment=WATCHED, least_silence=1.0)
    async with watched as daemon:
        await daemon.ready()
        victim = daemon.children()[0]
        os.kill(victim, signal.SIGSTOP)
        for _ in range(2):
            await daemon.logged(f"worker hangs pid={victim}")
        await daemon.logged(f"worker ended pid={victim} status=-9, starting another")
