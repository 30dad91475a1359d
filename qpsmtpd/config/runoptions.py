# SPDX-License-Identifier: MIT
"""RunOptions: what the command line says about how to run the daemon."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

#: Where the configuration is unless the command line or QPSMTPD_CONFIG names a directory.
DEFAULT_CONFIG = Path("/etc/qpsmtpd")

#: What is spoken on a listening socket.
ListenerKind = Literal["smtp", "lmtp"]
KINDS: tuple[ListenerKind, ...] = get_args(ListenerKind)

_kind_and_place = re.compile(rf"(?:({'|'.join(KINDS)}):)?(.*)", re.DOTALL).fullmatch
#: RFC 2033 section 5: whoever talks to this port expects SMTP.
_SMTP_PORT = 25
_ADDRESS = re.compile(
    r"(?:(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+|\*)?:)?(?P<port>\d{1,5})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen; host "" means every address, IPv4 and IPv6.

    tls: TLS from the start.  kind: what is spoken.  path: of a Unix socket, in place of host and
    port.
    """

    host: str
    port: int
    tls: bool = False
    kind: ListenerKind = "smtp"
    path: str = ""

    def __str__(self) -> str:
        return (
            self._place if self.kind == "smtp" and not self.path else f"{self.kind}:{self._place}"
        )

    @property
    def _place(self) -> str:
        if self.path:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host or "*"
        return f"{host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run the daemon.

    config: directories of the configuration, in order of precedence.
    listen: empty means the sockets that systemd passes.
    workers: number of processes; 0 means one per core.
    user: the user to become after binding; None means no change.
    max_from_ip, max_connections, reverse_lookup: override the settings, unless None.
    """

    config: tuple[Path, ...]
    listen: tuple[ListenAddress, ...] = ()
    workers: int = 0
    user: str | None = None
    pid_file: Path | None = None
    max_from_ip: int | None = None
    max_connections: int | None = None
    reverse_lookup: bool | None = None
    debug: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def worker_count(self) -> int:
        """Number of processes; by default one for each core that we may use."""
        return self.workers or len(os.sched_getaffinity(0))


def parse_listen(text: str, *, tls: bool = False) -> ListenAddress:
    """Read ADDR:PORT, [IPV6]:PORT, :PORT or PORT; or KIND: before one of these, or before a path.

    Raises a ValueError that says what is right.
    """
    parts = _kind_and_place(text)
    assert parts is not None
    kind = cast("ListenerKind", parts[1] or "smtp")
    if parts[1] and parts[2].startswith("/") and parts[2].isprintable():
        return ListenAddress("", 0, tls, kind, parts[2])
    match = _ADDRESS.fullmatch(parts[2])
    if not match or not 0 <= int(match["port"]) <= 65535:
        raise ValueError("ADDRESS:PORT, [IPV6]:PORT, :PORT or PORT, or lmtp: before it or a path")
    host, port = (match["host"] or "").strip("[]"), int(match["port"])
    if kind == "lmtp" and port == _SMTP_PORT:
        raise ValueError("another port than 25, which is not for LMTP (RFC 2033 section 5)")
    return ListenAddress("" if host == "*" else host, port, tls, kind)


def config_directories(
    config: Path | None, environment: Mapping[str, str], program: str = ""
) -> tuple[Path, ...]:
    """The directories of the configuration, in the order in which each file is looked up.

    They are the named directory (or QPSMTPD_CONFIG, or /etc/qpsmtpd), `config` beside the program,
    and the directory of qmail's control files.
    """
    first = config or Path(environment.get("QPSMTPD_CONFIG") or DEFAULT_CONFIG)
    beside = [Path(program).parent / "config"] if "/" in program else []
    qmail = Path(environment.get("QMAIL") or "/var/qmail") / "control"
    return (first.absolute(), *(path.absolute() for path in beside), qmail)
