# SPDX-License-Identifier: MIT
"""Installation: what the areas examine – the configuration, the user, and where we listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.runoptions import FRONTS, ListenAddress, parse_listen
from qpsmtpd.config.settings import Settings, load_settings
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.doctor.credentials import CREDENTIALS, VARIABLE
from qpsmtpd.doctor.examination import Examination
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.processes import Running, running
from qpsmtpd.doctor.units import SERVICE, Unit, enabled, front_addresses, listen_addresses
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.services import Entry, Resolver
from qpsmtpd.plugin.system import Account

#: The user of the package, when no unit names another one.
DEFAULT_USER = "qpsmtpd"


@dataclass(frozen=True, kw_only=True)
class Installation:
    """One installation of qpsmtpd.  Reading it raises ConfigError when that is impossible.

    directories: those of the configuration, in order of precedence.
    listen: where the daemon is to listen, in place of what the units say.
    make_resolver: makes a resolver in place of the daemon's, for one event loop.
    examined: what the plugins have found.
    """

    machine: Machine
    directories: tuple[Path, ...]
    listen: tuple[ListenAddress, ...] = ()
    make_resolver: Callable[[], Resolver] | None = None
    examined: tuple[Examination, ...] = ()

    @cached_property
    def files(self) -> ConfigFiles:
        """The files of the configuration."""
        return ConfigFiles(self.paths)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the directories of the configuration are for us."""
        return tuple(map(self.machine.path, self.directories))

    @cached_property
    def settings(self) -> Settings:
        """The settings, with defaults for those that cannot be read."""
        return load_settings(self.files)[0]

    @property
    def entries(self) -> Sequence[Entry]:
        """The lines of the files `logging` and `plugins`."""
        return [*self.files.entries("logging"), *self.files.entries("plugins")]

    def found(self, area: str) -> Iterator[Finding]:
        """What the plugins have found in one area."""
        findings = (finding for plugin in self.examined for finding in plugin.findings)
        return (finding for finding in findings if finding.area == area)

    @cached_property
    def user(self) -> str:
        """The name of the user that the daemon runs as."""
        return Unit(self.machine, SERVICE).value("User", DEFAULT_USER)

    @cached_property
    def account(self) -> Account | None:
        """The user that the daemon runs as, with the groups that its unit gives it."""
        account = self.machine.account(self.user)
        if account is None:
            return None
        names = " ".join(Unit(self.machine, SERVICE).values("SupplementaryGroups")).split()
        more = {gid for gid in map(self.machine.group, names) if gid is not None}
        return Account(account.name, account.uid, account.groups | more)

    @cached_property
    def wanted(self) -> tuple[ListenAddress, ...]:
        """Where the daemon is to take mail; empty when nothing says so."""
        given = tuple(address for address in self.listen if address.kind == "smtp")
        return given if self.listen else tuple(listen_addresses(self.machine))

    @cached_property
    def fronts(self) -> tuple[ListenAddress, ...]:
        """Where mail systems are to ask the daemon about their sessions."""
        given = tuple(address for address in self.listen if address.kind in FRONTS)
        return given if self.listen else tuple(front_addresses(self.machine))

    @cached_property
    def enabled(self) -> bool:
        """Whether the daemon starts with the system."""
        return enabled(self.machine)

    @cached_property
    def running(self) -> Running | None:
        """The daemon that runs now."""
        return running(self.machine)

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """The environment of the daemon, as far as it is known."""
        environment = dict(self.machine.environment)
        if self.machine.exists(CREDENTIALS):
            environment.setdefault(VARIABLE, CREDENTIALS)
        return environment

    def look(self) -> None:
        """Read what perhaps only root may see, so that processes forked later have it."""
        _ = (self.account, self.wanted, self.fronts, self.running, self.environment)

    def resolver(self) -> Resolver:
        """A resolver like the daemon's.  Raises OSError or ValueError if that is impossible."""
        if self.make_resolver is not None:
            return self.make_resolver()
        given = self.environment.get("QPSMTPD_RESOLVER")
        if not given:
            return DnsResolver()
        address = parse_listen(given)
        return DnsResolver([(address.host, address.port)])
