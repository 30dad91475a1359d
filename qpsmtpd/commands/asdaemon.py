# SPDX-License-Identifier: MIT
"""Being the daemon, for commands that use its store.

A file that root has written in the daemon's directory would lock the daemon out, and the directory
is the one that systemd gives to the unit; a command that systemd has started knows both already.
"""

from __future__ import annotations

import os

from qpsmtpd.daemon.start import drop_privileges
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.units import SERVICE, Unit

_STATE = "/var/lib"
_VARIABLE = "STATE_DIRECTORY"


def become_daemon(machine: Machine) -> None:
    """Root becomes the user of the unit, if there is one; others stay who they are.

    Raises QpsmtpdError.
    """
    user = Unit(machine, SERVICE).value("User")
    if os.geteuid() == 0 and user:
        drop_privileges(user)


def environment_of_daemon(machine: Machine) -> dict[str, str]:
    """Our environment, with the directory of the unit in which the store is by default."""
    name = Unit(machine, SERVICE).value("StateDirectory").partition(" ")[0]
    given = {_VARIABLE: f"{_STATE}/{name}"} if name else {}
    return {**given, **machine.environment}
