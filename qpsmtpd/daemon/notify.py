# SPDX-License-Identifier: MIT
"""Notify: tells systemd how the service is doing (sd_notify(3)); nothing without systemd."""

from __future__ import annotations

import contextlib
import os
import socket
import time

#: Part of the status after a reload that failed.
REFUSED = "the new configuration is wrong and not used, see the log or qpsmtpd check-config"


def notify(*assignments: str, wait: bool = True) -> None:
    """Send assignments such as "READY=1" to the service manager, if there is one.

    wait: wait until it has room for them; otherwise they are dropped.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    # Mail is served even if the service manager does not listen.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        flags = 0 if wait else socket.MSG_DONTWAIT
        sender.sendto("\n".join(assignments).encode(), flags, address)


def ready(status: str) -> None:
    """The service accepts connections."""
    notify("READY=1", f"STATUS={status}")


def reloading() -> None:
    """The configuration is being read again; `ready` must follow."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def misconfigured() -> None:
    """The service cannot start; the status outlives it."""
    notify("STATUS=The configuration is wrong, see the log or qpsmtpd check-config")


def stopping() -> None:
    """The service is stopping."""
    notify("STOPPING=1")


def watchdog_interval() -> float | None:
    """Seconds between two calls of `alive`, half of WatchdogSec=; None if nobody watches us."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(microseconds) / 2e6 if ours and microseconds.isdecimal() else None


def alive() -> None:
    """The service works; the service manager restarts it if this does not come."""
    notify("WATCHDOG=1", wait=False)
