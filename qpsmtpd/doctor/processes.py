# SPDX-License-Identifier: MIT
"""Processes: what the kernel says about the running daemon (proc(5))."""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.units import SERVICE


@dataclass(frozen=True, slots=True)
class Running:
    """The running daemon.

    groups: those of its process.  no_new_privileges: set-id programs run without their privileges.
    """

    groups: frozenset[int]
    no_new_privileges: bool


def running(machine: Machine) -> Running | None:
    """The main process of the service; None if it is not running."""
    if not machine.systemd:
        return None
    output = machine.run("systemctl", "show", "-p", "MainPID", "--value", SERVICE)
    pid = output.text if output else ""
    if not pid.isdigit() or pid == "0":
        return None
    lines = machine.read(f"/proc/{pid}/status").splitlines()
    status = {name: value for name, _, value in (line.partition(":") for line in lines)}
    groups = [*status.get("Groups", "").split(), *status.get("Gid", "").split()]
    return Running(frozenset(map(int, groups)), status.get("NoNewPrivs", "").strip() == "1")
