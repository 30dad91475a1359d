# SPDX-License-Identifier: MIT
"""resolv.conf(5): the name servers of the system and how to ask them, also after a change."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from typing import NamedTuple

from qpsmtpd.plugin.services import Clock

log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
MAX_NAMESERVERS = 3
#: As resolv.conf(5) limits them.
MAX_TIMEOUT, MAX_ATTEMPTS = 30, 5
#: Seconds between two looks at the file.
INTERVAL = 1.0


class ResolvConf(NamedTuple):
    """What resolv.conf says; None where it says nothing.

    timeout: seconds for one try.  attempts: how often each name server is asked.
    rotate: whether each question begins with the next name server.
    """

    nameservers: tuple[str, ...] = ()
    timeout: int | None = None
    attempts: int | None = None
    rotate: bool = False


#: Without a name server the C library asks this machine.
_THIS_MACHINE = ("127.0.0.1",)


class ResolvConfFile:
    """The file, which is looked at again when somebody asks for it, at most once a second."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._identity = self._identify()
        text = self._read()
        self.current = _complete(parse_resolv_conf(text or ""))

    def changed(self) -> bool:
        """Whether `current` is another one than at the last call."""
        now = self._clock.monotonic()
        if now < self._looked_at + INTERVAL:
            return False
        self._looked_at = now
        identity = self._identify()
        if identity == self._identity:
            return False
        self._identity = identity
        # A file that is missing or empty is one that is being written.
        if not (text := self._read()):
            return False
        before, self.current = self.current, _complete(parse_resolv_conf(text))
        return self.current != before

    def _identify(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _read(self) -> str | None:
        """The text of the file; None when it cannot be read."""
        try:
            return self._path.read_text("utf-8", "replace")
        except OSError as error:
            log.warning("resolv_conf=%s unreadable error=%s", self._path, error.strerror)
            return None


def _complete(read: ResolvConf) -> ResolvConf:
    return read._replace(nameservers=read.nameservers or _THIS_MACHINE)


def parse_resolv_conf(text: str) -> ResolvConf:
    """The first three `nameserver` lines that hold an address, and the options."""
    found = ResolvConf()
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_] if _is_address(address):
                servers = (*found.nameservers, address)[:MAX_NAMESERVERS]
                found = found._replace(nameservers=servers)
            case ["options", *options]:
                for option in options:
                    found = _set_option(found, option)
    return found


def _set_option(found: ResolvConf, option: str) -> ResolvConf:
    match option.split(":"):
        case ["rotate"]:
            return found._replace(rotate=True)
        case ["timeout", seconds] if _is_number(seconds):
            return found._replace(timeout=min(max(1, int(seconds)), MAX_TIMEOUT))
        case ["attempts", times] if _is_number(times):
            return found._replace(attempts=min(max(1, int(times)), MAX_ATTEMPTS))
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
