# SPDX-License-Identifier: MIT
"""`qpsmtpd dashboard` as a process: a large store, one that it may not write to, and its end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientSession, UnixConnector

from qpsmtpd.dashboard.archive import MOST_LEFT_OUT, MOST_LOOKED
from qpsmtpd.decisions.book import CHUNK_SECONDS, Chunk, State
from qpsmtpd.decisions.decision import TICKS
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from tests.unit.client import PATIENCE
from tests.unit.dashboard.examples import Reader, write
from tests.unit.decisions.examples import BEGIN, a_decision

MANY = 1_000_000
_CHUNK = 100


class Running(NamedTuple):
    """A dashboard in a process of its own."""

    process: asyncio.subprocess.Process
    session: ClientSession

    async def get(self, path: str) -> tuple[int, str]:
        """Ask for a page."""
        async with self.session.get(f"http://any.example{path}") as response:
            return response.status, await response.text()

    @property
    def most_memory(self) -> int:
        """MB that it has ever had."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) // 1024


@asynccontextmanager
async def running(directory: Path, before: Sequence[str] = ()) -> AsyncIterator[Running]:
    """A dashboard of this configuration; before: a command that starts it."""
    path = directory / "socket"
    words = ("-m", "qpsmtpd", "dashboard", "--config", str(directory), "--listen", str(path))
    process = await asyncio.create_subprocess_exec(
        *before, sys.executable, *words, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(2 * PATIENCE):
            assert process.stdout is not None
            assert str(path) in (await process.stdout.readline()).decode()
            async with ClientSession(connector=UnixConnector(str(path))) as session:
                yield Running(process, session)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "store").write_text(f"{tmp_path}/data/store.sqlite\n")
    (tmp_path / "me").write_text("mx.example\n")
    (tmp_path / "plugins").write_text("rcpt_ok\nqueue/discard\n")
    return tmp_path


async def fill(directory: Path, number: int) -> None:
    """Write so many decisions, one each second, and one that says "needle" at the beginning."""
    store = shared_store(parse_location(f"{directory}/data/store.sqlite"), 60)
    kept = store.scoped("decisions kept")
    lines = [a_decision(n, id=f"A.B.{n:X}.1").encode() for n in range(_CHUNK)]
    for first in range(0, number, _CHUNK):
        chunk = [_later(line, first) for line in lines]
        if not first:
            chunk[1] = a_decision(1, id="A.B.1.1", reply="550 needle").encode()
        data = Chunk.of(BEGIN + first, chunk).encode(0)
        await kept.put(f"{first // _CHUNK:012}", data, 86400.0)
    await kept.put("state", json.dumps(State(0, number // _CHUNK, 1)).encode(), 86400.0)
    await store.close()


def _later(text: str, seconds: int) -> str:
    time, unit, rest = text.partition("\x1f")
    return f"{int(time) + seconds * TICKS}{unit}{rest}"


async def test_a_million_decisions(config: Path) -> None:
    """A page looks at so many, from wherever it begins, in little memory."""
    await fill(config, MANY)
    async with running(config) as dashboard:
        await dashboard.get("/decisions")
        before = dashboard.most_memory
        status, text = await dashboard.get("/decisions?q=needle")
        assert (status, "needle</bdi>" in text) == (200, False)
        further = parse_qs(urlsplit(next_page(text)).query)["until"][0]
        seconds = MANY - (int(further) / 10_000 - BEGIN)
        assert MOST_LEFT_OUT - CHUNK_SECONDS - _CHUNK <= seconds <= MOST_LEFT_OUT
        until = f"{(BEGIN + MOST_LOOKED // 2) * 10_000:.0f}"
        status, text = await dashboard.get(f"/decisions?q=needle&until={until}")
        assert (status, next_page(text)) == (200, "")
        assert "/decisions/A.B.1.1/" in text
        assert dashboard.most_memory - before < 50


def next_page(text: str) -> str:
    """Where the link leads that goes on."""
    return "".join(
        str(more["href"]) for _, more in Reader(text).elements if more.get("rel") == "next"
    )


async def test_it_ends_when_it_is_told_to_also_while_somebody_looks(config: Path) -> None:
    store = shared_store(parse_location(f"{config}/data/store.sqlite"), 60)
    await write(store, [a_decision(1)])
    async with (
        running(config) as dashboard,
        dashboard.session.get("http://any.example/events/now") as response,
    ):
        assert (await response.content.readline()).startswith(b"data:")
        dashboard.process.send_signal(signal.SIGTERM)
        assert await dashboard.process.wait() == 0
    await store.close()


#: Runs what follows where a directory cannot be written to, as in the unit.
READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && ! touch "$1/x" 2>/dev/null || exit 9
shift; exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
async def test_a_store_that_it_cannot_write_to(config: Path) -> None:
    """The daemon has the file open, and goes on writing."""
    data = config / "data"
    store = shared_store(parse_location(f"{data}/store.sqlite"), 60)
    await write(store, [a_decision(1, id="A.B.1.1")])
    before = ("unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(data))
    async with running(config, before) as dashboard:
        assert "/decisions/A.B.1.1/" in (await dashboard.get("/decisions"))[1]
        await write(store, [a_decision(2, id="A.B.2.1")])
        status, text = await dashboard.get("/decisions")
        assert (status, "/decisions/A.B.2.1/" in text) == (200, True)
        await store.close()
        assert (await dashboard.get("/decisions"))[0] in (200, 503)
        store = shared_store(parse_location(f"{data}/store.sqlite"), 60)
        await write(store, [a_decision(3, id="A.B.3.1")])
        assert "/decisions/A.B.3.1/" in (await dashboard.get("/decisions"))[1]
    await store.close()
