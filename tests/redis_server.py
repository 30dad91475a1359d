# SPDX-License-Identifier: MIT
"""Debian's redis-server, in a process of the test's own that ends with it.

It is not installed, for a service would start: its packages are unpacked into `.cache`, as root.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.debian_system import unavailable, unpack_package
from tests.isolation import ENVIRONMENT
from tests.ports import free_port

CACHE = Path(__file__).parents[1] / ".cache" / "redis-server"


def program() -> tuple[str, dict[str, str]]:
    """The program, and the environment that it needs; without it the test is skipped."""
    installed = shutil.which("redis-server")
    if installed:
        return installed, ENVIRONMENT
    if unavailable() and not CACHE.exists():
        pytest.skip("needs redis-server (apt install redis-server)")
    unpack_package("redis-server", CACHE)
    libraries = ":".join(map(str, CACHE.glob("usr/lib/*-linux-gnu")))
    return str(CACHE / "usr/bin/redis-server"), {**ENVIRONMENT, "LD_LIBRARY_PATH": libraries}


class RedisServer:
    """A server that keeps nothing: after a restart it is empty."""

    #: What it says when it can be used.
    ready = "ready to accept connections"

    def __init__(self, directory: Path, arguments: Sequence[str] = (), port: int = 0) -> None:
        """`directory`: of its socket; the path must be short.  `arguments`: further ones."""
        self.socket = directory / "redis.sock"
        self.port = port
        #: That `command` and `ask` log in with.
        self.password = ""
        self._directory = directory
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[str] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not killed since."""
        return self._process is not None

    @property
    def url(self) -> str:
        """What the file `store` says of it."""
        return f"unix://{self.socket}"

    @property
    def _first(self) -> Sequence[str]:
        """The arguments that must come first."""
        return ("--save", "")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        path, environment = program()
        self._process = subprocess.Popen(
            (
                *("setpriv", "--pdeathsig", "KILL", path),
                *self._first,
                *("--unixsocket", str(self.socket), "--dir", str(self._directory)),
                *("--port", str(self.port), "--bind", "127.0.0.1", *self._arguments),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            said += line
            if self.ready in line.lower():
                return
        raise RuntimeError(f"redis-server does not start:\n{said}")

    def pause(self) -> None:
        """It keeps its connections, and even takes new ones, but does not answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It answers again, first of all what was asked meanwhile."""
        self._signal(signal.SIGCONT)

    def command(self, *words: str) -> str:
        """Have it carry out a command; its answer, if that is one line."""
        with self._connected() as connected, connected.makefile() as answer:
            connected.sendall(f"{' '.join(words)}\r\n".encode())
            return answer.readline().rstrip()

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        """A connection to its socket, logged in if need be."""
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(str(self.socket))
            if self.password:
                connected.sendall(f"AUTH {self.password}\r\n".encode())
                assert connected.recv(len("+OK\r\n")) == b"+OK\r\n"
            yield connected

    def ask(self, *words: str) -> str:
        """Have it carry out a command; the text that it answers."""
        with self._connected() as connected, connected.makefile("rb") as answer:
            connected.sendall(f"{' '.join(words)}\r\n".encode())
            first = answer.readline()
            assert first.startswith(b"$"), first
            return answer.read(int(first[1:])).decode()

    def texts(self, *words: str) -> list[str]:
        """Have it carry out a command; the list of texts that it answers."""
        with self._connected() as connected, connected.makefile("rb") as answer:
            connected.sendall(f"{' '.join(words)}\r\n".encode())
            count = int(answer.readline()[1:])
            sizes = (int(answer.readline()[1:]) for _ in range(count))
            return [answer.read(size + 2)[:-2].decode() for size in sizes]

    def listen(self, setting: str = "port") -> None:
        """Listen on a free TCP port of 127.0.0.1 as well; `setting`: "port" or "tls-port"."""
        while True:
            self.port = free_port()
            # Somebody else may have taken it.
            if self.command("CONFIG", "SET", setting, str(self.port)) == "+OK":
                return

    def kill(self) -> None:
        """It is gone, and all that it knew; `start` may follow."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@contextmanager
def redis_server(*arguments: str) -> Iterator[RedisServer]:
    """A running server with these further arguments, e.g. `--requirepass`."""
    with tempfile.TemporaryDirectory(prefix="qpsmtpd-redis-") as name:
        server = RedisServer(Path(name), arguments)
        try:
            server.start()
            yield server
        finally:
            server.kill()
