# SPDX-License-Identifier: MIT
"""Confinement: what the service's unit denies the daemon (systemd.exec(5)), or allows."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.processes import Running
from qpsmtpd.doctor.units import SERVICE, Unit
from qpsmtpd.plugin.finding import Finding

#: Runs set-id programs for the daemon, which may not do so itself.
HANDOVER_SOCKET = "qpsmtpd-handover.socket"
HANDOVER_SERVICE = "qpsmtpd-handover@.service"

_DROP_INS = f"/etc/systemd/system/{SERVICE}.d"
_DIRECTORIES = {
    "StateDirectory": "/var/lib",
    "CacheDirectory": "/var/cache",
    "LogsDirectory": "/var/log",
    "RuntimeDirectory": "/run",
}
_YES = frozenset({"yes", "true", "on", "1"})


def read_only(machine: Machine, path: Path) -> Finding | None:
    """The finding if the unit does not let the daemon write to a directory; None if it does."""
    unit = Unit(machine, SERVICE)
    if unit.value("ProtectSystem") != "strict":
        return None
    if any(path.is_relative_to(writable) for writable in _writable(unit)):
        return None
    setting = f"[Service]\\nReadWritePaths={path}\\n"
    return Finding.error(
        str(path),
        f"{SERVICE} does not let the daemon write here (ProtectSystem=strict)",
        "Allow it:",
        f"mkdir -p {_DROP_INS}",
        f"printf '{setting}' >> {_DROP_INS}/local.conf",
        "systemctl daemon-reload",
        f"systemctl restart {SERVICE}",
    )


def _writable(unit: Unit) -> Iterator[Path]:
    """The directories that a strict unit may write to."""
    for text in " ".join(unit.values("ReadWritePaths") + unit.values("BindPaths")).split():
        yield Path(text.lstrip("-+").rpartition(":")[2])
    for key, above in _DIRECTORIES.items():
        for name in " ".join(unit.values(key)).split():
            yield Path(above, name)
    if unit.value("PrivateTmp").lower() in _YES:
        yield from (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 (nothing is written)


def set_id_problem(machine: Machine, program: str, running: Running | None) -> Finding | None:
    """What keeps a set-id program from its privileges when the daemon wants to run it.

    program: its path, alone or with the arguments that it must be run with.
    """
    held = running is not None and running.no_new_privileges
    confined = Unit(machine, SERVICE).value("NoNewPrivileges").lower() in _YES
    if not held and not confined:
        return None
    if not Unit(machine, HANDOVER_SOCKET).file:
        text = f"needs its owner's privileges, which {SERVICE} denies it (NoNewPrivileges)"
        restart = f"systemctl restart {SERVICE}"
        return Finding.error(
            program, text, f"Install {HANDOVER_SOCKET}, or change that setting and:", restart
        )
    if program not in _handed_over(machine):
        text = f"is not among the programs that {HANDOVER_SERVICE} runs for the daemon"
        return Finding.error(
            program, text, "Add it to ExecStart=:", f"systemctl edit {HANDOVER_SERVICE}"
        )
    if held and not machine.exists("/run/qpsmtpd/handover.socket"):
        text = f"cannot be run: {HANDOVER_SOCKET} does not listen"
        return Finding.error(program, text, "Start it:", f"systemctl start {HANDOVER_SOCKET}")
    return None


def _handed_over(machine: Machine) -> set[str]:
    """What the handover service runs: each word of its command is a program with its arguments,
    and both with and without them it is named here."""
    words = shlex.split(Unit(machine, HANDOVER_SERVICE).value("ExecStart"))
    return {*words, *(word.partition(" ")[0] for word in words)}
