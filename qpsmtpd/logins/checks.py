# SPDX-License-Identifier: MIT
"""Back end checks: whether a back end answers; for `examine` of plugins."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace

from qpsmtpd.plugin.filechecks import socket_denied
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.place import Place
from qpsmtpd.plugin.system import System
from qpsmtpd.scanners.checks import TIMEOUT
from qpsmtpd.scanners.service import converse
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

_CONSEQUENCE = "Nobody can log in until it works."


async def check_back_end(
    system: System,
    plugin: str,
    place: Place,
    greet: Callable[[ScannerWire], Awaitable[str]],
    *commands: str,
) -> Finding:
    """Whether a back end answers.

    greet: the talk that finds out, and says what is there.
    commands: what starts it.
    """
    subject = f"{plugin} {place}"
    if place.path and (found := socket_denied(system, subject, place.path)):
        return found
    there = replace(place, path=str(system.path(place.path))) if place.path else place
    deadline = asyncio.get_running_loop().time() + TIMEOUT
    try:
        return Finding.ok(subject, f"answers: {await converse(there, greet, deadline)}")
    except ScannerError as error:
        advice = f"{_CONSEQUENCE} Start it:" if commands else _CONSEQUENCE
        return Finding.error(subject, str(error), advice, *commands)


def check_login_program(system: System, words: str) -> Finding:
    """Whether the daemon can run a program that checks passwords; `words`: with its arguments."""
    program = words.split()[0]
    status = system.status(program)
    if status is None:
        return Finding.error(program, "does not exist", _CONSEQUENCE)
    if (found := system.obstacle(program, os.X_OK)) is not None:
        return Finding.error(program, str(found), _CONSEQUENCE)
    if not system.runnable(program):
        return Finding.error(program, "is not a program", _CONSEQUENCE)
    if not status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        text = f"can be run, as the user {system.user} and without other rights"
        return Finding.ok(program, text)
    fine = Finding.ok(program, "can be run, with its owner's privileges")
    return system.set_id_problem(words) or fine
