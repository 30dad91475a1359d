# SPDX-License-Identifier: MIT
"""Debian's Postfix on loopback, in a chroot; what it takes is thrown away by its queue."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

from tests.bench.servers import PEERS, fill
from tests.bench.trees import POSTFIX_ANSWERS
from tests.debian_system import System, layer_tar, unpacked
from tests.isolation import ENVIRONMENT
from tests.ports import free_port

START_TIMEOUT = 30.0  # seconds
#: It logs to nobody: its own log daemon may not have begun when smtpd has to wait for it.
_NO_LOG = {"maillog_file": ""}


@contextmanager
def postfix_system(release: str) -> Iterator[System]:
    """A Debian system with Postfix, deleted at the end."""
    with unpacked(layer_tar(release, ("postfix",), POSTFIX_ANSWERS)) as system:
        yield system


@asynccontextmanager
async def postfix_server(system: System, settings: Mapping[str, str]) -> AsyncIterator[int]:
    """Run Postfix with these settings beside those of tests/bench/peers/postfix; its port."""
    port = free_port()
    directory = system.root / "etc/postfix"
    fill(directory, PEERS / "postfix/common", {"@PORT@": str(port)})
    with (directory / "main.cf").open("a") as main:
        main.writelines(f"{name} = {value}\n" for name, value in (_NO_LOG | dict(settings)).items())
    process = subprocess.Popen(
        system.command("postfix", "start-fg"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    try:
        await _listening(port, process)
        yield port
    finally:
        # Its name space, and all that is left in it, ends with it.
        process.kill()
        process.wait()


async def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT):
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.transport.abort()
                    return
                await asyncio.sleep(0.05)
    raise RuntimeError("Postfix does not start")
