# SPDX-License-Identifier: MIT
"""In the guest: the installed package, with its default answers, refuses recipients that Debian's
mail system does not have, and so nothing bounces; and it tells genuine senders from forged ones
(guest/sender_authentication.py).

Called as `python3 -m tests.packaging.guest.recipients MAIL_SYSTEM`.
"""

from __future__ import annotations

import smtplib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.packaging.guest import sender_authentication
from tests.packaging.guest.client import CLIENT_ADDRESS, DOMAIN, SENDER, wait_until_served
from tests.packaging.guest.next_hop import (
    ADDRESS,
    EXIM_LOG,
    EXIM_OVERRIDE,
    MAIL_SYSTEMS,
    RECIPIENT,
    USER,
    messages,
)
from tests.packaging.guest.report import (
    PATIENCE,
    check,
    expect,
    keep_log,
    note_figure,
    run,
    wait_for,
)

LISTEN = ("127.0.0.2", 25)
LOG = Path("/var/log/qpsmtpd/qpsmtpd.log")
ALIASES = Path("/etc/aliases")

#: Recipients of the long run, in transactions of ten; every second one exists.
MANY = 500
TOGETHER = 10

Answers = dict[str, tuple[int, bytes]]


def offer(subject: str, *users: str) -> Answers:
    """Send one message to some recipients of the domain; what RCPT said about each."""
    answers: Answers = {}
    with smtplib.SMTP(*LISTEN, timeout=PATIENCE, source_address=(CLIENT_ADDRESS, 0)) as client:
        client.ehlo("client.sender.example")
        client.mail(SENDER)
        for user in users:
            answers[user] = client.rcpt(f"{user}@{DOMAIN}")
        if any(code == 250 for code, _ in answers.values()):
            text = f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nSubject: {subject}\r\n\r\nHello.\r\n"
            code, reply = client.data(text.encode())
            expect(code == 250, repr(reply))
    return answers


def expect_unknown(answers: Answers, user: str) -> None:
    """The recipient was refused as one that does not exist."""
    expect(answers[user][0] == 550, f"{user}: {answers[user]}")
    expect(answers[user][1].startswith(b"5.1.1 "), f"{user}: {answers[user]}")


def expect_known(answers: Answers, user: str) -> None:
    """The recipient was accepted."""
    expect(answers[user][0] == 250, f"{user}: {answers[user]}")


def bounces() -> list[str]:
    """The lines of the mail system's log that speak of a bounce."""
    if EXIM_LOG.exists():
        return [line for line in EXIM_LOG.read_text().splitlines() if " ** " in line]
    lines = run("journalctl", "--boot", "--no-pager", "--output=cat").splitlines()
    return [line for line in lines if "status=bounced" in line or "non-delivery" in line]


# --- checks -------------------------------------------------------------------------------------


def an_unknown_user_is_refused_and_a_known_one_gets_the_message(_system: str) -> None:
    answers = offer("one", "nosuch-user", USER)
    expect_unknown(answers, "nosuch-user")
    expect_known(answers, USER)
    wait_for("message", lambda: messages("one"))


def aliases_are_known(_system: str) -> None:
    answers = offer("aliases", "sales", "postmaster", "root", "salesman")
    for user in ("sales", "postmaster", "root"):
        expect_known(answers, user)
    expect_unknown(answers, "salesman")


def nothing_bounces_among_500_recipients(system: str) -> None:
    began = time.monotonic()
    for number in range(0, MANY, TOGETHER):
        names = [f"{'known' if n % 2 else 'nosuch'}{n}" for n in range(number, number + TOGETHER)]
        answers = offer(f"many-{number}", *names)
        for name in names:
            (expect_known if name.startswith("known") else expect_unknown)(answers, name)
    note_figure(
        f"{MANY} recipients in {MANY // TOGETHER} messages: {time.monotonic() - began:.1f} s"
    )
    MAIL_SYSTEMS[system].wait_until_idle()
    for number in range(0, MANY, TOGETHER):
        expect(messages(f"many-{number}"), f"many-{number} did not arrive")
    expect(not bounces(), f"bounced: {bounces()}")


def nobody_is_refused_while_the_mail_system_is_down(system: str) -> None:
    """The question has no answer; the message itself is deferred."""
    with _out_of_order(system):
        run("systemctl", "restart", "qpsmtpd.service")  # or Exim's processes would still answer
        wait_until_served(LISTEN)
        _offer_without_an_answer()
    run("systemctl", "restart", "qpsmtpd.service")  # or it would not ask for half a minute
    expect_unknown(offer("after", "still-nobody"), "still-nobody")


def _offer_without_an_answer() -> None:
    source = (CLIENT_ADDRESS, 0)
    with smtplib.SMTP(*LISTEN, timeout=60, source_address=source) as client:
        client.ehlo("client.sender.example")
        client.mail(SENDER)
        answer = client.rcpt(f"created-later@{DOMAIN}")
        expect(answer[0] == 250, repr(answer))
        answer = client.data(f"From: {SENDER}\r\nSubject: never\r\n\r\n".encode())
        expect(answer[0] // 100 == 4, repr(answer))


def postfix_without_an_smtp_server_is_asked_all_the_same(system: str) -> None:
    if system != "postfix":
        return
    line = run("postconf", "-M", "smtp/inet").strip()
    run("postconf", "-MX", "smtp/inet")
    run("systemctl", "restart", "postfix*")
    try:
        answers = offer("unit", "unit-nobody", USER)
        expect_unknown(answers, "unit-nobody")
        expect_known(answers, USER)
        wait_for("message", lambda: messages("unit"))
    finally:
        run("postconf", "-M", f"smtp/inet={line}")
        run("systemctl", "restart", "postfix*")
        wait_until_served(ADDRESS)


def the_doctor_is_content(_system: str) -> None:
    report = run("sh", "-c", "qpsmtpd doctor || true")
    expect("nothing verifies recipients" not in report, report)
    expect("cannot be asked" not in report, report)
    expect("recipients" in report, report)


def the_doctor_misses_the_line(_system: str) -> None:
    plugins = Path("/etc/qpsmtpd/plugins")
    before = plugins.read_text()
    plugins.write_text(before.replace("\nverify_recipients\n", "\n"))
    try:
        expect("nothing verifies recipients" in run("sh", "-c", "qpsmtpd doctor || true"), "no")
    finally:
        plugins.write_text(before)


@contextmanager
def _out_of_order(system: str) -> Iterator[None]:
    if system == "postfix":
        run("systemctl", "stop", "postfix*")
        try:
            yield
        finally:
            run("systemctl", "start", "postfix")
            wait_until_served(ADDRESS)
    else:
        EXIM_OVERRIDE.write_text("no such option\n")
        try:
            yield
        finally:
            EXIM_OVERRIDE.unlink()


CHECKS: tuple[Callable[[str], None], ...] = (
    an_unknown_user_is_refused_and_a_known_one_gets_the_message,
    aliases_are_known,
    nothing_bounces_among_500_recipients,
    nobody_is_refused_while_the_mail_system_is_down,
    postfix_without_an_smtp_server_is_asked_all_the_same,
    the_doctor_is_content,
    the_doctor_misses_the_line,
)
NAMES = tuple(function.__name__ for function in CHECKS)


def main(system: str) -> None:
    """Run every check; the package is installed, and was started at boot."""
    run("useradd", "--create-home", USER)
    known = "".join(f"known{n}: {USER}\n" for n in range(1, MANY, 2))
    ALIASES.write_text(f"postmaster: root\nroot: {USER}\nsales: {USER}\n{known}")
    if system == "postfix":
        run("newaliases")
        run("postconf", "-e", f"mydestination = {DOMAIN}, localhost")
        run("systemctl", "restart", "postfix*")
    wait_until_served(ADDRESS)
    wait_until_served(LISTEN)
    for function in CHECKS:
        with check(function.__name__):
            function(system)
    with sender_authentication.strangers():
        for found_out in sender_authentication.CHECKS:
            with check(found_out.__name__):
                found_out()
    for path in (EXIM_LOG, LOG):
        keep_log(str(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
