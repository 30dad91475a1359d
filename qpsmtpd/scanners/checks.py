# SPDX-License-Identifier: MIT
"""Scanner checks: whether a scanner answers; for `examine` of plugins."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from qpsmtpd.plugin.filechecks import socket_denied
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.place import Place
from qpsmtpd.plugin.system import System
from qpsmtpd.scanners.options import ScannerOptions
from qpsmtpd.scanners.service import Talk, converse
from qpsmtpd.scanners.wire import ScannerError

#: Seconds for a scanner to answer.
TIMEOUT = 5.0


async def check_scanner(
    system: System,
    plugin: str,
    options: ScannerOptions,
    places: Sequence[Place],
    greet: Talk[str],
    *,
    start: str,
) -> AsyncIterator[Finding]:
    """Whether each place answers.

    greet: the talk that finds out, and says what the scanner is.
    start: the command that starts it.
    """
    for place in places:
        yield await _check(system, f"{plugin} {place}", options, place, greet, start)


def check_command(system: System, program: str, options: ScannerOptions) -> Finding:
    """Whether the daemon can run a scanner that is a program."""
    if system.status(program) is None:
        advice = f"{_consequence(options)} Install it, or name another program."
        return Finding.error(program, "does not exist", advice)
    found = system.obstacle(program, os.X_OK)
    if found is not None:
        return Finding.error(program, str(found), _consequence(options))
    if not system.runnable(program):
        return Finding.error(program, "is not a program", _consequence(options))
    return Finding.ok(program, "can be run")


async def _check(
    system: System,
    subject: str,
    options: ScannerOptions,
    place: Place,
    greet: Talk[str],
    start: str,
) -> Finding:
    if place.path and (denied := socket_denied(system, subject, place.path)):
        return denied
    there = replace(place, path=str(system.path(place.path))) if place.path else place
    deadline = asyncio.get_running_loop().time() + TIMEOUT
    try:
        return Finding.ok(subject, f"answers: {await converse(there, greet, deadline)}")
    except ScannerError as error:
        return Finding.error(subject, str(error), f"{_consequence(options)} Start it:", start)


def _consequence(options: ScannerOptions) -> str:
    if options.on_error == "pass":
        return "Messages pass unscanned until it works."
    return "All messages that it should scan are deferred until it works."
