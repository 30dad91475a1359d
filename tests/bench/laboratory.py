# SPDX-License-Identifier: MIT
"""Where the benchmark runs: a network, processes and mounts of its own, on this machine.

The program is two processes.  The outer one fetches and unpacks what the servers need.  It starts
the inner one in name spaces and a control group that end with it, so that nothing is left behind,
however either of them ends.  The inner one sees a network that is nothing but loopback, with a
name server, and runs servers and load.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.addresses import NETMASK, OWN
from tests.bench.cost import Cost
from tests.bench.nameserver import ADDRESS, name_server
from tests.bench.trees import MEMORY, Tree
from tests.debian_system import CHECKOUT
from tests.isolation import NAMESPACES, control_group, run, temporary_tree

PATIENCE = 30.0  # seconds for a server to start, unless its command says otherwise

_IN_GROUP = 'echo 0 >"$0/cgroup.procs"; exec "$@"'
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # netdevice(7)
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_SYSCTLS = {
    "net/core/somaxconn": "65535",
    "net/ipv4/tcp_max_syn_backlog": "65535",
    "net/ipv4/ip_local_port_range": "10000 65000",
}


class ServerError(Exception):
    """A server does not start, or does not do what it should; the text is why."""


# --- outside --------------------------------------------------------------------------------


def run_inside(program: str, trees: Mapping[str, Tree], words: Sequence[str]) -> int:
    """Prepare these trees, then run this module again inside, with these arguments."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        paths: dict[str, str] = {}
        missing: dict[str, str] = {}
        for name, tree in trees.items():
            try:
                paths[name] = str(stack.enter_context(tree()))
            except RuntimeError as error:
                missing[name] = str(error)
        work = stack.enter_context(temporary_tree(MEMORY, "bench-"))
        group = stack.enter_context(control_group())
        place = json.dumps({"work": str(work), "trees": paths, "missing": missing})
        command = (
            *("sh", "-c", _IN_GROUP, str(group), *NAMESPACES),
            *("unshare", "--net", "--ipc", "--"),
            *(sys.executable, "-m", program, "--inside", place, *words),
        )
        process = subprocess.Popen(command, cwd=CHECKOUT)
        try:
            return process.wait()
        finally:
            process.kill()
            process.wait()


# --- inside ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Laboratory:
    """The place where servers run.

    trees: file trees that hold programs, see trees.py.  missing: why one is not there.
    work: an empty directory.
    """

    trees: Mapping[str, Path]
    missing: Mapping[str, str]
    work: Path

    @classmethod
    def from_json(cls, text: str) -> Laboratory:
        """What `run_inside` passes on."""
        place = json.loads(text)
        trees = {name: Path(path) for name, path in place["trees"].items()}
        return cls(trees, place["missing"], Path(place["work"]))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Set up network, mounts and name server."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # servers get the same
        _bring_up("lo")
        _give_network("lo:strangers", OWN, NETMASK)
        for name, value in _SYSCTLS.items():
            with contextlib.suppress(FileNotFoundError):  # not all of them are in a name space
                (Path("/proc/sys") / name).write_text(value)
        resolv_conf = self.work / "resolv.conf"
        resolv_conf.write_text(f"nameserver {ADDRESS[0]}\n")
        run(("mount", "--bind", str(resolv_conf), "/etc/resolv.conf"), PATIENCE)
        for root in self.trees.values():
            if (root / "dev").is_dir():
                _make_enterable(root, resolv_conf)
        async with name_server():
            yield


def _bring_up(device: str) -> None:
    """As `ip link set DEVICE up` does; the program ip is not on every system."""
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", device.encode(), _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def _give_network(device: str, address: str, netmask: str) -> None:
    """Make all addresses of a network this machine's, as those of a loopback device are."""
    with socket.socket() as any_socket:
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, netmask)):
            name, family = device.encode(), socket.AF_INET
            packed = struct.pack("16sHH4s8x", name, family, 0, socket.inet_aton(value))
            fcntl.ioctl(any_socket, request, packed)


def _make_enterable(root: Path, resolv_conf: Path) -> None:
    """Mount what a program in this tree needs; the mounts end with the name space."""
    run(("mount", "--bind", str(root), str(root)), PATIENCE)
    run(("mount", "-o", "remount,bind,suid,dev,exec", str(root)), PATIENCE)
    run(("mount", "--bind", "/dev", str(root / "dev")), PATIENCE)
    run(("mount", "-t", "proc", "proc", str(root / "proc")), PATIENCE)
    (root / "etc/resolv.conf").write_text(resolv_conf.read_text())


@dataclass(frozen=True)
class Command:
    """How to start a server.

    log: where its words go, and what it prints; the end of it is shown when it does not start.
    patience: seconds that it may take to greet.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    patience: float = PATIENCE


@asynccontextmanager
async def running(command: Command, port: int) -> AsyncIterator[Cost]:
    """Run a server until it is no longer needed; begins when it greets.  Raises ServerError."""
    with control_group() as group:
        with command.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", _IN_GROUP, str(group), *command.words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **command.environment},
            )
        try:
            await _greets(port, process, command)
            yield Cost(group)
        finally:
            (group / "cgroup.kill").write_text("1")
            await process.wait()


async def _greets(port: int, process: asyncio.subprocess.Process, command: Command) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(command.patience):
            while process.returncode is None:
                if await _greeted(port):
                    return
                await asyncio.sleep(0.05)
    last_lines = command.log.read_text(errors="replace").splitlines()[-5:]
    raise ServerError(f"does not start: {' / '.join(last_lines)}")


async def _greeted(port: int) -> bool:
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return (await reader.readline()).startswith(b"220")
        finally:
            writer.transport.abort()
    return False
