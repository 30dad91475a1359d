# SPDX-License-Identifier: MIT
"""Service: the daemon's user, what it writes to, and the units of systemd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qpsmtpd.config.pluginlines import PluginLine
from qpsmtpd.config.spooldir import default_spool_dir
from qpsmtpd.doctor.access import EXECUTE, WRITE, obstacle
from qpsmtpd.doctor.confinement import read_only
from qpsmtpd.doctor.hop_maildir import existing
from qpsmtpd.doctor.installation import DEFAULT_USER, Installation
from qpsmtpd.doctor.units import SERVICE, SOCKET, Unit
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
        yield _writable(installation, "spool_dir", spool_dir)
    for line in installation.plugins("logging/file"):
        yield _log_file(installation, line)


def _no_user(installation: Installation) -> Iterator[Finding]:
    subject, text = f"user {installation.user}", "does not exist"
    if installation.user == DEFAULT_USER:
        make = "adduser --system --group --home /var/spool/qpsmtpd --no-create-home qpsmtpd"
        yield Finding.error(subject, text, "Make it, as the package does:", make)
    else:
        yield Finding.error(subject, f"{text}, but {SERVICE} names it (User=)")


def _writable(installation: Installation, what: str, directory: Path) -> Finding:
    account, machine = installation.account, installation.machine
    assert account is not None
    there = existing(machine, directory)
    found = obstacle(machine, there, account, WRITE | EXECUTE)
    closed = None if found else read_only(machine, directory)
    if closed is not None:
        return closed
    if found is None:
        made = "" if there == directory else "; it is made at start"
        return Finding.ok(f"{what} {directory}", f"user {account.name} can write to it{made}")
    if found.kind == "hidden":
        return Finding.notice(f"{what} {directory}", str(found))
    command = f"install -d -o {account.name} -g {account.name} -m 0700 {directory}"
    return Finding.error(f"{what} {directory}", str(found), "Give it to the user:", command)


def _log_file(installation: Installation, line: PluginLine) -> Finding:
    destination: str = line.options.destination
    subject = f"{line.name} {destination}"
    if destination.startswith("|"):
        program = destination[1:].split()[0]
        if installation.machine.runnable(program):
            return Finding.ok(subject, "the program is there")
        return Finding.warning(subject, f"{program} is no program, so nothing is logged")
    # What strftime(3) replaces is in the name of the file, hardly ever above.
    directory = Path(destination.partition("%")[0] + "x").parent
    if not installation.machine.exists(directory):
        return Finding.warning(subject, f"{directory} does not exist, so nothing is logged")
    if "%" not in destination and installation.machine.exists(destination):
        return _existing_log(installation, subject, destination)
    return _writable(installation, line.name, directory)


def _existing_log(installation: Installation, subject: str, path: str) -> Finding:
    account = installation.account
    assert account is not None
    found = obstacle(installation.machine, path, account, WRITE)
    if found is None:
        return Finding.ok(subject, f"user {account.name} can write to it")
    command = f"chown {account.name}:adm {path}"
    return Finding.warning(
        subject, f"{found}, so nothing is logged", "Give it to the user:", command
    )


# --- units ----------------------------------------------------------------------------------


def check_units(installation: Installation) -> Iterator[Finding]:
    """Whether systemd starts the daemon, and whether it runs."""
    machine = installation.machine
    if not machine.systemd:
        yield Finding.notice("systemd", "does not run this machine; its units are not looked at")
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
        advice = "Mend what the log says, and start it again:"
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
