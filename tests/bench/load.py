# SPDX-License-Identifier: MIT
"""The load: Postfix's smtp-source, and a few clients beside it that look at the clock."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.client import RECIPIENT, SENDER, Prober
from tests.bench.laboratory import ServerError

PROBERS = 2
PROBE_PAUSE = 0.02  # seconds
MAX_SECONDS = 120.0  # for one run


@dataclass(frozen=True)
class Load:
    """What smtp-source does.

    size: bytes of a message.  sessions: connections at a time.
    keep: whether a connection is used for many messages.
    """

    size: int
    sessions: int
    keep: bool = False


async def send_load(tree: Path, port: int, load: Load, messages: int) -> float:
    """Send so many messages; the seconds that it took.  Raises ServerError."""
    started = time.perf_counter()
    await _smtp_source(tree, port, load, messages)
    return time.perf_counter() - started


async def probe(tree: Path, port: int, load: Load, messages: int) -> list[float]:
    """Send so many messages, while a few clients visit; the seconds that each of those took.

    Raises ServerError and RefusedError, in an ExceptionGroup.
    """
    prober = Prober(port, load.size)
    async with prober.probing(PROBERS, PROBE_PAUSE):
        await _smtp_source(tree, port, load, messages)
    return [visit.finished for visit in prober.visits]


async def _smtp_source(tree: Path, port: int, load: Load, messages: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *("chroot", str(tree), "smtp-source", *(["-d"] if load.keep else [])),
        *("-s", str(load.sessions), "-m", str(messages), "-l", str(load.size)),
        *("-M", "client.example.org", "-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{port}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(MAX_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        raise ServerError(f"took more than {MAX_SECONDS:.0f} s for {messages} messages") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ServerError(f"smtp-source: {output.decode(errors='replace').strip()}")
