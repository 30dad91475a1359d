# SPDX-License-Identifier: MIT
"""Processes: what the kernel says about the daemon that runs now (proc(5))."""

from __future__ import annotations

from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.units import SERVICE


def _status(machine: Machine) -> dict[str, str]:
    """The fields of /proc/PID/status of the service's main process; empty when it does not run."""
    if not machine.systemd:
        return {}
    output = machine.run("systemctl", "show", "-p", "MainPID", "--value", SERVICE)
    pid = output.text if output else ""
    if not pid.isdigit() or pid == "0":
        return {}
    lines = machine.read(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def process_groups(machine: Machine) -> frozenset[int] | None:
    """The groups of the running daemon; None when it does not run."""
    status = _status(machine)
    if "Groups" not in status:
        return None
    ids = [*status["Groups"].split(), *status.get("Gid", "").split()]
    return frozenset(int(gid) for gid in ids)


def no_new_privileges(machine: Machine) -> bool | None:
    """Whether set-id programs run without their rights; None when the daemon does not run."""
    flag = _status(machine).get("NoNewPrivs")
    return None if flag is None else flag == "1"
