# SPDX-License-Identifier: MIT
"""queue/exim-bsmtp and queue/qmail-queue: whether the program can be run, with its rights."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from qpsmtpd.config.pluginlines import PluginLine
from qpsmtpd.doctor.access import EXECUTE, obstacle
from qpsmtpd.doctor.confinement import set_id_problem
from qpsmtpd.doctor.exim import PROGRAM, Exim, options_of
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.finding import Finding

_RSMTP = "/usr/sbin/rsmtp"
_ANOTHER = ("Install it, or choose another delivery:", "dpkg-reconfigure qpsmtpd")


def check_exim_bsmtp(installation: Installation, line: PluginLine) -> Iterator[Finding]:
    """Exim's program, and whether it lets our user choose the envelope sender."""
    program: str = line.options.exim_path
    if program == _RSMTP and not installation.machine.runnable(program):
        program = PROGRAM
    findings = list(_check_program(installation, program, set_id=True))
    yield from findings
    if installation.machine.runnable(program):
        yield _check_trust(installation, program)


def check_qmail_queue(installation: Installation, line: PluginLine) -> Iterator[Finding]:
    """The program qmail-queue."""
    environment = installation.environment
    home = environment.get("QMAIL", "/var/qmail")
    program = line.options.program or f"{home}/bin/qmail-queue"
    program = environment.get("QMAILQUEUE") or program
    # What stands in for qmail's own program need not be set-id.
    yield from _check_program(installation, program, set_id=program.startswith(home))


def _check_program(installation: Installation, program: str, *, set_id: bool) -> Iterator[Finding]:
    status = installation.machine.status(program)
    if status is None:
        yield Finding.error(program, "does not exist", *_ANOTHER)
        return
    if not stat.S_ISREG(status.st_mode):
        yield Finding.error(program, "is no program", *_ANOTHER)
        return
    account = installation.account
    found = obstacle(installation.machine, program, account, EXECUTE) if account else None
    if found is not None:
        yield Finding.error(program, str(found))
    elif not status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        if set_id:
            yield Finding.error(program, "has lost its set-id bit, so it cannot write to its queue")
        else:
            yield Finding.ok(program, "can be run")
    else:
        fine = Finding.ok(program, "can be run, with the rights of its owner")
        yield set_id_problem(installation.machine, program) or fine


def _check_trust(installation: Installation, program: str) -> Finding:
    names = ("trusted_users", "untrusted_set_sender", "local_sender_retain")
    # Under the name rsmtp Exim reads batch SMTP and tells nothing.
    teller = PROGRAM if program == _RSMTP else program
    options = options_of(installation.machine, teller, *names)
    user = installation.user
    if options is None:
        return Finding.notice("Exim", f"does not tell whether it trusts user {user}")
    trusted = options.get("trusted_users", "").replace(":", " ").split()
    if user in trusted:
        return Finding.ok("Exim", f"trusts user {user}")
    exim = Exim.read(installation.machine)
    commands = exim.to_trust(installation.machine, user, trusted) if exim else ()
    advice = "Make it a trusted user:" if commands else ""
    if options.get("untrusted_set_sender") == "*" and "local_sender_retain" in options:
        text = f"does not trust user {user}, but lets every user choose the envelope sender"
        return Finding.notice("Exim", text, advice.replace(":", ", to be sure:"), *commands)
    text = f"does not trust user {user}: it would put that in place of every sender"
    return Finding.warning("Exim", text, advice, *commands)
