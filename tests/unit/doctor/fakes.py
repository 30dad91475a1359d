# SPDX-License-Identifier: MIT
"""FakeSystem: a machine that is a directory, with answers of commands that are never run."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from qpsmtpd.config.runoptions import ListenAddress, parse_listen
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.pluginchecks import examine_plugins
from qpsmtpd.doctor.postfix import Postfix
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.system import Account, Output
from qpsmtpd.testing import FakeResolver

T = TypeVar("T")

#: A user that owns none of the files of tests, and is in none of their groups.
STRANGER = Account("qpsmtpd", 54321, frozenset({54321}))

#: The same in the group of the files of tests.
MEMBER = Account("qpsmtpd", 54321, frozenset({54321, os.getgid()}))

EVERYBODY = Account("root", 0, frozenset({0}))


class FakeMachine(Machine):
    """A machine below `root`."""

    def __init__(self, root: Path, account: Account | None = MEMBER) -> None:
        super().__init__(root, {})
        self.users = {account.name: account} if account else {}
        self.groups = {"postdrop": os.getgid(), "qpsmtpd": 54321}
        self.answers: dict[str, Output] = {}
        self.ours = {"127.0.0.1", "::1"}
        self.fake_uid = 0

    def command(self, command: str, text: str, status: int = 0) -> None:
        """What a command is to answer; all others cannot be run."""
        self.answers[command] = Output(status, text)

    def file(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        """Make a file, and the directories above it, which everybody may enter."""
        file = self.directory(str(Path(path).parent)) / Path(path).name
        file.write_text(text)
        file.chmod(mode)
        return file

    def directory(self, path: str, mode: int = 0o755) -> Path:
        """Make a directory; its mode does not depend on the umask."""
        made = self.root
        for part in Path(path.lstrip("/")).parts:
            made /= part
            if not made.exists():
                made.mkdir()
                made.chmod(0o755)
        made.chmod(mode)
        return made

    # --- what System asks -------------------------------------------------------------------

    @property
    def uid(self) -> int:
        return self.fake_uid

    def run(self, *command: str) -> Output | None:
        return self.answers.get(" ".join(command))

    def account(self, name: str) -> Account | None:
        return self.users.get(name)

    def group(self, name: str) -> int | None:
        return self.groups.get(name)

    def group_name(self, gid: int) -> str:
        names = {gid: name for name, gid in self.groups.items()}
        return names.get(gid, str(gid))

    def can_be(self, account: Account | None) -> bool:
        return True

    def as_user(self, account: Account | None, function: Callable[[], T]) -> T:
        result: T = json.loads(json.dumps(function()))
        return result

    def local(self, address: str) -> bool:
        return address in self.ours


def an_installation(
    machine: FakeMachine,
    plugins: str = "rcpt_ok\nqueue/discard\n",
    *,
    listen: Iterable[str] = (),
    records: Mapping[tuple[str, str], Iterable[str]] | None = None,
    **files: str,
) -> Installation:
    """The installation of a machine, with these files in its configuration."""
    texts = {"plugins": plugins, "me": "mx.example.org", **files}
    for name, text in texts.items():
        machine.file(f"/etc/qpsmtpd/{name}", text)
    answers = {question: tuple(answer) for question, answer in (records or {}).items()}
    addresses: tuple[ListenAddress, ...] = tuple(map(parse_listen, listen))
    return Installation(
        machine=machine,
        directories=(Path("/etc/qpsmtpd"),),
        listen=addresses,
        make_resolver=lambda: FakeResolver(answers),
    )


def examined(installation: Installation) -> Installation:
    """The installation after its plugins were examined."""
    return replace(installation, examined=tuple(examine_plugins(installation)))


def said_by(installation: Installation, *names: str) -> list[Finding]:
    """What these plugins find."""
    plugins = examined(installation).examined
    return [found for plugin in plugins if plugin.name in names for found in plugin.findings]


def summary(findings: Iterable[Finding]) -> list[str]:
    """Each finding as "severity text"."""
    return [f"{found.severity.name.lower()} {found.text}" for found in findings]


def commands(findings: Iterable[Finding]) -> list[str]:
    """The commands of all findings."""
    return [command for found in findings for command in found.commands]


def a_table(machine: FakeMachine, *sockets: str, state: str = "0A") -> None:
    """Sockets "ADDRESS:PORT INODE" in the tables of the kernel."""
    lines: dict[str, list[str]] = {"tcp": ["  sl  local_address"], "tcp6": ["  sl  local_address"]}
    for entry in sockets:
        text, inode = entry.split()
        address = parse_listen(text)
        packed = ipaddress.ip_address(address.host).packed
        words = [packed[start : start + 4] for start in range(0, len(packed), 4)]
        if sys.byteorder == "little":
            words = [word[::-1] for word in words]
        local = f"{b''.join(words).hex().upper()}:{address.port:04X}"
        table = "tcp6" if ":" in address.host else "tcp"
        lines[table].append(f"   0: {local} 00000000:0000 {state} 0:0 00:0 0 0 0 {inode} 1")
    for table, rows in lines.items():
        machine.file(f"/proc/net/{table}", "\n".join(rows) + "\n")


def a_process(machine: FakeMachine, pid: int, name: str, command: str, *inodes: int) -> None:
    """A process with these sockets."""
    machine.file(f"/proc/{pid}/comm", f"{name}\n")
    machine.file(f"/proc/{pid}/cmdline", command.replace(" ", "\0") + "\0")
    directory = machine.directory(f"/proc/{pid}/fd")
    for number, inode in enumerate(inodes):
        (directory / str(number)).symlink_to(f"socket:[{inode}]")


def a_service(machine: FakeMachine, status: str) -> None:
    """A daemon that systemd runs, with these lines in its /proc/PID/status."""
    machine.directory("/run/systemd/system")
    machine.command("systemctl show -p MainPID --value qpsmtpd.service", "42")
    machine.file("/proc/42/status", status)


def a_postfix(
    machine: FakeMachine, *services: str, interfaces: str = "all", networks: str = "127.0.0.0/8"
) -> Postfix:
    """A Postfix with these entries in its master.cf."""
    machine.command("postconf -xh inet_interfaces", interfaces)
    machine.command("postconf -xh mynetworks", networks)
    machine.command("postconf -M", "\n".join(services))
    postfix = Postfix.read(machine)
    assert postfix
    return postfix


@contextmanager
def listening_unix(path: Path) -> Iterator[None]:
    """A socket of that path, on which connections are queued."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o666)
        server.listen()
        yield
