# SPDX-License-Identifier: MIT
"""Where back ends are that have a host and a port as options."""

from __future__ import annotations

from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.plugin.place import parse_place


def check_host(text: str) -> None:
    """Check an option.  Raises a ValueError that says what would be right."""
    try:
        host = parse_place(f"[{text}]:1" if ":" in text else f"{text}:1").host
    except ValueError:
        host = ""
    if not host:
        raise ValueError("a name or an address")


def is_here(host: str) -> bool:
    """Whether a host is this machine, so that nobody can listen."""
    try:
        return host.lower() == "localhost" or parse_ip(host).is_loopback
    except ValueError:
        return False
