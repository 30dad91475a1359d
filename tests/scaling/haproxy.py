# SPDX-License-Identifier: MIT
"""Debian's HAProxy, in a chroot of its own release."""

from __future__ import annotations

import asyncio
import csv
import re
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.debian_system import System, layer_tar, unpacked
from tests.isolation import ENVIRONMENT, NAMESPACES

START_TIMEOUT = 30.0  # seconds until it has begun, and until its checks have come to something
CONFIGURATION = "/etc/haproxy/test.cfg"
STATISTICS = "/run/statistics"  # in the chroot; the path outside must fit into a socket address

GENERAL = f"""\
global
    log stdout format raw daemon
    maxconn 500
    stats socket {STATISTICS}
defaults
    mode tcp
    log global
    timeout check 10s
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    default-server inter 500ms
"""

# The first process of a name space must not be the one that is to be told to end.
_AS_CHILD = '"$@"; exit $?'


@contextmanager
def haproxy_system(release: str, *more: str) -> Iterator[System]:
    """A Debian system with HAProxy and more packages in it, deleted at the end."""
    with unpacked(layer_tar(release, ("haproxy", *more))) as system:
        yield system


class HaProxy:
    """A running one."""

    def __init__(self, log: Path, statistics: Path) -> None:
        self._log = log
        self._statistics = statistics

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text()

    async def checked(self, server: str, wanted: str) -> None:
        """Wait until the checks of a server ("listen section/name") have this result: "L7OK"."""
        async with asyncio.timeout(START_TIMEOUT):
            while (found := await self._check_status(server)) != wanted:
                assert found, f"there is no {server}:\n{self.log}"
                await asyncio.sleep(0.02)

    async def _check_status(self, server: str) -> str:
        section, name = server.split("/")
        reader, writer = await asyncio.open_unix_connection(str(self._statistics))
        writer.write(b"show stat\n")
        table = (await reader.read()).decode().removeprefix("# ")
        writer.close()
        for row in csv.DictReader(table.splitlines()):
            if (row["pxname"], row["svname"]) == (section, name):
                # While a check runs, the last result has a star.
                return row["check_status"].removeprefix("* ")
        return ""


@asynccontextmanager
async def haproxy(
    system: System, sections: str, *, inherits: Sequence[int] = (), inside: Sequence[str] = ()
) -> AsyncIterator[HaProxy]:
    """Run HAProxy with these sections behind the general ones.

    inherits: descriptors for `bind fd@NUMBER`.
    inside: a command that runs another one, to have it in another network.
    """
    system.write(CONFIGURATION, GENERAL + sections)
    log = system.root / "run/log"
    command = (
        *(*inside, *NAMESPACES, "sh", "-c", _AS_CHILD, "sh", "chroot", str(system.root)),
        *("haproxy", "-db", "-f", CONFIGURATION),
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=ENVIRONMENT,
            pass_fds=inherits,
        )
    running = HaProxy(log, system.root / STATISTICS.lstrip("/"))
    try:
        await _begun(running, process, re.findall(r"^listen (\S+)", sections, re.MULTILINE)[-1])
        yield running
    finally:
        # Its name space, and all that is left in it, ends with it.
        process.kill()
        process.wait()


async def _begun(running: HaProxy, process: subprocess.Popen[bytes], section: str) -> None:
    async with asyncio.timeout(START_TIMEOUT):
        while process.poll() is None:
            try:
                if await running._check_status(f"{section}/FRONTEND") is not None:
                    return
            except OSError:
                await asyncio.sleep(0.02)
    raise RuntimeError(f"HAProxy does not start:\n{running.log}")
