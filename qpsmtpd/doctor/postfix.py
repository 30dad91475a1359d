# SPDX-License-Identifier: MIT
"""Postfix: where it listens, for which clients it relays, and the commands to move it."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.overlaps import is_loopback

#: What takes mail from the network.
_SERVERS = frozenset({"smtpd", "postscreen"})
_SMTP = 25
_PORTS = {"smtp": _SMTP, "smtps": 465, "submissions": 465, "submission": 587}


@dataclass(frozen=True)
class Service:
    """An entry of master.cf: its name, which is HOST:PORT or PORT, and what follows `inet`."""

    name: str
    rest: str

    @property
    def host(self) -> str:
        """Where it listens; empty means inet_interfaces."""
        return self.name.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The number of its port; 0 if that is unknown."""
        port = self.name.rpartition(":")[2]
        return int(port) if port.isdigit() else _PORTS.get(port, 0)


@dataclass(frozen=True)
class Postfix:
    """A Postfix that is installed.

    interfaces, networks: the words of inet_interfaces and mynetworks.
    services: what takes mail from the network.
    """

    interfaces: tuple[str, ...]
    networks: tuple[str, ...]
    services: tuple[Service, ...]

    @classmethod
    def read(cls, machine: Machine) -> Postfix | None:
        """The system's Postfix, by postconf(1); None if there is none."""
        interfaces = machine.run("postconf", "-xh", "inet_interfaces")
        if interfaces is None or interfaces.status:
            return None
        networks = machine.run("postconf", "-xh", "mynetworks")
        services = machine.run("postconf", "-M")
        return cls(
            tuple(_words(interfaces.text)),
            tuple(_words(networks.text if networks else "")),
            tuple(_servers(services.text if services else "")),
        )

    @property
    def addresses(self) -> list[ListenAddress]:
        """Where all services listen."""
        usual = [host for interface in self.interfaces for host in _hosts(interface)]
        return [
            ListenAddress(host, service.port)
            for service in self.services
            for host in ([service.host] if service.host else usual)
        ]

    @property
    def trusts_loopback(self) -> bool:
        """Whether clients on this machine may send mail to any destination."""
        return any(map(_has_loopback, self.networks))

    @property
    def to_loopback(self) -> tuple[str, ...]:
        """The commands that leave port 25 only on loopback addresses; empty if that is so already.

        Other ports stay as they are: clients submit their mail there.
        """
        away = all(is_loopback(host) for interface in self.interfaces for host in _hosts(interface))
        mine = [
            service
            for service in self.services
            if service.port == _SMTP and not (is_loopback(service.host) if service.host else away)
        ]
        others = [s for s in self.services if s.port != _SMTP and not s.host]
        usual = [s for s in mine if not s.host]
        commands = [f"postconf -M# {service.name}/inet" for service in mine if service.host]
        if usual and not others:
            commands.append("postconf -e inet_interfaces=loopback-only")
        elif usual:
            commands += _by_master(usual[0])
        return (*commands, "systemctl restart postfix") if commands else ()


def _by_master(service: Service) -> list[str]:
    """Replace an entry by one for 127.0.0.1."""
    name = f"127.0.0.1:{service.name}"
    entry = shlex.quote(f"{name}/inet={name} inet {service.rest}")
    return [f"postconf -M# {service.name}/inet", f"postconf -Me {entry}"]


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _servers(text: str) -> Iterator[Service]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 7 and fields[1] == "inet" and fields[7] in _SERVERS:
            yield Service(fields[0], " ".join(fields[2:]))


def _hosts(interface: str) -> list[str]:
    if interface == "all":
        return [""]
    return ["localhost"] if interface == "loopback-only" else [interface.strip("[]")]


def _has_loopback(network: str) -> bool:
    try:
        parsed = ipaddress.ip_network(network.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return is_loopback(network)
    return parsed.is_loopback
