# SPDX-License-Identifier: MIT
"""In the guest: what happens to the installed package later: changes, upgrades, its removal."""

from __future__ import annotations

import pwd
import socket
from collections.abc import Callable
from pathlib import Path

from tests.packaging.guest import service
from tests.packaging.guest.apt import (
    QUEUE_METHOD,
    RCPTHOSTS,
    SAMPLE,
    apt_get,
    install,
    listed_answers,
    meaning,
    members,
    reconfigure,
)
from tests.packaging.guest.client import DOMAIN, send, wait_until_served
from tests.packaging.guest.clients import open_transaction, undisturbed_clients
from tests.packaging.guest.next_hop import RECIPIENT, messages
from tests.packaging.guest.report import expect, run, wait_for
from tests.packaging.guest.service import LISTEN, MAILDIR, PLUGINS, deliver

CONFIG = Path("/etc/qpsmtpd")


def an_upgrade_disturbs_nobody(mail_system: str) -> None:
    reconfigure({"queue_plugin": "proxy", "queue_smtp_proxy_destination": "127.0.0.1:25"})
    wait_until_served(LISTEN)
    with undisturbed_clients(LISTEN), open_transaction(LISTEN, RECIPIENT, "half_upgrade"):
        install("--reinstall")
    wait_for("the message that was under way", lambda: messages("half_upgrade"))
    deliver("an_upgrade_disturbs_nobody")


def defect_12_edits_survive_an_upgrade(mail_system: str) -> None:
    QUEUE_METHOD.write_text("# edited\nqueue/smtp-forward 127.0.0.1 25 tls=off\n")
    RCPTHOSTS.write_text("example.org\nadded.example\n")
    PLUGINS.write_text(PLUGINS.read_text().replace("\n#arc ", "\narc "))
    install("--reinstall")
    expect("tls=off" in QUEUE_METHOD.read_text(), QUEUE_METHOD.read_text())
    expect(meaning(RCPTHOSTS) == ["example.org", "added.example"], RCPTHOSTS.read_text())
    expect("\narc " in PLUGINS.read_text(), "plugins was replaced")
    expect(service.state("is-active", "qpsmtpd.service") == "active", "it does not run")


def who_disabled_it_by_hand_is_respected(mail_system: str) -> None:
    run("systemctl", "disable", "--now", "qpsmtpd.socket", "qpsmtpd.service")
    install("--reinstall")
    for unit in ("qpsmtpd.socket", "qpsmtpd.service"):
        expect(service.state("is-enabled", unit) == "disabled", f"{unit} is enabled again")
        expect(service.state("is-active", unit) == "inactive", f"{unit} was started")
    run("systemctl", "enable", "--now", "qpsmtpd.socket", "qpsmtpd.service")
    wait_until_served(LISTEN)


def defect_15_a_service_that_cannot_start_fails_no_installation(mail_system: str) -> None:
    good = PLUGINS.read_text()
    PLUGINS.write_text(f"no_such_plugin\n{good}")
    try:
        said = install("--reinstall")
        expect("qpsmtpd doctor" in said, said)
    finally:
        PLUGINS.write_text(good)
    run("systemctl", "restart", "qpsmtpd.socket", "qpsmtpd.service")
    wait_until_served(LISTEN)


def defect_23_passwords_are_not_for_everybody(mail_system: str) -> None:
    path = CONFIG / "flat_auth_pw"
    path.write_text("alice@example.org:secret\n")
    path.chmod(0o644)
    install("--reinstall")
    expect(service.owner(path) == ("root", 0o640), str(service.owner(path)))
    expect(path.group() == "qpsmtpd", f"group {path.group()}")
    path.unlink()


def stops_without_a_delivery_method(mail_system: str) -> None:
    said = reconfigure({"queue_plugin": "none", "queue_none_confirm": "true"})
    expect(service.state("is-active", "qpsmtpd.socket") == "inactive", "the socket is open")
    expect("delivery method" in said, said)


def goes_back_to_the_mail_system(mail_system: str) -> None:
    reconfigure({"queue_plugin": mail_system.removesuffix("4")})
    wait_until_served(LISTEN)
    deliver("goes_back_to_the_mail_system")
    wait_for("message", lambda: messages("goes_back_to_the_mail_system"))


def removal_stops_it_and_keeps_the_configuration(mail_system: str) -> None:
    apt_get("remove", "qpsmtpd")
    with socket.socket() as client:
        expect(client.connect_ex(LISTEN) != 0, "somebody still listens")
    unit = "qpsmtpd-handover.socket"
    wait_for(f"end of {unit}", lambda: service.state("is-active", unit) == "inactive")
    expect(meaning(RCPTHOSTS) == ["example.org", "added.example"], "the domains are gone")
    expect(not _processes(), f"left: {_processes()}")


def comes_back_as_it_was(mail_system: str) -> None:
    install()
    wait_until_served(LISTEN)
    deliver("comes_back_as_it_was")


def defect_22_purge_leaves_mail_and_nothing_else(mail_system: str) -> None:
    (MAILDIR / "new").mkdir(parents=True, exist_ok=True)
    (MAILDIR / "new/1.mail").touch()
    apt_get("purge", "qpsmtpd")
    expect((MAILDIR / "new/1.mail").exists(), "mail was deleted")
    left = (CONFIG, Path("/var/log/qpsmtpd"), Path("/var/lib/qpsmtpd"))
    expect(not any(path.exists() for path in left), f"left: {[*map(str, left)]}")
    expect(not any(Path("/etc/systemd/system").rglob("*qpsmtpd.s*")), "units are left")
    expect("qpsmtpd" not in members("postdrop"), "still in the group postdrop")
    expect(not listed_answers().strip(), listed_answers())
    pwd.getpwnam("qpsmtpd")  # KeyError when the owner of the mail is gone
    expect(not _processes(), f"left: {_processes()}")


def without_answers_it_is_ready_but_not_started(mail_system: str) -> None:
    lines = install().strip().splitlines()
    last = [line for line in lines if not line.startswith("Processing triggers for ")][-1]
    expect("installed, and not started: 'dpkg-reconfigure qpsmtpd'" in last, "\n".join(lines))
    expect("not started" not in install("--reinstall"), "it is said every time")
    expect(meaning(QUEUE_METHOD) == [service.QUEUE_PLUGINS[mail_system]], QUEUE_METHOD.read_text())
    expect("unset" not in RCPTHOSTS.read_text() + service.SOCKET_DROP_IN.read_text(), "unset")
    for unit in ("qpsmtpd.socket", "qpsmtpd.service"):
        expect(service.state("is-enabled", unit) == "disabled", f"{unit} is enabled")
        expect(service.state("is-active", unit) == "inactive", f"{unit} was started")
    expect(("qpsmtpd" in members("postdrop")) == (mail_system == "postfix"), "postdrop")
    run("qpsmtpd", "check-config")


def _processes() -> str:
    ours = []
    uid = pwd.getpwnam("qpsmtpd").pw_uid
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.stat().st_uid == uid:
                ours.append(path.read_text().replace("\0", " "))
        except OSError:  # ended meanwhile
            continue
    return ", ".join(ours)


def a_package_with_a_plugin_is_taken_in_by_the_trigger(mail_system: str) -> None:
    good = PLUGINS.read_text()
    PLUGINS.write_text(f"quiet_hours {DOMAIN} begin 0\n{good}")
    before = service.main_pid()
    try:
        said = apt_get("install", SAMPLE)
        expect("qpsmtpd:" not in said, said)
        reply = send(RECIPIENT, "asleep", server=service.SERVER).reply_to("RCPT")
        expect(reply.startswith("450 4.7.1"), f"RCPT was answered {reply!r}")
        said = apt_get("remove", "qpsmtpd-quiet-hours")
        expect("cannot be loaded" in said and "plugins:1" in said, said)
        reply = send(RECIPIENT, "still asleep", server=service.SERVER).reply_to("RCPT")
        expect(reply.startswith("450 4.7.1"), f"the old chain is gone: {reply!r}")
    finally:
        PLUGINS.write_text(good)
    run("systemctl", "reload", "qpsmtpd.service")
    deliver("a_package_with_a_plugin")
    expect(service.main_pid() == before, "another process")


def a_package_with_a_plugin_starts_nothing(mail_system: str) -> None:
    run("systemctl", "disable", "--now", "qpsmtpd.socket", "qpsmtpd.service")
    apt_get("install", SAMPLE)
    expect(service.state("is-active", "qpsmtpd.service") == "inactive", "it was started")
    run("systemctl", "enable", "--now", "qpsmtpd.socket", "qpsmtpd.service")
    apt_get("remove", "qpsmtpd-quiet-hours")
    wait_until_served(LISTEN)


CHECKS: tuple[Callable[[str], None], ...] = (
    an_upgrade_disturbs_nobody,
    defect_12_edits_survive_an_upgrade,
    who_disabled_it_by_hand_is_respected,
    a_package_with_a_plugin_is_taken_in_by_the_trigger,
    a_package_with_a_plugin_starts_nothing,
    defect_15_a_service_that_cannot_start_fails_no_installation,
    defect_23_passwords_are_not_for_everybody,
    stops_without_a_delivery_method,
    goes_back_to_the_mail_system,
    removal_stops_it_and_keeps_the_configuration,
    comes_back_as_it_was,
    defect_22_purge_leaves_mail_and_nothing_else,
    without_answers_it_is_ready_but_not_started,
)
