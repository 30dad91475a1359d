# SPDX-License-Identifier: MIT
"""Exim as Debian sets it up: where it listens, and the commands to change that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.overlaps import is_loopback
from qpsmtpd.nexthop.eximtrust import OWN_FILE, PROGRAM, SETTINGS, settings_of

_LOOPBACK = "127.0.0.1 ; ::1"
_PORT = 25

_bracketed = re.compile(r"\[([^\]]+)\](?::(\d+))?").fullmatch
_dotted = re.compile(r"(\d+(?:\.\d+){3})(?:\.(\d+))?").fullmatch
_colons = re.compile(r"(?=[^:]*:)([0-9A-Fa-f:]+)(?:\.(\d+))?").fullmatch


@dataclass(frozen=True)
class Exim:
    """An Exim that is installed.

    split: its configuration is made from conf.d.  own: the administrator wrote it all, and Debian's
    settings are not used.  interfaces: the setting dc_local_interfaces; empty means all addresses.
    """

    split: bool
    own: bool
    interfaces: str

    @classmethod
    def read(cls, machine: Machine) -> Exim | None:
        """The system's Exim; None if there is none."""
        if not machine.runnable(PROGRAM):
            return None
        settings = settings_of(machine)
        return cls(
            split=settings.get("dc_use_split_config") == "true",
            own=machine.exists(OWN_FILE),
            interfaces="" if machine.exists(OWN_FILE) else settings.get("dc_local_interfaces", ""),
        )

    @property
    def form(self) -> str:
        """What its configuration is made of, in words."""
        if self.own:
            return f"own configuration {OWN_FILE}"
        return "split configuration conf.d" if self.split else "configuration in one file"

    @property
    def addresses(self) -> list[ListenAddress]:
        """Where it listens; empty, as unknown, if the configuration is the administrator's own."""
        if self.own:
            return []
        return parse_interfaces(self.interfaces) or [ListenAddress("", _PORT)]

    @property
    def to_loopback(self) -> tuple[str, ...]:
        """The commands that make it listen on loopback addresses only; empty if it does already."""
        if self.addresses and all(is_loopback(address.host) for address in self.addresses):
            return ()
        if self.own:
            edit = f"sensible-editor {OWN_FILE}  # local_interfaces = <; {_LOOPBACK}"
            return edit, "systemctl restart exim4"
        line = f"dc_local_interfaces='{_LOOPBACK}'"
        return (
            f'sed -i "s/^dc_local_interfaces=.*/{line}/" {SETTINGS}',
            "update-exim4.conf",
            "systemctl restart exim4",
        )


def parse_interfaces(text: str) -> list[ListenAddress]:
    """The addresses in dc_local_interfaces, separated by semicolons; other words are left out."""
    return list(_addresses(text.removeprefix("<;")))


def _addresses(text: str) -> Iterator[ListenAddress]:
    for word in map(str.strip, text.split(";")):
        match = _bracketed(word) or _dotted(word) or _colons(word)
        if match:
            every = match[1] in ("::0", "::")
            yield ListenAddress("::" if every else match[1], int(match[2] or _PORT))
