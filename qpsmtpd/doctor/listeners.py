# SPDX-License-Identifier: MIT
"""Listeners: which programs listen on TCP ports, according to /proc (proc(5))."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.doctor.machine import Machine

_LISTEN = "0A"
_socket_link = re.compile(r"socket:\[(\d+)\]").fullmatch
#: As master(8) of Postfix, or one of its daemons with the arguments that master gives them all.
_is_of_postfix = re.compile(r"postfix| -n \S+ -t (?:inet|unix|pass)\b").search


@dataclass(frozen=True, slots=True)
class Program:
    """A process; `name` is the one that the kernel has, of at most 15 characters."""

    pid: int
    name: str
    command: str

    @property
    def title(self) -> str:
        """What an administrator calls it."""
        if "qpsmtpd" in self.command or self.name.startswith("qpsmtpd"):
            return "qpsmtpd"
        if self.name.startswith("exim"):
            return "Exim"
        if _is_of_postfix(self.command):
            return "Postfix"
        return self.name


@dataclass(frozen=True, slots=True)
class Listening:
    """A listening socket; `programs` have it open, and are empty if we may not see them."""

    address: ListenAddress
    programs: tuple[Program, ...]

    @property
    def ours(self) -> bool:
        """Whether it belongs to the daemon."""
        return any(program.title == "qpsmtpd" for program in self.programs)

    @property
    def by_systemd(self) -> bool:
        """Whether only systemd has it, for a unit that has not started yet."""
        return bool(self.programs) and all(program.pid == 1 for program in self.programs)

    def __str__(self) -> str:
        titles = dict.fromkeys(program.title for program in self.programs)
        pids = ", ".join(str(program.pid) for program in self.programs[:3])
        return f"{' and '.join(titles)} (process {pids})" if titles else "some program"


def listening(machine: Machine) -> list[Listening]:
    """All listening TCP sockets."""
    found = list(_sockets(machine.read("/proc/net/tcp"), machine.read("/proc/net/tcp6")))
    owners = _owners(machine, {inode for _, inode in found}) if found else {}
    return [Listening(address, owners.get(inode, ())) for address, inode in found]


def _sockets(tcp: str, tcp6: str) -> Iterator[tuple[ListenAddress, str]]:
    v4 = list(parse_table(tcp))
    yield from v4
    ports = {address.port for address, _ in v4}
    for address, inode in parse_table(tcp6):
        # The table does not tell whether the socket takes IPv4 too; it cannot if another one does.
        both = address.host == "::" and address.port not in ports
        yield (ListenAddress("", address.port) if both else address), inode


def parse_table(text: str) -> Iterator[tuple[ListenAddress, str]]:
    """The listening sockets in /proc/net/tcp or tcp6: address and inode."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            host, _, port = fields[1].rpartition(":")
            try:
                yield ListenAddress(_address(host), int(port, 16)), fields[9]
            except ValueError:
                continue


def _address(digits: str) -> str:
    """An address as the kernel prints it: as 32-bit words in the machine's byte order."""
    octets = bytes.fromhex(digits)
    if sys.byteorder == "little":
        words = (octets[start : start + 4][::-1] for start in range(0, len(octets), 4))
        octets = b"".join(words)
    return str(ipaddress.ip_address(octets))


def _owners(machine: Machine, inodes: set[str]) -> Mapping[str, tuple[Program, ...]]:
    owners: dict[str, tuple[Program, ...]] = {}
    for pid in filter(str.isdigit, machine.names("/proc")):
        links = (machine.link(f"/proc/{pid}/fd/{fd}") for fd in machine.names(f"/proc/{pid}/fd"))
        matches = filter(None, map(_socket_link, links))
        for inode in {match[1] for match in matches} & inodes:
            owners[inode] = (*owners.get(inode, ()), _program(machine, pid))
    return owners


def _program(machine: Machine, pid: str) -> Program:
    command = machine.read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return Program(int(pid), machine.read(f"/proc/{pid}/comm").strip(), command)
