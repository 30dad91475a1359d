# SPDX-License-Identifier: MIT
"""Units: reads systemd units, from their files and drop-ins (systemd.unit(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from qpsmtpd.config.runoptions import FRONTS, ListenAddress, kind_named, parse_listen
from qpsmtpd.config.units import DIRECTORIES
from qpsmtpd.doctor.machine import Machine

SOCKET = "qpsmtpd.socket"
SERVICE = "qpsmtpd.service"

_DIRECTORIES = (*map(str, DIRECTORIES), "/lib/systemd/system")
_WANTS = ("sockets.target.wants", "multi-user.target.wants")

_assignment = re.compile(r"\s*(\w+)\s*=(.*)").fullmatch
_listen_option = re.compile(r"--listen(?:-tls)?[= ]\s*(\S+)").findall


class Unit:
    """One unit, as its files are now; systemd may not have read them yet."""

    def __init__(self, machine: Machine, name: str) -> None:
        files = _files(machine, name)
        #: The unit file; empty if there is none, or the unit is masked.
        self.file = next((file for file in files if not file.endswith(".conf")), "")
        if machine.link(self.file) == "/dev/null":
            self.file = ""
        self._lines = [line for file in files if self.file for line in _lines(machine.read(file))]

    def values(self, key: str) -> list[str]:
        """All values of a setting; an empty one clears those before it."""
        values: list[str] = []
        for line in self._lines:
            match = _assignment(line)
            if match and match[1] == key:
                value = match[2].strip()
                values = [*values, value] if value else []
        return values

    def value(self, key: str, default: str = "") -> str:
        """The last value of a setting."""
        return next(reversed(self.values(key)), default)


def _files(machine: Machine, name: str) -> list[str]:
    """The unit file, and the drop-ins in the order of their names."""
    paths = [f"{directory}/{name}" for directory in _DIRECTORIES]
    files = [path for path in paths if machine.exists(path)][:1]
    dropins: dict[str, str] = {}
    for path in paths:
        for entry in machine.names(f"{path}.d"):
            if entry.endswith(".conf"):
                dropins.setdefault(entry, f"{path}.d/{entry}")
    return files + [dropins[entry] for entry in sorted(dropins)]


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if not line.lstrip().startswith(("#", ";", "[")):
            yield line


def enabled(machine: Machine) -> bool:
    """Whether the daemon starts with the system."""
    return any(
        unit in machine.names(f"{directory}/{wants}")
        for directory in _DIRECTORIES[:2]
        for wants in _WANTS
        for unit in (SOCKET, SERVICE)
    )


def listen_addresses(machine: Machine) -> list[ListenAddress]:
    """Where the units make the daemon take mail: ListenStream= of the socket, or --listen."""
    unit = Unit(machine, SOCKET)
    found = list(_streams(unit)) or list(_options(Unit(machine, SERVICE).value("ExecStart")))
    return [address for address in found if address.kind == "smtp"]


def front_addresses(machine: Machine) -> list[ListenAddress]:
    """Where the units make it listen for mail systems that ask it about their sessions."""
    units = [Unit(machine, name) for name in _sockets(machine)]
    found = [address for unit in units for address in _streams(unit)]
    found += _options(Unit(machine, SERVICE).value("ExecStart"))
    return [address for address in found if address.kind in FRONTS]


def _sockets(machine: Machine) -> list[str]:
    """The socket units of the service, also those that the administrator has made for it."""
    names = {
        name
        for directory in _DIRECTORIES
        for name in machine.names(directory)
        if name.endswith(".socket") and name != SOCKET
    }
    others = (name for name in sorted(names) if Unit(machine, name).value("Service") == SERVICE)
    return [SOCKET, *others]


def _streams(unit: Unit) -> Iterator[ListenAddress]:
    kind = kind_named(unit.value("FileDescriptorName"))
    for text in unit.values("ListenStream"):
        if kind != "smtp" and text.startswith("/"):
            yield ListenAddress("", 0, kind=kind, path=text)
        elif (address := _stream(text, unit.value("BindIPv6Only"))) is not None:
            yield replace(address, kind=kind)


def _stream(text: str, v6_only: str) -> ListenAddress | None:
    """The address of a ListenStream=; None for sockets of other kinds."""
    try:
        address = parse_listen(text)
    except ValueError:
        return None
    # A socket for all IPv6 addresses takes IPv4 as well, unless told otherwise.
    both = address.host == "::" and v6_only != "ipv6-only"
    if text.isdigit() and v6_only == "ipv6-only":
        return ListenAddress("::", address.port)
    return ListenAddress("", address.port) if both else address


def _options(command: str) -> Iterator[ListenAddress]:
    for text in _listen_option(command):
        try:
            yield parse_listen(text)
        except ValueError:
            continue
