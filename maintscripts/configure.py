# SPDX-License-Identifier: MIT
"""configure: what `postinst configure` does, in two steps; and what Postfix is to be told.

    python3 -m maintscripts.configure stage DIRECTORY
    python3 -m maintscripts.configure apply [OLD_VERSION]

`stage` writes the files of the templates below DIRECTORY, for ucf to put into place, and prints
those about which ucf has to ask.  `apply`, once
the user qpsmtpd exists, does everything else, and prints what has to be done with the service:
`start`, `restart` (it listens elsewhere now) or `stop`.

    python3 -m maintscripts.configure tell start|restart|stop|remove

says what is to be done in Postfix after that, by its administrator.

All may be repeated at any time, and after any interruption.  The two speak with debconf on
descriptor 3 and standard input, as its shell library leaves them to postinst.
"""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from debian.deb822 import Packages
from debian.debian_support import Version

from maintscripts import leftovers
from maintscripts.answers import Answers, settle
from maintscripts.ask import (
    FILTERS,
    LEAVE_OUT,
    MILTER_SOCKET,
    PROTECTION,
    QUESTIONS,
    SETTINGS,
    SOCKET,
    Debconf,
    Facts,
    detect,
    lines_of,
    of_filters,
    system_root,
    text_of,
    variables,
)
from maintscripts.ownership import Owner, assure_room, make_maildir, protect, write_atomically
from maintscripts.render import render
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlines import missing_lines
from qpsmtpd.doctor.fronts import untold
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.units import front_addresses
from qpsmtpd.errors import ConfigError

USER = "qpsmtpd"
POSTDROP = "postdrop"
FIRST_VERSION = "2.0.0~"
LISTENED = "run/qpsmtpd-listened"  # the drop-in of the running socket, until it is restarted

MISSING_PLUGINS = "etc/qpsmtpd/missing_plugins"

_MISSING_HEADER = """\
# What happens with lines whose plugin does not exist: the answer given when the
# package was installed or upgraded. See missing_plugins in qpsmtpd-config(5).
"""
_STDERR = 2

Run = Callable[[Sequence[str]], bool]


def packages_of(status: Path) -> set[str]:
    """The packages that dpkg's status file calls unpacked or more."""
    with status.open(encoding="utf-8", errors="replace") as file:
        return {
            paragraph["Package"]
            for paragraph in Packages.iter_paragraphs(file, use_apt_pkg=False)
            if paragraph["Status"].split()[-1]
            not in ("not-installed", "config-files", "half-installed")
        }


def run(command: Sequence[str]) -> bool:
    """Run a command, which reports its own errors; whether it succeeded."""
    try:
        done = subprocess.run(  # noqa: S603 - commands of ours
            command, stdin=subprocess.DEVNULL, stdout=_STDERR, check=False, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        note(f"{command[0]}: {error}")
        return False
    return done.returncode == 0


def note(text: str) -> None:
    """Tell the administrator something."""
    print(f"qpsmtpd: {text}", file=sys.stderr)


def read_answers(db: Debconf, facts: Facts) -> tuple[Answers, list[str]]:
    """What debconf holds, made usable, and notes about it."""
    return settle({question.name: db.get(question.name) for question in QUESTIONS}, facts)


# --- stage --------------------------------------------------------------------------------------


def stage(root: Path, db: Debconf, facts: Facts, directory: Path) -> None:
    """Write what ucf has to put into place below `directory`.

    Left out are files that differ from those in place only by comments of the administrator; not
    those in place word for word, as ucf may have been interrupted before it noted that.  Files of
    the Perl version that say nothing more are replaced at once: ucf does not know them and would
    ask.
    """
    answers, notes = read_answers(db, facts)
    for text in notes:
        note(text)
    files = render(answers)
    del files[f"/{SETTINGS}"]  # ours alone: written by `apply`
    if (root / SOCKET).exists() and not (root / LISTENED).exists():
        write_atomically(root / LISTENED, text_of(root / SOCKET))
    staged = {}
    for path, text in files.items():
        target = root / path.lstrip("/")
        if not target.is_file() and os.path.lexists(target):
            note(
                f"{path} is not a file and is left alone: "
                "remove it, then run dpkg-reconfigure qpsmtpd"
            )
            continue
        current = text_of(target) if target.exists() else None
        if current is not None and leftovers.replaceable(current, text, facts):
            write_atomically(target, text)
        elif current not in (None, text) and lines_of(current or "") == lines_of(text):
            continue
        staged[path.lstrip("/")] = text
    assure_room({root / path: text for path, text in staged.items()})
    for path, text in staged.items():
        write_atomically(directory / path, text)
    if FILTERS in staged and _is_to_be_shown(root, db, facts):
        print(f"/{FILTERS}")


def _is_to_be_shown(root: Path, db: Debconf, facts: Facts) -> bool:
    """Whether filters of the administrator's own stand in the way of a level chosen just now.

    By itself ucf says nothing if the level is the one that it put into place the last time.
    """
    chosen = db.command("FGET", PROTECTION, "pending") == (0, "true")
    return chosen and (root / FILTERS).exists() and not of_filters(text_of(root / FILTERS))


# --- apply --------------------------------------------------------------------------------------


def apply(root: Path, db: Debconf, facts: Facts, execute: Run, owner: Owner, old: str = "") -> str:
    """Users, groups, directories and leftovers; returns what has to be done with the service."""
    answers, _ = read_answers(db, facts)
    if old and Version(old) < Version(FIRST_VERSION):
        leftovers.remove_overrides(root, execute)
    for text in leftovers.find(root):
        note(text)
    answers = join_or_leave_postdrop(root, answers, execute)
    if answers.method == "maildir":
        _make_maildir(root, answers.maildir, owner)
    configuration = root / "etc/qpsmtpd"
    for secret in (configuration / "flat_auth_pw", *configuration.glob("dkim/*/*private")):
        protect(secret, owner.gid)
    if facts.missing:
        _leave_out(root, db, why_missing(root))
    for question in QUESTIONS:
        db.command("FSET", question.name, "pending", "false")
    if answers.startup_enabled and not answers.wanted:
        note(f"not started: {_why_not(answers)}; see 'dpkg-reconfigure qpsmtpd'")
    verdict = "stop"
    if answers.wanted:
        verdict = "restart" if _listens_elsewhere(root) else "start"
    if verdict != "restart":
        (root / LISTENED).unlink(missing_ok=True)
    return verdict


def _why_not(answers: Answers) -> str:
    if answers.inside:
        return "it is to work inside Postfix, which is not there"
    return "it has no delivery method yet"


def tell_postfix(machine: Machine, verdict: str) -> None:
    """Say what Postfix has to be told by its administrator: to ask us, or not any more."""
    fronts = front_addresses(machine) if verdict != "remove" else []
    if verdict == "stop":
        fronts = [address for address in fronts if address.path != MILTER_SOCKET]
    for finding in untold(machine, fronts, MILTER_SOCKET):
        note(f"{finding.text}. {finding.advice}")
        for command in finding.commands:
            print(f"  {command}", file=sys.stderr)


def _listens_elsewhere(root: Path) -> bool:
    before, now = (lines_of(text_of(root / path)) for path in (LISTENED, SOCKET))
    return (root / LISTENED).exists() and before != now


def join_or_leave_postdrop(root: Path, answers: Answers, execute: Run) -> Answers:
    """Write the settings, and put the user into the group postdrop if Postfix needs that.

    The settings remember that it was us, to remove the user when the method changes.  They say so
    from before the user joins until after it has left, so that no interruption makes us forget it.
    """
    before = variables(root / SETTINGS)
    ours = before.get("POSTDROP_ADDED") == "true" or (
        "SERVER" in before and before.get("QUEUE_PLUGIN") == "postfix"  # the Perl version did
    )
    members = _members(root, POSTDROP)
    if answers.method == "postfix":
        joins = members is not None and USER not in members
        answers = dataclasses.replace(answers, postdrop_added=ours or joins)
        _write_settings(root, answers)
        if members is None:
            note("no group postdrop yet: the user qpsmtpd joins it when Postfix is installed")
        if joins:
            execute(("adduser", "--quiet", USER, POSTDROP))
        return answers
    if ours and members and USER in members:
        execute(("deluser", "--quiet", USER, POSTDROP))
    _write_settings(root, answers)
    return answers


def _members(root: Path, group: str) -> list[str] | None:
    for line in text_of(root / "etc/group").splitlines():
        name, _, rest = line.partition(":")
        if name == group:
            return rest.rpartition(":")[2].split(",")
    return None


def _write_settings(root: Path, answers: Answers) -> None:
    write_atomically(root / SETTINGS, render(answers)[f"/{SETTINGS}"])


def _leave_out(root: Path, db: Debconf, missing: Mapping[str, str]) -> None:
    """Let the daemon start without these plugins if the administrator agreed; name them anyway.

    missing: what is to be said of each line.
    """
    path = root / MISSING_PLUGINS
    if db.get(LEAVE_OUT) == "true" and not lines_of(text_of(path)):
        write_atomically(path, f"{text_of(path) or _MISSING_HEADER}skip\n")
    skipped = lines_of(text_of(path))[:1] == ["skip"]
    for line, reason in missing.items():
        note(f"{line}: {'left out' if skipped else 'it cannot start with this'}: {reason}")
    if not skipped:
        note(
            "remove these lines and start it (systemctl restart qpsmtpd), or have them left out "
            "(dpkg-reconfigure qpsmtpd)"
        )


def missing_in(root: Path) -> tuple[str, ...]:
    """The lines of the configuration whose plugin is missed, as "FILE:NUMBER: LINE"."""
    return tuple(why_missing(root))


def why_missing(root: Path) -> dict[str, str]:
    """The same, with what is to be said of each: what can stand in.  No plugin is run."""
    files = ConfigFiles([root / "etc/qpsmtpd"])
    try:
        finder = PluginFinder([root / line.lstrip("/") for line in files.lines("plugin_dirs")])
        found = list(missing_lines(files, finder))
    except ConfigError:
        return {}  # check-config says what is wrong
    start = len(str(root).rstrip("/"))
    return {f"{entry.where[start:]}: {entry.text}": str(why) for entry, why in found}


def _make_maildir(root: Path, path: str, owner: Owner) -> None:
    try:
        make_maildir(root / path.lstrip("/"), owner)
    except OSError as error:
        note(f"{path} could not be created: {error.strerror}")


def main(arguments: Sequence[str]) -> int:
    """Do one of the steps."""
    match arguments:
        case ["tell", verdict]:
            tell_postfix(Machine(), verdict)
            return 0
    try:
        with open(3, "wb", closefd=False) as commands:
            return _do(arguments, system_root(), Debconf(commands, sys.stdin.buffer))
    except OSError as error:
        note(f"{error.filename or 'stopped'}: {error.strerror}")
        return 1


def _do(arguments: Sequence[str], root: Path, db: Debconf) -> int:
    facts = dataclasses.replace(detect(root, packages_of), missing=missing_in(root))
    match arguments:
        case ["stage", directory]:
            stage(root, db, facts, Path(directory))
        case ["apply", *old]:
            owner = Owner(pwd.getpwnam(USER).pw_uid, grp.getgrnam(USER).gr_gid)
            print(apply(root, db, facts, run, owner, "".join(old)))
        case _:
            known = "stage DIRECTORY, apply [OLD_VERSION], tell VERDICT"
            note(f"{' '.join(arguments)!r} is none of {known}")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
