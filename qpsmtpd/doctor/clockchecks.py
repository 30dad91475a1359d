# SPDX-License-Identifier: MIT
"""Clock checks: whether the time is right, as far as that can be told without asking others.

A wrong clock makes every certificate invalid, and signatures expire or be of the future.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.finding import Finding

SUBJECT = "clock"


def check_clock(
    installation: Installation, now: Callable[[], float] = time.time
) -> Iterator[Finding]:
    """The time of this machine, and whether anything keeps it right."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now()))
    if now() < Path(__file__).stat().st_mtime:
        yield Finding.error(SUBJECT, f"shows {shown}, which is before qpsmtpd was made", _ADVICE)
        return
    output = installation.machine.run(
        "timedatectl", "show", "--property=NTPSynchronized", "--value"
    )
    kept = output.text if output and not output.status else ""
    if kept == "no":
        yield Finding.notice(SUBJECT, f"shows {shown}, and is not synchronized", _ADVICE)
    elif kept == "yes":
        yield Finding.ok(SUBJECT, "is synchronized")
    else:
        yield Finding.ok(SUBJECT, f"shows {shown}")


_ADVICE = "Let it be synchronized: install systemd-timesyncd or chrony, or have the host do it."
