# SPDX-License-Identifier: MIT
"""Host name: this machine's full name, for the setting `me`.

The name that the kernel has is usually a short one on Debian; then the full one is the canonical
name that belongs to it, as for `hostname --fqdn` and other mail servers.  /etc/hosts is read first,
as there it normally is, so that a start before the network costs nothing.  Whoever else knows it
(name servers, usually) is asked for a limited time by a program that can be ended.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

#: Seconds that name servers have to say what our full name is.
LOOKUP_SECONDS = 2.0

_HOSTS = Path("/etc/hosts")
_MAILNAME = Path("/etc/mailname")
_NOBODYS = ("localhost", "localhost.localdomain")


def host_name() -> str:
    """The full name of this machine, or the best that there is; waits for LOOKUP_SECONDS at most.

    Without a full name of the system it is the first line of /etc/mailname.
    """
    name = socket.gethostname()
    if is_full(name):
        return name
    return _in_hosts(name) or _looked_up() or _mail_name() or name


def is_full(name: str) -> bool:
    """Whether a name has a domain, and belongs to one machine only."""
    return "." in name.strip(".") and name.lower() not in _NOBODYS


def _in_hosts(name: str) -> str:
    for line in _text(_HOSTS).splitlines():
        names = line.partition("#")[0].split()[1:]
        full = next(filter(is_full, names), "")
        if full and name.lower() in map(str.lower, names):
            return full
    return ""


def _looked_up() -> str:
    try:
        done = subprocess.run(
            ("hostname", "--fqdn"),  # noqa: S607 - wherever it is
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LOOKUP_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return _first_full(done.stdout.decode("ascii", "replace"))


def _mail_name() -> str:
    return _first_full(_text(_MAILNAME))


def _first_full(text: str) -> str:
    word = next(iter(text.split()), "")
    return word if is_full(word) else ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
