# SPDX-License-Identifier: MIT
"""Processes: what the kernel says about the daemon that runs now (proc(5))."""

from __future__ import annotations

from qpsmtpd.doctor.system import System
from qpsmtpd.doctor.units import SERVICE


def _status(system: System) -> dict[str, str]:
    """The fields of /proc/PID/status of the service's main process; empty when it does not run."""
    if not system.systemd:
        return {}
    output = system.run("systemctl", "show", "-p", "MainPID", "--value", SERVICE)
    pid = output.text if output else ""
    if not pid.isdigit() or pid == "0":
        return {}
    lines = system.read(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def process_groups(system: System) -> frozenset[int] | None:
    """The groups of the running daemon; None when it does not run."""
    status = _status(system)
    if "Groups" not in status:
        return None
    ids = [*status["Groups"].split(), *status.get("Gid", "").split()]
    return frozenset(int(gid) for gid in ids)


def no_new_privileges(system: System) -> bool | None:
    """Whether set-id programs run without their rights; None when the daemon does not run."""
    flag = _status(system).get("NoNewPrivs")
    return None if flag is None else flag == "1"
