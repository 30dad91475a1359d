# SPDX-License-Identifier: MIT
"""The daemon in processes of its own, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.unit.client import PATIENCE, Client

#: Runs what its argument says.  Descriptors that systemd would pass are moved to where it does.
START = """
import json, os, resource, sys
from pathlib import Path
from qpsmtpd.daemon import inetd, start, supervisor
from qpsmtpd.config.runoptions import RunOptions, parse_listen

given = json.loads(sys.argv[1])
supervisor.RESTART_DELAY = 0.05
supervisor.LEAST_SILENCE = given.pop("least_silence", supervisor.LEAST_SILENCE)
for number, descriptor in enumerate(given.pop("passed"), start=3):
    os.dup2(descriptor, number)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(number - 2)}
if "file_limit" in given:
    resource.setrlimit(resource.RLIMIT_FSIZE, (given.pop("file_limit"),) * 2)
if "open_files" in given:
    resource.setrlimit(resource.RLIMIT_NOFILE, (given.pop("open_files"),) * 2)
run = inetd.run if given.pop("inetd") else start.run
given["config"] = (Path(given["config"]),)
given["listen"] = tuple(parse_listen(text) for text in given["listen"])
if "pid_file" in given:
    given["pid_file"] = Path(given["pid_file"])
sys.exit(run(RunOptions(**given, environment=dict(os.environ))))
"""

#: What `configure` writes unless told otherwise.
FILES = {
    "me": "mx.example",
    "plugins": "rcpt_ok\nqueue/discard",
    "rcpthosts": "example.test",
    "reverse_lookup": "no",
}


def configure(directory: Path, files: Mapping[str, str | Sequence[str]] | None = None) -> Path:
    """Write configuration files, these and what is needed beside them."""
    spool = directory / "spool"
    spool.mkdir(mode=0o700, exist_ok=True)
    for name, value in {**FILES, "spool_dir": str(spool), **(files or {})}.items():
        text = value if isinstance(value, str) else "\n".join(value)
        (directory / name).write_text(f"{text}\n")
    return directory


class Daemon:
    """A running daemon; what it logs can be waited for."""

    def __init__(self, process: asyncio.subprocess.Process, notified: socket.socket) -> None:
        self.process = process
        self.lines: list[str] = []
        self._notified = notified

    @property
    def pid(self) -> int:
        return self.process.pid

    async def logged(self, text: str) -> str:
        """The next line on stderr with this text."""
        while text not in (line := await self._next_line(text)):
            pass
        return line

    async def logged_by_several(self, *texts: str) -> None:
        """A line with each of these texts, in any order: of processes none of which is first."""
        missing = list(texts)
        while missing:
            line = await self._next_line(" and ".join(missing))
            missing = [text for text in missing if text not in line]

    async def _next_line(self, awaited: str) -> str:
        assert self.process.stderr is not None
        line = (await self.process.stderr.readline()).decode()
        assert line, f"{awaited!r} was never logged, but:\n{''.join(self.lines)}"
        self.lines.append(line)
        return line

    async def notified(self) -> list[str]:
        """The assignments of the next message to the service manager."""
        data = await asyncio.get_running_loop().sock_recv(self._notified, 4096)
        return data.decode().splitlines()

    def was_notified(self) -> bool:
        """Whether a message to the service manager waits to be read."""
        return bool(select.select([self._notified], [], [], 0)[0])

    async def ready(self) -> None:
        """Wait until it tells the service manager that it takes connections."""
        while "READY=1" not in await self.notified():
            pass

    async def port(self) -> int:
        """The port of the first address that it listens on."""
        return int((await self.logged("taking connections on")).rstrip().rpartition(":")[2])

    async def client(self, port: int) -> Client:
        return await (await Client.connect("127.0.0.1", port)).greeted()

    def memory(self) -> tuple[int, int]:
        """Bytes of memory that are resident now, and that were at most."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        now, most = (status.partition(f"{name}:")[2].split()[0] for name in ("VmRSS", "VmHWM"))
        return int(now) * 1024, int(most) * 1024

    def cpu_seconds(self) -> float:
        """Seconds of a processor that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def children(self) -> list[int]:
        """The process ids of its workers."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return sorted(map(int, path.read_text().split())) if path.exists() else []

    async def ended(self) -> int:
        """Wait for its end; the exit status.  Messages to the service manager are dropped."""
        assert self.process.stderr is not None
        loop = asyncio.get_running_loop()
        # It waits for room for the last ones.
        loop.add_reader(self._notified, self._notified.recv, 4096)
        try:
            self.lines += (await self.process.stderr.read()).decode().splitlines(keepends=True)
            return await self.process.wait()
        finally:
            loop.remove_reader(self._notified)

    @property
    def log(self) -> str:
        """What has been read of its log."""
        return "".join(self.lines)

    async def kill(self) -> None:
        """Leave nothing running."""
        if self.process.returncode is None:
            for pid in (self.pid, *self.children()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await self.process.communicate()


@contextlib.asynccontextmanager
async def running(
    directory: Path,
    *,
    environment: Mapping[str, str] | None = None,
    passed: Sequence[socket.socket] = (),
    stdin: Any = asyncio.subprocess.DEVNULL,
    inetd: bool = False,
    patience: float = PATIENCE,
    **options: Any,
) -> AsyncIterator[Daemon]:
    """Run the daemon with this configuration; `options` are those of RunOptions.

    `file_limit=` is the size of the largest file that it can write, in bytes; `open_files=` how
    many it can have open; `least_silence=` are the seconds after which a worker may be said to
    hang.
    """
    given = {"listen": ["127.0.0.1:0"], "workers": 1, "debug": True, **options}
    descriptors = [fcntl.fcntl(s, fcntl.F_DUPFD_CLOEXEC, 50) for s in passed]
    given |= {"config": str(directory), "passed": descriptors, "inetd": inetd}
    short = tempfile.mkdtemp(prefix="qpsmtpd-test-")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.setblocking(False)
        notified.bind(f"{short}/notify")
        process = await asyncio.create_subprocess_exec(
            # It does not outlive us, however we end.
            *("setpriv", "--pdeathsig", "KILL"),
            *(sys.executable, "-c", START, json.dumps(given)),
            stdin=stdin,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NOTIFY_SOCKET": f"{short}/notify", **(environment or {})},
            pass_fds=descriptors,
            cwd=Path(__file__).parents[2],
        )
        for descriptor in descriptors:
            os.close(descriptor)
        daemon = Daemon(process, notified)
        try:
            async with asyncio.timeout(patience):
                yield daemon
        finally:
            await daemon.kill()
            await Client.all_leave()
            shutil.rmtree(short)
