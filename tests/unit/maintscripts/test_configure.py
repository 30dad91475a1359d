# SPDX-License-Identifier: MIT
"""Tests of configure: the two steps of postinst, below a directory."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from maintscripts import ask, configure
from maintscripts.answers import Answers
from maintscripts.ask import (
    INTEGRATION,
    LISTEN,
    MAILDIR,
    METHOD,
    RCPTHOSTS,
    STARTUP,
    Facts,
    detect,
)
from maintscripts.ownership import Owner
from maintscripts.render import render
from tests.unit.doctor.fakes import FakeMachine
from tests.unit.maintscripts.fake_debconf import FakeDebconf
from tests.unit.maintscripts.perl_files import write_perl_files

POSTFIX = Facts(mta="postfix", local_domains={"postfix": ("example.com",)})
QUEUE_METHOD = "etc/qpsmtpd/debian-queue-method"
DOMAINS = "etc/qpsmtpd/debian-rcpthosts"
SETTINGS = "etc/qpsmtpd/debconf-settings"


class Machine:
    """A system below a directory: what was staged is put into place, commands are recorded."""

    def __init__(self, root: Path, db: FakeDebconf, facts: Facts | None = None) -> None:
        self.root = root
        self.db = db
        self.commands: list[tuple[str, ...]] = []
        self._facts = facts
        self.write("etc/group", "root:x:0:\npostdrop:x:105:\nqpsmtpd:x:106:\n")

    @property
    def facts(self) -> Facts:
        return self._facts or detect(self.root, postconf=lambda *_: "mail.example.org\n")

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def stage(self) -> dict[str, str]:
        directory = self.root / "stage"
        directory.mkdir(exist_ok=True)
        configure.stage(self.root, self.db, self.facts, directory)
        files = [path for path in directory.rglob("*") if path.is_file()]
        staged = {str(path.relative_to(directory)): path.read_text() for path in files}
        for path in files:
            path.unlink()
        return staged

    def apply(self, old: str = "") -> str:
        owner = Owner(os.getuid(), os.getgid())
        return configure.apply(self.root, self.db, self.facts, self._execute, owner, old)

    def configure(self, old: str = "") -> str:
        for path, text in self.stage().items():
            self.write(path, text)
        return self.apply(old)

    def _execute(self, command: Sequence[str]) -> bool:
        self.commands.append(tuple(command))
        members = {"adduser": "qpsmtpd", "deluser": ""}
        if command[0] in members:
            self.write("etc/group", f"postdrop:x:105:{members[command[0]]}\n")
        return True


def machine(
    root: Path, values: dict[str, str] | None = None, facts: Facts | None = POSTFIX
) -> Machine:
    return Machine(root, FakeDebconf(values), facts)


def test_first_installation(tmp_path: Path) -> None:
    new = machine(tmp_path, {STARTUP: "true"})
    staged = new.stage()
    assert sorted(staged) == [
        "etc/qpsmtpd/debian-protection",
        "etc/qpsmtpd/debian-queue-method",
        "etc/qpsmtpd/debian-rcpthosts",
        "etc/qpsmtpd/report_to",
        "etc/systemd/system/qpsmtpd.service.d/debconf.conf",
        "etc/systemd/system/qpsmtpd.socket.d/debconf.conf",
    ]
    assert ask.lines_of(staged[QUEUE_METHOD]) == ["queue/postfix-queue"]
    assert new.apply() == "start"
    assert 'QUEUE_PLUGIN="postfix"' in new.read(SETTINGS)


@pytest.mark.parametrize("level", ask.LEVELS)
def test_the_level_of_filters(tmp_path: Path, level: str) -> None:
    new = machine(tmp_path, {STARTUP: "true", ask.PROTECTION: level})
    new.configure()
    assert ask.lines_of(new.read(ask.FILTERS)) == [f"$include {ask.CHAINS}/{level}"]
    assert f'PROTECTION="{level}"' in new.read(SETTINGS)


@pytest.mark.parametrize("chosen", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_ucf_has_to_show_what_would_replace_filters_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], chosen: bool, own: bool
) -> None:
    """Also if the level is the one of the last time, for which ucf would say nothing."""
    old = machine(tmp_path, {STARTUP: "true"})
    old.configure()
    if own:
        old.write(ask.FILTERS, "$include /etc/qpsmtpd/filters\n")
    again = machine(tmp_path, {STARTUP: "true", ask.PROTECTION: "standard"})
    if chosen:
        again.db.command("FSET", ask.PROTECTION, "pending", "true")
    capsys.readouterr()
    staged = again.stage()
    assert ask.FILTERS in staged
    assert capsys.readouterr().out == (f"/{ask.FILTERS}\n" if chosen and own else "")


def test_the_method_is_written_even_if_nothing_is_started(tmp_path: Path) -> None:
    new = machine(tmp_path)
    assert new.configure() == "stop"
    assert ask.lines_of(new.read(QUEUE_METHOD)) == ["queue/postfix-queue"]


def test_without_a_method_nothing_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert machine(tmp_path, {STARTUP: "true", METHOD: "none"}).configure() == "stop"
    assert "no delivery method" in capsys.readouterr().err


def test_postfix_comes_after_us(tmp_path: Path) -> None:
    late = machine(tmp_path, {STARTUP: "true"}, facts=None)
    assert late.configure() == "stop"
    late.write("var/lib/dpkg/status", "Package: postfix\nStatus: install ok installed\n")
    ask.recall(late.db, late.facts)
    assert late.configure() == "start"
    assert ask.lines_of(late.read(QUEUE_METHOD)) == ["queue/postfix-queue"]
    assert ask.lines_of(late.read(DOMAINS)) == ["mail.example.org"]


def test_idempotent(tmp_path: Path) -> None:
    same = machine(tmp_path, {STARTUP: "true", LISTEN: "192.0.2.1"})
    same.configure()
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*.conf")}
    commands = list(same.commands)
    assert all(same.read(path) == text for path, text in same.stage().items())
    assert same.apply() == "start"
    assert before == {path: path.stat().st_ino for path in tmp_path.rglob("*.conf")}
    assert same.commands == commands


def test_what_is_in_place_is_given_to_ucf_again(tmp_path: Path) -> None:
    """ucf may have been interrupted before it noted what it had put there."""
    cut = machine(tmp_path)
    cut.configure()
    assert {QUEUE_METHOD, DOMAINS, ask.SOCKET} <= set(cut.stage())


def test_comments_of_the_administrator_stay(tmp_path: Path) -> None:
    edited = machine(tmp_path, {RCPTHOSTS: "example.com"})
    edited.configure()
    edited.write(DOMAINS, "# ask Anna before you change this\nexample.com\n")
    assert DOMAINS not in edited.stage()


def test_an_edit_of_the_administrator_is_left_to_ucf(tmp_path: Path) -> None:
    edited = machine(tmp_path, {METHOD: "postfix"})
    edited.configure()
    edited.write(QUEUE_METHOD, "queue/lmtp unix:/run/lmtp\n")
    assert QUEUE_METHOD in edited.stage()
    assert edited.read(QUEUE_METHOD) == "queue/lmtp unix:/run/lmtp\n"


def test_other_addresses_restart_the_socket(tmp_path: Path) -> None:
    moved = machine(tmp_path, {STARTUP: "true", LISTEN: ""})
    assert moved.configure() == "start"
    moved.db.values[LISTEN] = "192.0.2.1"
    assert moved.configure() == "restart"
    assert moved.configure() == "restart"  # as long as postinst has not done it
    (tmp_path / configure.LISTENED).unlink()
    assert moved.configure() == "start"


def test_an_edited_socket_is_not_restarted_by_every_upgrade(tmp_path: Path) -> None:
    edited = machine(tmp_path, {STARTUP: "true"})
    edited.configure()
    edited.write(ask.SOCKET, "[Socket]\nListenStream=/run/x.socket\n")
    assert ask.SOCKET in edited.stage()  # and ucf keeps what is there
    assert edited.apply() == "start"


def test_the_socket_moves_into_postfix_and_back(tmp_path: Path) -> None:
    moved = machine(tmp_path, {STARTUP: "true", LISTEN: "192.0.2.1"})
    moved.configure()
    (before, method) = (moved.read(ask.SOCKET), moved.read(QUEUE_METHOD))
    moved.db.values[INTEGRATION] = "inside"
    assert moved.configure() == "restart"
    lines = ask.lines_of(moved.read(ask.SOCKET))
    assert f"ListenStream={ask.MILTER_SOCKET}" in lines
    assert not [line for line in lines if line.startswith("ListenStream=1")]
    assert moved.read(QUEUE_METHOD) == method
    (tmp_path / configure.LISTENED).unlink()
    moved.db.values[INTEGRATION] = "front"
    assert moved.configure() == "restart"
    assert moved.read(ask.SOCKET) == before


def test_without_the_postfix_to_be_in_nothing_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {STARTUP: "true", INTEGRATION: "inside"}
    assert machine(tmp_path, values, Facts(mta="exim")).configure() == "stop"
    assert "to work inside Postfix, which is not there" in capsys.readouterr().err


TO_ASK = "  postconf -e smtpd_milters=unix:qpsmtpd/milter\n"
NOT_TO_ASK = "  postconf -e smtpd_milters=\n"
OURS, OTHERS = "unix:qpsmtpd/milter", "inet:localhost:8891"


def with_units(root: Path, inside: bool) -> FakeMachine:
    """A machine with the units of the package, and what has been answered."""
    there = FakeMachine(root)
    there.file("/usr/lib/systemd/system/qpsmtpd.socket", "[Socket]\nListenStream=25\n")
    there.file(f"/{ask.SOCKET}", render(Answers(inside=inside))[f"/{ask.SOCKET}"])
    return there


@pytest.mark.parametrize(
    ("inside", "verdict", "milters", "said"),
    [
        (True, "start", "", TO_ASK),
        (True, "restart", OURS, ""),
        (True, "stop", "", ""),
        (True, "stop", OURS, NOT_TO_ASK),
        (True, "remove", OURS, NOT_TO_ASK),
        (True, "remove", "", ""),
        (False, "start", OTHERS, ""),
        (False, "restart", OURS, NOT_TO_ASK),
    ],
)
def test_what_postfix_has_to_be_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    inside: bool,
    verdict: str,
    milters: str,
    said: str,
) -> None:
    there = with_units(tmp_path, inside)
    there.command("postconf -xh queue_directory", "/var/spool/postfix")
    there.command("postconf -M", "smtp inet n - y - - smtpd")
    for option in ("-h", "-xh"):
        there.command(f"postconf {option} smtpd_milters", milters)
    configure.tell_postfix(there, verdict)
    printed = capsys.readouterr().err
    assert (said in printed) if said else not printed
    assert printed.count("systemctl reload postfix") == bool(said)


def test_a_policy_service_beside_the_port_is_asked_rightly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in README.Debian, with a socket unit of its own."""
    there = with_units(tmp_path, inside=False)
    there.file(
        "/etc/systemd/system/qpsmtpd-policy.socket",
        "[Socket]\nListenStream=/var/spool/postfix/qpsmtpd/policy\nFileDescriptorName=policy\n"
        "Service=qpsmtpd.service\n",
    )
    there.command("postconf -xh queue_directory", "/var/spool/postfix")
    there.command("postconf -M", "smtp inet n - y - - smtpd")
    asked = "check_policy_service unix:qpsmtpd/policy"
    there.command("postconf -xh smtpd_recipient_restrictions", asked)
    configure.tell_postfix(there, "start")
    assert not capsys.readouterr().err
    configure.tell_postfix(there, "remove")
    assert "names unix:qpsmtpd/policy, where qpsmtpd does not listen" in capsys.readouterr().err


def test_without_postfix_nobody_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure.tell_postfix(with_units(tmp_path, inside=True), "start")
    assert not capsys.readouterr().err


def test_answers_are_pending_until_everything_is_done(tmp_path: Path) -> None:
    answered = machine(tmp_path)
    answered.db.flags.add((METHOD, "pending"))
    answered.stage()
    assert (METHOD, "pending") in answered.db.flags
    answered.apply()
    assert (METHOD, "pending") not in answered.db.flags


def test_the_maildir_is_made(tmp_path: Path) -> None:
    machine(tmp_path, {METHOD: "maildir", MAILDIR: "/srv/mail/Maildir"}).configure()
    assert (tmp_path / "srv/mail/Maildir/new").is_dir()


def test_a_maildir_that_cannot_be_made_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = machine(tmp_path, {METHOD: "maildir", MAILDIR: "/srv/mail/Maildir"})
    blocked.write("srv", "a file")
    blocked.configure()
    assert "/srv/mail/Maildir could not be created" in capsys.readouterr().err


def test_secrets_are_protected(tmp_path: Path) -> None:
    secret = machine(tmp_path)
    files = ("flat_auth_pw", "dkim/a.example/private", "dkim/a.example/s.private")
    for file in files:
        secret.write(f"etc/qpsmtpd/{file}", "user:password\n")
    secret.write("etc/qpsmtpd/dkim/a.example/selector", "s\n")
    secret.configure()
    for file in files:
        assert (tmp_path / "etc/qpsmtpd" / file).stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "etc/qpsmtpd/dkim/a.example/selector").stat().st_mode & 0o777 == 0o644


def test_upgrade_from_the_perl_version(tmp_path: Path) -> None:
    write_perl_files(
        tmp_path, "proxy", "queue/smtp-forward mail 26", "example.com $mydomain", "192.0.2.1 "
    )
    old = machine(tmp_path, facts=None)
    ask.recall(old.db, old.facts)
    assert old.configure("0.94-8") == "start"
    assert ask.lines_of(old.read(DOMAINS)) == ["example.com"]
    assert ask.lines_of(old.read(QUEUE_METHOD)) == ["queue/smtp-forward mail 26"]
    socket = old.read("etc/systemd/system/qpsmtpd.socket.d/debconf.conf")
    assert "ListenStream=192.0.2.1:25" in socket
    assert "SERVER" not in old.read(SETTINGS)


def test_the_status_of_dpkg_is_read_alike_by_both_readers(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: a\nStatus: install ok installed\nDescription: x\n text\n .\n text\n\n"
        "Package: b\nStatus: deinstall ok config-files\n\n"
        "Package: c\nStatus: install ok half-configured\nVersion: 1\n\n"
        "Package: d\nStatus: install reinstreq half-installed\n\n"
        "Package: e\nStatus: unknown ok not-installed\n\n"
        "Package: f\nStatus: hold ok triggers-pending\n"
    )
    assert configure.packages_of(status) == ask.packages_of(status) == {"a", "c", "f"}


def test_a_command_that_cannot_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert not configure.run(("/nonexistent",))
    assert "/nonexistent" in capsys.readouterr().err
    assert configure.run(("true",))
    assert not configure.run(("false",))


def test_what_is_no_file_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = machine(tmp_path)
    (tmp_path / DOMAINS).mkdir(parents=True)
    (tmp_path / QUEUE_METHOD).symlink_to("/srv/not/mounted")
    staged = odd.stage()
    assert ask.SOCKET in staged
    assert not {DOMAINS, QUEUE_METHOD} & set(staged)
    said = capsys.readouterr().err
    assert f"/{DOMAINS} is not a file" in said
    assert f"/{QUEUE_METHOD} is not a file" in said


def test_a_disk_that_is_full_is_reported_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/etc/qpsmtpd/debian-rcpthosts")

    monkeypatch.setattr(configure, "_do", fails)
    monkeypatch.setattr("builtins.open", lambda *arguments, **options: io.BytesIO())
    assert configure.main(["stage", str(tmp_path)]) == 1
    said = "qpsmtpd: /etc/qpsmtpd/debian-rcpthosts: No space left on device\n"
    assert capsys.readouterr().err == said
