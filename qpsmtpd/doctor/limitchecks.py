# SPDX-License-Identifier: MIT
"""Limit checks: how many clients there may be, and what changes when there are nearly as many."""

from __future__ import annotations

from collections.abc import Iterator

from qpsmtpd.config.pace import SHARES, Pace, begins_at
from qpsmtpd.config.settings import Settings
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.finding import Finding

SUBJECT = "max_connections"

_READ = "The section Stress of qpsmtpd-config(5) explains it."


def check_limits(installation: Installation) -> Iterator[Finding]:
    """What the limits on connections mean, taken together."""
    settings = installation.settings
    yield _stress(settings)
    calm = _calm(settings)
    if calm and not 0 < settings.max_from_ip < calm:
        many = settings.max_from_ip or "any number of"
        yield Finding.notice(
            "max_from_ip",
            f"one client may have {many} connections, and {calm} of all of them are stress",
            f"Then all others have less time. {_READ}",
        )


def _calm(settings: Settings) -> int:
    """How many connections there can be without stress; 0 if there is no such number."""
    if not (settings.max_connections and settings.stress_percent):
        return 0
    return max(1, int(settings.max_connections * begins_at(1, settings.stress_percent)))


def _stress(settings: Settings) -> Finding:
    connections, percent = settings.max_connections, settings.stress_percent
    if not percent:
        text = "clients have all their time however many there are (stress_percent is 0)"
        return Finding.notice(SUBJECT, text, _READ)
    pace = Pace(settings)
    pace.set(len(SHARES) - 1)
    many = f"{connections} at a time" if connections else "as many as files can be open"
    return Finding.ok(
        SUBJECT,
        f"{many}; from {percent} % on clients have less time, in the end {pace.command:g} s for "
        f"a command and {pace.max_junk_commands} commands without use",
    )
