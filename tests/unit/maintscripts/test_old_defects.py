# SPDX-License-Identifier: MIT
"""What was wrong with the package of the Perl version (0.94), one test for each of its faults."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from maintscripts import configure
from maintscripts.answers import settle
from maintscripts.ask import (
    LISTEN,
    METHOD,
    NONE_CONFIRM,
    PROXY,
    RCPTHOSTS,
    STARTUP,
    Facts,
    ask,
    detect,
    recall,
)
from maintscripts.ownership import Owner
from maintscripts.render import render
from tests.unit.maintscripts.fake_debconf import FakeDebconf
from tests.unit.maintscripts.perl_files import write_perl_files
from tests.unit.maintscripts.test_configure import Machine, machine
from tests.unit.scripts import a_script

CHECKOUT = Path(__file__).resolve().parents[3]
SCRIPTS = {
    name: (CHECKOUT / f"debian/qpsmtpd.{name}").read_text()
    for name in ("preinst.in", "postinst", "prerm", "postrm", "config.in")
}
POSTFIX = Facts(mta="postfix", local_domains={"postfix": ("example.com",)})
SETTINGS = "etc/qpsmtpd/debconf-settings"


def code_of(name: str) -> str:
    lines = SCRIPTS[name].splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def files(values: dict[str, str], facts: Facts) -> dict[str, str]:
    return render(settle(values, facts)[0])


def test_blank_proxy_destination_is_localhost() -> None:
    text = files({METHOD: "proxy", PROXY: ""}, Facts())["/etc/qpsmtpd/debian-queue-method"]
    assert "\nqueue/smtp-forward localhost 25\n" in text


@pytest.mark.parametrize("confirmed", ["", "false"])
def test_unconfirmed_none_is_not_endless_without_a_user(confirmed: str) -> None:
    values = {STARTUP: "true", METHOD: "none", NONE_CONFIRM: confirmed}
    db = FakeDebconf({name: value for name, value in values.items() if value})
    assert ask(db, Facts()) == 0


def test_unconfirmed_none_does_not_trap_a_user() -> None:
    """Somebody who said "none" elsewhere and now says no is asked for the method, and may go on."""
    preseeded = {STARTUP: "true", METHOD: "none", LISTEN: ""}
    screen: dict[str, str | list[str]] = {NONE_CONFIRM: "false", METHOD: "postfix"}
    db = FakeDebconf(preseeded, screen=screen, priority="high")
    assert ask(db, POSTFIX) == 0
    assert db.names_shown()[:2] == ["queue_none_confirm", "queue_plugin"]
    assert db.values[METHOD] == "postfix"


def test_all_addresses_can_be_chosen_and_include_ipv6() -> None:
    for answer in ("", "unset"):
        path = "/etc/systemd/system/qpsmtpd.socket.d/debconf.conf"
        text = files({LISTEN: answer}, Facts())[path]
        assert re.findall("^ListenStream=(.+)", text, re.MULTILINE) == ["25"]
        assert "BindIPv6Only=both" in text


def test_addresses_are_not_pinned_at_installation() -> None:
    db = FakeDebconf(screen={STARTUP: "true"})
    ask(db, POSTFIX)
    assert (LISTEN, "") in db.shown


def test_config_needs_essential_programs_only() -> None:
    text = code_of("config.in") + (CHECKOUT / "maintscripts/ask.py").read_text()
    for program in ("ifconfig", "perl", "bash", "awk"):
        assert program not in text
    assert SCRIPTS["config.in"].startswith("#!/bin/sh\n")


def test_a_blank_method_does_not_slip_through() -> None:
    assert settle({METHOD: ""}, Facts())[0].method == "none"
    assert not settle({METHOD: "", STARTUP: "true"}, Facts())[0].wanted
    db = FakeDebconf({STARTUP: "true"}, screen={NONE_CONFIRM: ["false", "true"]}, priority="high")
    assert ask(db, Facts()) == 0
    assert db.names_shown() == ["queue_plugin", "queue_none_confirm"] * 2


def test_a_terminal_that_has_gone_is_not_asked_for_ever() -> None:
    """debconf says then that the question was shown, and the value is what it was."""
    assert ask(FakeDebconf(screen={STARTUP: "true", METHOD: "none"}), Facts()) == 0


def test_no_other_package_is_asked_through_debconf() -> None:
    db = FakeDebconf(screen={STARTUP: "true"})
    used: set[str] = set()
    command = db.command
    db.command = lambda *words: (used.update(words[1:2]), command(*words))[1]  # type: ignore[func-returns-value, method-assign]
    ask(db, Facts(mta="exim"))
    assert all(word.startswith("qpsmtpd/") for word in used if "/" in word)
    assert len(used) > 5


def test_lists_of_exim_are_split_at_colons_and_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "etc/exim4/update-exim4.conf.conf"
    path.parent.mkdir(parents=True)
    path.write_text("dc_other_hostnames='a.example;b.example'\ndc_relay_domains='c.example:d'\n")
    found = detect(tmp_path, postconf=lambda *_: "").local_domains["exim"]
    assert found == ("a.example", "b.example", "c.example", "d")


def test_macros_of_postfix_are_not_taken_for_domains(tmp_path: Path) -> None:
    facts = detect(tmp_path, postconf=lambda *_: "$myhostname, localhost.$mydomain, a.example \n")
    assert facts.local_domains["postfix"] == ("a.example",)


def test_unset_is_never_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_perl_files(tmp_path)  # installed, and never enabled
    old = machine(tmp_path, {LISTEN: "unset", RCPTHOSTS: "unset"}, facts=None)
    recall(old.db, old.facts)
    old.configure("0.94-5")
    texts = [path.read_text() for path in (tmp_path / "etc").rglob("*") if path.is_file()]
    assert not any("unset" in text for text in texts)
    assert capsys.readouterr().err == ""


def test_edits_are_read_back(tmp_path: Path) -> None:
    edited = machine(tmp_path, {METHOD: "postfix", RCPTHOSTS: "a.example"}, facts=None)
    edited.configure()
    edited.write("etc/qpsmtpd/debian-rcpthosts", "a.example\nb.example\n")
    edited.write("etc/qpsmtpd/debian-queue-method", "queue/maildir /srv/mail\n")
    recall(edited.db, edited.facts)
    assert edited.db.values[RCPTHOSTS] == "a.example b.example"
    assert edited.db.values[METHOD] == "maildir"


def test_postdrop_without_postfix_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = machine(tmp_path, {METHOD: "postfix"})
    early.write("etc/group", "root:x:0:\n")
    early.configure()
    assert early.commands == []
    assert "no group postdrop yet" in capsys.readouterr().err
    assert 'POSTDROP_ADDED="false"' in early.read(SETTINGS)
    early.write("etc/group", "postdrop:x:105:\n")  # and Postfix triggers us
    early.configure()
    assert early.commands == [("adduser", "--quiet", "qpsmtpd", "postdrop")]


def test_mail_systems_that_come_later_trigger_us() -> None:
    lines = (CHECKOUT / "debian/qpsmtpd.triggers").read_text().splitlines()
    triggers = {line.split()[1] for line in lines if line.startswith("interest-noawait ")}
    called = re.findall(r"dpkg-trigger --no-await (\S+)", code_of("postinst"))
    assert called == ["qpsmtpd-mail-system"]
    plugins = "/usr/share/qpsmtpd/plugins"  # of other packages
    assert triggers == {"/usr/sbin/exim4", "/usr/sbin/postdrop", plugins, *called}
    assert '"$task" = triggered' in code_of("postinst")


def test_postdrop_is_joined_once(tmp_path: Path) -> None:
    member = machine(tmp_path, {METHOD: "postfix"})
    member.configure()
    member.configure()
    assert member.commands == [("adduser", "--quiet", "qpsmtpd", "postdrop")]


def test_postdrop_members_are_separated_by_commas(tmp_path: Path) -> None:
    member = machine(tmp_path, {METHOD: "postfix"})
    member.write("etc/group", "postdrop:x:105:anna,qpsmtpd,otto\n")
    member.configure()
    assert member.commands == []


def test_postdrop_is_left_when_the_method_changes(tmp_path: Path) -> None:
    member = machine(tmp_path, {METHOD: "postfix"})
    member.configure()
    member.db.values[METHOD] = "none"
    member.configure()
    assert member.commands[1:] == [("deluser", "--quiet", "qpsmtpd", "postdrop")]
    assert 'POSTDROP_ADDED="false"' in member.read(SETTINGS)


def test_postdrop_membership_that_is_not_ours_stays(tmp_path: Path) -> None:
    member = machine(tmp_path, {METHOD: "postfix"})
    member.write("etc/group", "postdrop:x:105:qpsmtpd\n")
    member.configure()
    member.db.values[METHOD] = "none"
    member.configure()
    assert member.commands == []


def test_postdrop_membership_of_the_perl_version_is_ours(tmp_path: Path) -> None:
    write_perl_files(tmp_path, "postfix", "queue/postfix-queue", "example.com")
    old = machine(tmp_path, {METHOD: "none"})
    old.write("etc/group", "postdrop:x:105:qpsmtpd\n")
    old.configure("0.94-8")
    assert old.commands == [("deluser", "--quiet", "qpsmtpd", "postdrop")]


def test_postdrop_interrupted(tmp_path: Path) -> None:
    """The settings say that it was us before it is done: a second run finishes it, and knows."""
    cut = machine(tmp_path, {METHOD: "postfix"})
    cut.stage()
    owner = Owner(0, 0)

    def crash(command: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        configure.apply(tmp_path, cut.db, cut.facts, crash, owner)
    cut.write("etc/group", "postdrop:x:105:qpsmtpd\n")  # adduser had got that far
    cut.configure()
    assert 'POSTDROP_ADDED="true"' in cut.read(SETTINGS)


def test_statoverrides_of_the_perl_version_go_and_none_come(tmp_path: Path) -> None:
    old = machine(tmp_path)
    old.write("var/lib/dpkg/statoverride", "qpsmtpd adm 2755 /var/run/qpsmtpd\n")
    old.configure("0.94-5")
    assert old.commands == [
        ("dpkg-statoverride", "--quiet", "--remove", "/var/run/qpsmtpd"),
        ("adduser", "--quiet", "qpsmtpd", "postdrop"),
    ]
    assert all("dpkg-statoverride" not in code_of(name) for name in SCRIPTS)


@pytest.mark.parametrize("old_version", ["", "2.0.0-1"])
def test_statoverrides_of_the_administrator_stay(tmp_path: Path, old_version: str) -> None:
    new = machine(tmp_path, {METHOD: "none"})
    new.write("var/lib/dpkg/statoverride", "qpsmtpd qpsmtpd 2700 /var/spool/qpsmtpd\n")
    new.configure(old_version)
    assert new.commands == []


def test_debconf_is_let_go_before_anything_starts() -> None:
    code = code_of("postinst")
    stop = code.index("\ndb_stop\n")
    starts = [match.start() for match in re.finditer("deb-systemd-invoke", code)]
    assert starts
    assert all(stop < start for start in starts)


def test_a_service_that_does_not_start_fails_no_installation() -> None:
    code = code_of("postinst")
    starting = code[code.rindex('case "$verdict"') :]
    shell = f"""set -e
        verdict=$1
        deb-systemd-invoke() {{ return 1; }}
        {starting.replace("deb-systemd-invoke", "deb_systemd_invoke")}"""
    for verdict in ("start", "restart", "stop"):
        done = subprocess.run(
            (
                "sh",
                "-c",
                shell.replace("deb-systemd-invoke()", "deb_systemd_invoke()"),
                "sh",
                verdict,
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told = "qpsmtpd doctor" in done.stderr and "systemctl status" in done.stderr
        assert told == (verdict != "stop")


def test_unknown_arguments_of_postinst_are_errors(tmp_path: Path) -> None:
    library = tmp_path / "confmodule"
    library.write_text("")
    script = SCRIPTS["postinst"].replace("/usr/share/debconf/confmodule", str(library))
    command = ("sh", "-c", script, "postinst", "frobnicate")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "frobnicate" in done.stderr


def test_the_init_script_goes() -> None:
    lines = (CHECKOUT / "debian/qpsmtpd.maintscript").read_text().splitlines()
    assert ["rm_conffile", "/etc/init.d/qpsmtpd"] in [shlex.split(line)[:2] for line in lines]
    assert "invoke-rc.d qpsmtpd stop" in code_of("preinst.in")


@pytest.mark.parametrize("script", sorted(set(SCRIPTS) - {"config.in"}))
def test_systemctl_is_left_to_its_helper(script: str) -> None:
    """Which asks policy-rc.d first; lintian looks at this too."""
    assert not re.search(r"^\s*systemctl\b", code_of(script), re.MULTILINE)


def purge(root: Path, *, ucf: bool = False, rm: str = "") -> list[str]:
    """Run postrm purge on the files below a directory; what ucf was told, if it is there.

    rm: lines of a script in place of that program.  Nothing else is there but programs of essential
    packages; that of this machine must not be found.
    """
    programs, told = root.with_name("programs"), root.with_name("told")
    programs.mkdir(exist_ok=True)
    for name in ("find", "grep", "rm", "rmdir", "sh"):
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to(shutil.which(name) or name)
    if rm:
        (programs / "rm").unlink()
        a_script(programs / "rm", rm)
    for name in ("ucf", "ucfr") if ucf else ():
        a_script(programs / name, f'echo "{name} $*" >>{told}')
    script = re.sub(r"(?<![\w.])(?=/(?:etc|var|run)/)", str(root), SCRIPTS["postrm"])
    command = (str(programs / "sh"), "-c", script, "postrm", "purge")
    subprocess.run(command, check=True, env={"PATH": str(programs)}, capture_output=True)
    return told.read_text().replace(str(root), "").splitlines() if told.exists() else []


def test_purge_makes_ucf_forget(tmp_path: Path) -> None:
    told = purge(tmp_path / "root", ucf=True)
    assert told[:2] == [
        "ucf --purge /etc/qpsmtpd/debian-queue-method",
        "ucfr --purge qpsmtpd /etc/qpsmtpd/debian-queue-method",
    ]
    assert len(told) == 12


def test_purge_leaves_mail_and_nothing_else(tmp_path: Path) -> None:
    Machine(tmp_path, FakeDebconf(), POSTFIX).configure()
    mail = "var/spool/qpsmtpd/Maildir/new/1.host"
    for path in (
        *("var/lib/qpsmtpd/greylisting/db", "var/lib/qpsmtpd/karma.sqlite", "var/spool/qpsmtpd/x"),
        *("var/log/qpsmtpd/qpsmtpd.log", "var/log/qpsmtpd/qpsmtpd.log.1.gz", mail),
        *("etc/qpsmtpd/debian-rcpthosts.ucf-old", "run/qpsmtpd-listened"),
        *("etc/qpsmtpd/.debconf-settings.new", "etc/qpsmtpd/flat_auth_pw"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "etc/group").unlink()
    (tmp_path / "stage").rename(tmp_path.with_name("stage"))
    purge(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {mail, "etc/qpsmtpd/flat_auth_pw"}
    assert not (tmp_path / "var/log/qpsmtpd").exists()
    assert not (tmp_path / "etc/systemd/system/qpsmtpd.socket.d").exists()


def test_purge_twice_and_without_anything(tmp_path: Path) -> None:
    purge(tmp_path)
    purge(tmp_path)


def test_purge_follows_no_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").touch()
    (tmp_path / "var/log").mkdir(parents=True)
    (tmp_path / "var/log/qpsmtpd").symlink_to(tmp_path / "elsewhere")
    purge(tmp_path)
    assert (tmp_path / "elsewhere/file").exists()


def test_purge_gives_no_path_to_a_program(tmp_path: Path) -> None:
    """Between its search and its end, a part of the path could become a link to elsewhere."""
    victim = tmp_path / "elsewhere"
    for path in ("elsewhere/x", "root/var/lib/qpsmtpd/a/x", "root/var/lib/qpsmtpd/new/y"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    directory = tmp_path / "root/var/lib/qpsmtpd/a"
    swap = f"mv {directory} {directory}.old; ln -s {victim} {directory}"
    swapping = f'case "$*" in *{directory}/x*) {swap} ;; esac'
    purge(tmp_path / "root", rm=f'PATH=/usr/bin:/bin\n{swapping}\nexec rm "$@"')
    assert (victim / "x").exists()
    assert not directory.exists()
    assert (directory.parent / "new/y").exists()


def test_the_user_is_kept() -> None:
    code = code_of("postrm")
    assert "userdel" not in code
    assert re.findall(r"deluser --.*", code) == ["deluser --quiet qpsmtpd postdrop || true"]


def test_passwords_are_not_for_everybody(tmp_path: Path) -> None:
    secret = machine(tmp_path)
    secret.write("etc/qpsmtpd/flat_auth_pw", "user:password\n")
    secret.configure()
    assert not (tmp_path / "etc/qpsmtpd/flat_auth_pw").stat().st_mode & 0o007
