# SPDX-License-Identifier: MIT
"""The Perl version (Debian 12's package) in a chroot: the one that ours is compared with."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.debian_system import System, layer_tar, unpacked
from tests.isolation import ENVIRONMENT, NAMESPACES
from tests.ports import free_port

PACKAGES = ("qpsmtpd", "libnet-ip-perl", "libio-socket-ssl-perl")
PRESEED = "qpsmtpd qpsmtpd/startup_enabled boolean false\n"
START_TIMEOUT = 30.0  # seconds until it listens
HOME = "/srv/conformance"  # in the chroot: everything of the running case
# Names of clients come from this file alone; other look-ups go to the test's own name server.
HOSTS = "127.0.0.1 localhost\n127.0.0.2 client.example.test\n"


# The first process of a name space must not change its user: it would not end with us any more.
_AS_CHILD = '"$@"; exit $?'


@contextmanager
def perl_system() -> Iterator[System]:
    """A Debian 12 with the Perl version installed, deleted at the end."""
    with unpacked(layer_tar("bookworm", PACKAGES, PRESEED)) as system:
        system.write("/etc/hosts", HOSTS)
        system.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
        yield system


@dataclass(frozen=True)
class PerlServer:
    """A running qpsmtpd-forkserver."""

    port: int
    mail: Path
    log: Path


@asynccontextmanager
async def perl_server(
    system: System, files: Mapping[str, Sequence[str]], values: Mapping[str, str], dns_port: int
) -> AsyncIterator[PerlServer]:
    """Run the Perl version with these files; `values` replaces further placeholders in them."""
    home = system.root / HOME.lstrip("/")
    shutil.rmtree(home, ignore_errors=True)
    (home / "config").mkdir(parents=True)
    (home / "spool").mkdir()
    inside = {"@MAIL@": f"{HOME}/mail", "@CONFIG@": f"{HOME}/config", **values}
    standard = {"plugin_dirs": ["/usr/share/qpsmtpd/plugins"], "spool_dir": [f"{HOME}/spool"]}
    for name, lines in {**standard, **files}.items():
        (home / "config" / name).write_text(filled_in(lines, inside))
    make_programs_executable(home / "config")
    for directory in (home, home / "spool"):
        shutil.chown(directory, *_owner(system))
    system.write("/etc/resolv.conf", f"nameserver 127.0.0.1\noptions port:{dns_port}\n")
    server = PerlServer(free_port(), home / "mail", home / "log")
    with _running(system, server) as process:
        await _listening(server, process)
        yield server


def filled_in(lines: Sequence[str], values: Mapping[str, str]) -> str:
    """The text of a file, its placeholders replaced."""
    text = "".join(f"{line}\n" for line in lines)
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def make_programs_executable(directory: Path) -> None:
    """Of the files in a configuration, scripts are programs."""
    for path in directory.iterdir():
        if path.is_file() and path.read_bytes().startswith(b"#!"):
            path.chmod(0o755)


def _owner(system: System) -> tuple[int, int]:
    for line in (system.root / "etc/passwd").read_text().splitlines():
        name, _, uid, gid, *_ = line.split(":")
        if name == "qpsmtpd":
            return int(uid), int(gid)
    raise RuntimeError("the package made no user qpsmtpd")


@contextmanager
def _running(system: System, server: PerlServer) -> Iterator[subprocess.Popen[bytes]]:
    command = (
        *(*NAMESPACES, "sh", "-c", _AS_CHILD, "sh", "chroot", str(system.root)),
        "/usr/bin/qpsmtpd-forkserver",
        *("--listen-address", "127.0.0.1", "--port", str(server.port), "--user", "qpsmtpd"),
    )
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**ENVIRONMENT, "QPSMTPD_CONFIG": f"{HOME}/config"},
        )
    try:
        yield process
    finally:
        # Its name space, and all that is left in it, ends with it.
        process.kill()
        process.wait()


async def _listening(server: PerlServer, process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT):
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    writer.transport.abort()
                    return
                await asyncio.sleep(0.05)
    raise RuntimeError(f"the Perl version does not start:\n{server.log.read_text()}")
