# SPDX-License-Identifier: MIT
"""In the guest: inside Postfix, as its milter, and back in front of it.

The checks follow those of guest/life.py, in a system that the package was purged from.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.packaging.guest import service
from tests.packaging.guest.apt import apt_get, install, preseed, reconfigure
from tests.packaging.guest.client import DOMAIN, send, wait_until_served
from tests.packaging.guest.life import CONFIG
from tests.packaging.guest.next_hop import ADDRESS, RECIPIENT, messages
from tests.packaging.guest.report import expect, run, wait_for
from tests.packaging.guest.service import LISTEN, deliver

POSTFIX = f"{ADDRESS[0]}:{ADDRESS[1]}"
BAD_SENDER = "bad@sender.example"


def run_what_is_printed(said: str) -> list[str]:
    """Run the commands in what the package said, as the administrator would."""
    commands = re.findall(r"^  ((?:postconf|systemctl) .*)$", said, re.MULTILINE)
    for command in commands:
        run("sh", "-exc", command)
    return commands


def findings() -> list[dict[str, Any]]:
    """What the doctor finds, but for the name servers, which are not there."""
    done = subprocess.run(("qpsmtpd", "doctor", "--json"), stdout=subprocess.PIPE, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return [each for each in found if each["area"] != "DNS"]


def expect_a_satisfied_doctor(text: str = "") -> None:
    """It complains of nothing, and says this."""
    found = findings()
    wrong = [each for each in found if each["severity"] in ("warning", "error")]
    expect(not wrong, str(wrong))
    expect(not text or text in [each["text"] for each in found], str(found))


def expect_asked(subject: str) -> None:
    """By way of Postfix a good message arrives, and one that we do not want is refused."""
    with (CONFIG / "badmailfrom").open("a") as file:
        file.write(f"{BAD_SENDER}\n")
    run("systemctl", "reload", "qpsmtpd")
    good = send(RECIPIENT, subject, server=POSTFIX)
    expect(good.data_reply.startswith("250 "), good.transcript)
    wait_for("message", lambda: messages(subject))
    bad = send(RECIPIENT, f"{subject}-bad", server=POSTFIX, sender=BAD_SENDER)
    expect("<** 55" in bad.transcript, bad.transcript)
    expect("not accepted here" in bad.transcript, bad.transcript)


def postfix_takes_mail(subject: str) -> None:
    taken = send(RECIPIENT, subject, server=POSTFIX).data_reply
    expect(taken.startswith("250 "), taken)


def a_preseeded_milter_is_asked_by_postfix(mail_system: str) -> None:
    """It has neither a port nor a list of them, and Postfix's configuration is not touched."""
    apt_get("purge", "qpsmtpd")
    preseed({"startup_enabled": "boolean true", "integration": "select inside"})
    said = install()
    if mail_system != "postfix":
        expect("it is to work inside Postfix, which is not there" in said, said)
        expect(service.state("is-active", "qpsmtpd.socket") == "inactive", "it listens")
        return
    expect(not run("postconf", "-h", "smtpd_milters").strip(), "somebody else has set it")
    postfix_takes_mail("not-asked-yet")
    commands = run_what_is_printed(said)
    expect(commands[0] == "postconf -e smtpd_milters=unix:qpsmtpd/milter", said)
    with socket.socket() as client:
        expect(client.connect_ex(LISTEN) != 0, "it has a port")
    run("qpsmtpd", "check-config")
    expect_asked("inside")
    expect_a_satisfied_doctor("is asked by Postfix")


def in_front_again_postfix_is_told_not_to_ask(mail_system: str) -> None:
    if mail_system != "postfix":
        said = reconfigure({"integration": "front", "listen_interfaces": LISTEN[0]})
        expect("postconf" not in said, said)
    else:
        answers = {"listen_interfaces": LISTEN[0], "rcpthosts": DOMAIN}
        said = reconfigure({"integration": "front", **answers})
        text = "smtpd_milters names unix:qpsmtpd/milter, where qpsmtpd does not listen"
        (wrong,) = (each for each in findings() if text in each["text"])
        refused = send(RECIPIENT, "asked-in-vain", server=POSTFIX).transcript
        expect("<** 4" in refused, refused)
        commands = run_what_is_printed(said)
        expect(commands == wrong["commands"], f"{commands}: {wrong}")
        postfix_takes_mail("not-asked-any-more")
        expect_a_satisfied_doctor()
    wait_until_served(LISTEN)
    deliver("in_front_again")
    wait_for("message", lambda: messages("in_front_again"))


def who_removes_a_milter_is_told_what_postfix_needs(mail_system: str) -> None:
    """Also of one that is in front again already: its socket is still there."""
    if mail_system == "postfix":
        run_what_is_printed(reconfigure({"integration": "inside"}))
        expect_asked("inside-again")
        expect("postconf" not in install("--reinstall"), "Postfix does ask")
        reconfigure({"integration": "front"})
    said = apt_get("remove", "qpsmtpd")
    expect(bool(run_what_is_printed(said)) == (mail_system == "postfix"), said)
    if mail_system == "postfix":
        postfix_takes_mail("removed")
    apt_get("purge", "qpsmtpd")
    expect(not Path("/var/spool/postfix/qpsmtpd").exists(), "left in the directory of Postfix")


CHECKS: tuple[Callable[[str], None], ...] = (
    a_preseeded_milter_is_asked_by_postfix,
    in_front_again_postfix_is_told_not_to_ask,
    who_removes_a_milter_is_told_what_postfix_needs,
)
