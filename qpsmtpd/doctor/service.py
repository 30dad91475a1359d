# SPDX-License-Identifier: MIT
"""Service: the daemon's user, what it writes to, and the units of systemd."""

from __future__ import annotations

from collections.abc import Iterator

from qpsmtpd.config.spooldir import default_spool_dir
from qpsmtpd.doctor.installation import DEFAULT_USER, Installation
from qpsmtpd.doctor.surroundings import Surroundings
from qpsmtpd.doctor.units import SERVICE, SOCKET, Unit
from qpsmtpd.plugin.filechecks import check_directory
from qpsmtpd.plugin.finding import Finding


def check_user(installation: Installation) -> Iterator[Finding]:
    """The user of the daemon, its spool directory and its log files."""
    account = installation.account
    if account is None:
        yield from _no_user(installation)
        return
    groups = sorted(map(installation.machine.group_name, account.groups))
    yield Finding.ok(f"user {account.name}", f"is in {', '.join(groups)}")
    spool_dir = installation.settings.spool_dir
    if spool_dir != default_spool_dir():
        yield check_directory(Surroundings(installation), "spool_dir", spool_dir)
    yield from installation.found("User and files")


def _no_user(installation: Installation) -> Iterator[Finding]:
    subject, text = f"user {installation.user}", "does not exist"
    if installation.user == DEFAULT_USER:
        make = "adduser --system --group --home /var/spool/qpsmtpd --no-create-home qpsmtpd"
        yield Finding.error(subject, text, "Create it, as the package does:", make)
    else:
        yield Finding.error(subject, f"{text}, but {SERVICE} names it (User=)")


# --- units ----------------------------------------------------------------------------------


def check_units(installation: Installation) -> Iterator[Finding]:
    """Whether systemd starts the daemon, and whether it is running."""
    machine = installation.machine
    if not machine.systemd:
        yield Finding.notice("systemd", "does not run this machine; its units are not examined")
        return
    for name in (SOCKET, SERVICE):
        unit = Unit(machine, name)
        if not unit.file:
            yield Finding.notice(name, "is not installed")
        else:
            yield _state(installation, name)


def _state(installation: Installation, name: str) -> Finding:
    enabled, active = (_ask(installation, verb, name) for verb in ("is-enabled", "is-active"))
    text = f"{enabled}, {active}"
    if active == "failed":
        advice = "Fix what the log reports, and start it again:"
        commands = (f"journalctl -u {name} -n 20", f"systemctl restart {name}")
        return Finding.error(name, text, advice, *commands)
    if name != SOCKET or (enabled, active) == ("enabled", "active"):
        return Finding.ok(name, text)
    if enabled == "enabled":
        return Finding.warning(name, text, "Start it:", f"systemctl start {name}")
    advice = "To let qpsmtpd start with the system:"
    return Finding.notice(name, text, advice, "dpkg-reconfigure qpsmtpd")


def _ask(installation: Installation, verb: str, name: str) -> str:
    output = installation.machine.run("systemctl", verb, name)
    return output.text if output and output.text else "unknown"
