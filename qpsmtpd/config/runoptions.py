# SPDX-License-Identifier: MIT
"""RunOptions: what the command line says about how to run the daemon."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

#: Where the configuration is unless the command line or QPSMTPD_CONFIG names a directory.
DEFAULT_CONFIG = Path("/etc/qpsmtpd")

#: What is spoken on a listening socket.
Kind = Literal["smtp", "lmtp", "policy", "milter"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: What mail systems speak that ask us about their sessions.
FRONTS: tuple[Kind, ...] = ("policy", "milter")

_kind = re.compile(rf"(?:({'|'.join(KINDS)}):)?(.*)", re.DOTALL).fullmatch
_ADDRESS = re.compile(
    r"(?:(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+|\*)?:)?(?P<port>\d{1,5})", re.ASCII
)
_FORMS = "ADDRESS:PORT, [IPV6]:PORT, :PORT or PORT"
#: RFC 2033 section 5: whoever talks to this port expects SMTP.
_SMTP_PORT = 25


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen, and what is spoken there.

    host "" means every address, IPv4 and IPv6.  tls: TLS from the start.  path: that of a Unix
    socket, in place of host and port.
    """

    host: str
    port: int
    tls: bool = False
    kind: Kind = "smtp"
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "*"
        place = self.path or f"{host}:{self.port}"
        return place if self.kind == "smtp" and not self.path else f"{self.kind}:{place}"


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
    """Read ADDR:PORT, [IPV6]:PORT, :PORT or PORT; with a kind and a colon before it also a /path.

    Raises a ValueError that says what is right.
    """
    parts = _kind(text)
    assert parts is not None
    kind: Kind = next((kind for kind in KINDS if kind == parts[1]), "smtp")
    impossible = tls and kind in FRONTS
    if parts[1] and parts[2].startswith("/") and parts[2].isprintable() and not impossible:
        return ListenAddress("", 0, tls, kind, parts[2])
    match = _ADDRESS.fullmatch(parts[2])
    if not match or not 0 <= int(match["port"]) <= 65535 or impossible:
        others = "" if tls else ", or lmtp:…, policy:… or milter:… with these or /PATH"
        raise ValueError(_FORMS + others)
    host, port = (match["host"] or "").strip("[]"), int(match["port"])
    if kind == "lmtp" and port == _SMTP_PORT:
        raise ValueError("another port than 25, which is not for LMTP (RFC 2033 section 5)")
    return ListenAddress("" if host == "*" else host, port, tls, kind)


def kind_named(name: str) -> Kind:
    """What is spoken on a socket of this name (FileDescriptorName=): SMTP, unless it says so."""
    return next((kind for kind in KINDS if kind in name and kind != "smtp"), "smtp")


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
