# SPDX-License-Identifier: MIT
"""Machines with networks of their own: name spaces of the kernel, with cables between them.

Whoever uses this has to be in a network name space of its own, and the first of a PID name space:
then all that is made here ends with it, whatever happens.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.isolation import ENVIRONMENT, run

TIMEOUT = 10.0  # seconds, one command of ip(8)
#: A name space lives as long as a process in it.
_HOLD = ("unshare", "--net", "sh", "-c", "echo; exec sleep infinity")


@dataclass(frozen=True)
class Machine:
    """A network name space.

    tools: the command that runs another one where ip(8) is installed.
    inside: the command that runs another one in it.
    """

    name: str
    tools: Sequence[str]
    inside: Sequence[str] = ()

    @classmethod
    def new(cls, name: str, tools: Sequence[str]) -> Machine:
        """One more, with nothing but its loopback device."""
        holder = subprocess.Popen(_HOLD, stdout=subprocess.PIPE, env=ENVIRONMENT)
        assert holder.stdout is not None
        holder.stdout.readline()
        machine = cls(name, tools, ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"))
        machine.ip("link set lo up")
        return machine

    def ip(self, arguments: str) -> None:
        """Run ip(8)."""
        run((*self.inside, *self.tools, "ip", *arguments.split()), TIMEOUT)

    @property
    def _process(self) -> str:
        return self.inside[1].split("/")[2]

    def cable(self, device: str, other: Machine, port: str) -> None:
        """Make a device here, and one at the other machine's end of the cable."""
        other.ip(f"link add {port} type veth peer name {device} netns {self._process}")
        for machine, end in ((self, device), (other, port)):
            machine.ip(f"link set {end} up")

    def address(self, device: str, *addresses: str) -> None:
        """Give a device addresses, each with the length of its prefix."""
        for address in addresses:
            # It need not be asked for whether somebody else has it.
            check = " nodad" if ":" in address else ""
            self.ip(f"addr add {address} dev {device}{check}")
