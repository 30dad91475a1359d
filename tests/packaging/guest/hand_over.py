# SPDX-License-Identifier: MIT
"""In the guest: mail that qpsmtpd takes reaches the user through Debian's mail system.

Called as `python3 -m tests.packaging.guest.hand_over MAIL_SYSTEM AIOSMTPD_VERSION`.
"""

from __future__ import annotations

import itertools
import re
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from tests.debian_system import GUEST_CHECKOUT
from tests.packaging.guest import daemon
from tests.packaging.guest.client import (
    BODY,
    CLIENT_ADDRESS,
    CLIENT_NAME,
    DOMAIN,
    ME,
    SENDER,
    Dialogue,
    send,
    wait_until_served,
)
from tests.packaging.guest.next_hop import (
    ADDRESS,
    EXIM_LOG,
    MAIL_SYSTEMS,
    MAILBOX,
    RECIPIENT,
    USER,
    MailSystem,
    Method,
    messages,
)
from tests.packaging.guest.report import check, expect, keep_log, note_figure, run, wait_for

AIOSMTPD = "aiosmtpd:is_debians"
LISTEN = ("127.0.0.2", 25)
LMTP = ("127.0.0.2", 2424)
# Seconds that Postfix, after its soft limit of errors, holds back one reply at least.
HELD_BACK = 5.0
SERVER = f"{LISTEN[0]}:{LISTEN[1]}"
UNIT = f"""\
[Unit]
# Checks restart it more often than five times in ten seconds.
StartLimitIntervalSec=0

[Service]
Environment=PYTHONPATH={GUEST_CHECKOUT} PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/python3 -m qpsmtpd run --config {daemon.CONFIG} --listen {SERVER} \\
    --listen lmtp:{LMTP[0]}:{LMTP[1]} --user qpsmtpd
"""
#: An Exim that sends everything to us; K in its log says that it has used CHUNKING.
EXIM_CLIENT = """\
begin routers
to_qpsmtpd:
  driver = manualroute
  route_list = * {server}
  self = send
  transport = to_qpsmtpd
begin transports
to_qpsmtpd:
  driver = smtp
  hosts_avoid_tls = *
{options}
"""


@dataclass(frozen=True)
class Setting:
    """What a check works with: one mail system, one way to hand over, a subject of its own."""

    mail_system: MailSystem
    method: Method
    subject: str

    @property
    def mere_message(self) -> bytes:
        """The least that is a message of this subject."""
        return f"From: <{SENDER}>\r\nSubject: {self.subject}\r\n\r\nHello\r\n".encode()

    def send(self, recipient: str = RECIPIENT, sender: str = SENDER) -> Dialogue:
        """Send the message through qpsmtpd."""
        return send(recipient, self.subject, server=SERVER, sender=sender)

    def send_accepted(self, sender: str = SENDER) -> Dialogue:
        """Send the message, which has to be accepted."""
        dialogue = self.send(sender=sender)
        expect(dialogue.data_reply.startswith("250 "), dialogue.data_reply)
        return dialogue

    def arrived(self) -> bytes:
        """Wait for the one message, in the user's mailbox."""
        found = wait_for("message in the mailbox", lambda: messages(self.subject))
        expect(len(found) == 1, f"{len(found)} copies arrived")
        return found[0]

    def arrived_header(self) -> Message:
        """Wait for the one message, and parse it."""
        return message_from_bytes(self.arrived().partition(b"\n")[2])


def delivers_the_complete_message(setting: Setting) -> None:
    setting.send_accepted()
    body = setting.arrived().partition(b"\n\n")[2]
    expect(body.rstrip(b"\n") == BODY, f"the body became {body!r}")


def adds_a_received_header(setting: Setting) -> None:
    setting.send_accepted()
    fields = [str(field) for field in setting.arrived_header().get_all("Received", [])]
    wanted = (f"by {ME}", CLIENT_NAME, CLIENT_ADDRESS)
    found = any(all(words in field for words in wanted) for field in fields)
    expect(found, f"no Received with {wanted}: {fields}")


def keeps_the_envelope_sender(setting: Setting) -> None:
    setting.send_accepted()
    expect(setting.arrived().startswith(f"From {SENDER} ".encode()), "the From line differs")
    expect(setting.arrived_header()["Return-path"] == f"<{SENDER}>", "the Return-path differs")


def keeps_the_null_sender(setting: Setting) -> None:
    setting.send_accepted(sender="")
    path = setting.arrived_header()["Return-path"]
    expect(path == "<>", f"the Return-path became {path}")


def replies_with_the_queue_id(setting: Setting) -> None:
    reply = setting.send_accepted().data_reply
    words = re.findall(r"[\w-]{6,}", reply)
    wait_for(
        f"word of {reply!r} logged as delivered",
        lambda: any(setting.mail_system.delivered(word) for word in words),
    )


def refuses_an_unknown_domain(setting: Setting) -> None:
    dialogue = setting.send(f"{USER}@elsewhere.example")
    reply = dialogue.reply_to("RCPT")
    expect(reply.startswith("550 "), f"RCPT was answered {reply!r}")
    expect(not dialogue.reply_to(r"\d+ lines sent"), "the message was sent")


def defers_during_an_outage(setting: Setting) -> None:
    # A mail system that is killed would keep what it is just delivering.
    setting.mail_system.wait_until_idle()
    with setting.method.outage():
        reply = setting.send().data_reply
        expect(reply.startswith("4"), f"the message was answered {reply!r}")
    setting.mail_system.wait_until_idle()
    expect(not messages(setting.subject), "the deferred message was delivered")
    setting.send_accepted()
    setting.arrived()


def many_messages_arrive_at_once(setting: Setting) -> None:
    """More than Exim delivers at once of those that come on one connection."""
    count = 14
    with _session() as session:
        began = time.monotonic()
        for _ in range(count):
            session.sendmail(SENDER, RECIPIENT, setting.mere_message)
        sent = time.monotonic()
    wait_for("all messages", lambda: len(messages(setting.subject)) == count)
    arrived = time.monotonic()
    note_figure(f"{count} messages: taken after {sent - began:.2f} s, arrived {arrived - sent:.2f}")


def refused_recipients_delay_nobody(setting: Setting) -> None:
    """Three times as many as end a connection to Postfix, which delays every reply before that."""
    slowest = 0.0
    for number in range(60):
        with _session() as session:
            began = time.monotonic()
            try:
                session.sendmail(SENDER, f"nobody{number}@{DOMAIN}", setting.mere_message)
                raise AssertionError("an unknown user was accepted")
            except (smtplib.SMTPDataError, smtplib.SMTPRecipientsRefused) as refusal:
                expect("550" in str(refusal), f"refused with {refusal}")
            slowest = max(slowest, time.monotonic() - began)
    with _session() as session:
        began = time.monotonic()
        session.sendmail(SENDER, RECIPIENT, setting.mere_message)
        good = time.monotonic() - began
    note_figure(f"60 refusals: slowest {slowest:.2f} s; a good message after them {good:.2f} s")
    expect(max(slowest, good) < HELD_BACK, f"slowest {slowest:.2f} s, good mail {good:.2f} s")
    setting.arrived()


def passes_on_wishes_for_notices(setting: Setting) -> None:
    """The notice goes to our own user, and names what only the parameters of DSN said."""
    with _session() as session:
        session.sendmail(
            RECIPIENT,
            RECIPIENT,
            setting.mere_message,
            mail_options=["RET=HDRS", f"ENVID={setting.method.name}"],
            rcpt_options=["NOTIFY=SUCCESS", f"ORCPT=rfc822;{setting.method.name}@old.example"],
        )

    def notice() -> bool:
        text = MAILBOX.read_text(errors="replace") if MAILBOX.exists() else ""
        envelope_id = f"Original-Envelope-Id: {setting.method.name}\n"
        recipient = f"Original-Recipient: rfc822;{setting.method.name}@old.example\n"
        return envelope_id in text and recipient in text

    wait_for("notice of the delivery", notice)


def wishes_are_in_the_queue(setting: Setting) -> None:
    """All of them, as they are in the queue file of Postfix."""
    run("postconf", "-e", "defer_transports = local")
    run("systemctl", "reload", "postfix")
    with _session() as session:
        session.ehlo()
        session.mail(RECIPIENT, ["RET=FULL", "ENVID=a+2Bb"])
        session.rcpt(RECIPIENT, ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;a+2Bb@old.example"])
        _, reply = session.data(setting.mere_message)
    (queue_id,) = re.findall(r"as (\w+)", reply.decode())
    found = run("postcat", "-qe", queue_id)
    # A message that is being put off just now would not be tried again before the next queue run.
    wait_for("message that is put off", lambda: f"{queue_id}*" not in run("postqueue", "-p"))
    run("postconf", "-X", "defer_transports")
    run("systemctl", "reload", "postfix")
    run("postqueue", "-f")
    for record in ("a+b", "rfc822;a+b@old.example"):
        expect(f" {record}\n" in found or f"={record}\n" in found, f"no {record}: {found}")
    # SUCCESS is 2, DELAY 8; FULL is 1.
    for name, number in (("notify", 10), ("ret", 1)):
        expect(re.search(rf"{name}\w*flags[=: ]+{number}$", found, re.MULTILINE), found)
    setting.arrived()


def sends_notices_itself(setting: Setting) -> None:
    """That the message was passed on, as whoever has it now sends no such notice."""
    (daemon.CONFIG / "dsn").write_text("always\n")
    daemon.configure("relay", setting.method.plugin)
    (daemon.CONFIG / "relayclients").write_text(f"{CLIENT_ADDRESS}\n")
    run("systemctl", "restart", "qpsmtpd")
    wait_until_served(LISTEN)
    with _session() as session:
        session.ehlo()
        expect(session.has_extn("DSN"), "DSN is not offered")
        options = [f"ENVID={setting.method.name}"]
        session.sendmail(RECIPIENT, RECIPIENT, setting.mere_message, options, ["NOTIFY=SUCCESS"])
    words = (f"Original-Envelope-Id: {setting.method.name}", "Action: relayed")

    def notices() -> list[bytes]:
        found = messages("Message delivered or relayed")
        return [each for each in found if all(word.encode() in each for word in words)]

    (notice,) = wait_for("notice", notices)
    expect(b"\nReturn-path: <>\n" in notice, str(notice))
    setting.arrived()
    (daemon.CONFIG / "dsn").unlink()
    daemon.configure(setting.method.plugin)
    run("systemctl", "restart", "qpsmtpd")
    wait_until_served(LISTEN)


def swaks_names_a_client(setting: Setting) -> None:
    """By XCLIENT, which it says only if all the attributes are offered."""
    (daemon.CONFIG / "xclient_networks").write_text(f"{CLIENT_ADDRESS}\n")
    run("systemctl", "restart", "qpsmtpd")
    wait_until_served(LISTEN)
    name = "mail.sender.example"
    options = ("--xclient-addr", "192.0.2.7", "--xclient-name", name, "--xclient-helo", name)
    dialogue = send(RECIPIENT, setting.subject, server=SERVER, options=options)
    expect(dialogue.reply_to("XCLIENT ").startswith(f"220 {ME} "), dialogue.transcript)
    fields = [str(field) for field in setting.arrived_header().get_all("Received", [])]
    wanted = f"from {CLIENT_NAME} ({name} [192.0.2.7])"
    expect(any(wanted in field for field in fields), f"no {wanted}: {fields}")
    (daemon.CONFIG / "xclient_networks").unlink()
    run("systemctl", "restart", "qpsmtpd")
    wait_until_served(LISTEN)


def exim_speaks_lmtp(setting: Setting) -> None:
    """Exim's own client: a reply for each recipient, of which one is unknown to us."""
    config = Path("/etc/exim4/to-qpsmtpd.conf")
    options = f"  protocol = lmtp\n  port = {LMTP[1]}"
    config.write_text(EXIM_CLIENT.format(server=LMTP[0], options=options))
    sent = len(EXIM_LOG.read_text())
    message = setting.mere_message.replace(b"\r\n", b"\n")
    elsewhere = "nobody@elsewhere.example"
    # The sender gets a bounce, by LMTP as well.
    command = ("exim4", "-C", str(config), "-odi", "-oi", "-f", RECIPIENT, RECIPIENT, elsewhere)
    subprocess.run(command, input=message, check=True)
    setting.arrived()
    log = EXIM_LOG.read_text()[sent:]
    expect(f"=> {RECIPIENT} " in log, log)
    expect(re.search(rf"\*\* {elsewhere} .*550 5\.7\.1", log), log)


def takes_chunks(setting: Setting) -> None:
    """By BDAT, cut in the middle of a line end, and with dots that no dot precedes."""
    header = f"From: <{SENDER}>\r\nSubject: {setting.subject}\r\n\r\n".encode()
    message = header + BODY.replace(b"\n", b"\r\n") + b"\r\n"
    places = (0, 10, message.index(b"\r\n.\r\n") + 1, len(message))
    with _session() as session:
        session.ehlo()
        expect(session.has_extn("CHUNKING"), "CHUNKING is not offered")
        session.mail(SENDER)
        session.rcpt(RECIPIENT)
        for begin, end in itertools.pairwise(places):
            last = " LAST" if end == len(message) else ""
            session.putcmd(f"BDAT {end - begin}{last}")
            session.send(message[begin:end])
            code, reply = session.getreply()
            expect(code == 250, f"a chunk was answered {code} {reply!r}")
    body = setting.arrived().partition(b"\n\n")[2]
    expect(body.rstrip(b"\n") == BODY, f"the body became {body!r}")


def hands_over_in_chunks(setting: Setting) -> None:
    """A message of 200 KB, with dots at the beginnings of lines."""
    text = b"".join(b".%06d %s\r\n" % (number, b"x" * 60) for number in range(3000))
    with _session() as session:
        session.sendmail(SENDER, RECIPIENT, setting.mere_message + text)
    body = setting.arrived().partition(b"\n\nHello\n")[2]
    expect(body.rstrip(b"\n") == text.replace(b"\r\n", b"\n").rstrip(b"\n"), "the text differs")
    wait_for("BDAT in the log", setting.mail_system.has_taken_chunks)


def exim_sends_in_chunks(setting: Setting) -> None:
    """Exim's own client, which uses BDAT wherever it is offered."""
    config = Path("/etc/exim4/to-qpsmtpd.conf")
    config.write_text(EXIM_CLIENT.format(server=LISTEN[0], options=""))
    sent = len(EXIM_LOG.read_text())
    message = setting.mere_message.replace(b"\r\n", b"\n") + BODY + b"\n"
    command = ("exim4", "-C", str(config), "-odi", "-oi", "-f", SENDER, RECIPIENT)
    subprocess.run(command, input=message, check=True)
    body = setting.arrived().partition(b"\n\nHello\n")[2]
    expect(body.rstrip(b"\n") == BODY, f"the body became {body!r}")
    line = re.search(rf"=> {RECIPIENT} .*T=to_qpsmtpd .*", EXIM_LOG.read_text()[sent:])
    expect(line is not None and " K " in line[0], f"not by BDAT: {line and line[0]!r}")


def refuses_an_unknown_user(setting: Setting) -> None:
    """At RCPT, by verify_recipients; without it the hand-over itself is tried above."""
    daemon.configure(setting.method.plugin, "verify_recipients")
    run("systemctl", "restart", "qpsmtpd")
    wait_until_served(LISTEN)
    reply = setting.send(f"nosuch-user@{DOMAIN}").reply_to("RCPT")
    expect(reply.startswith("550 5.1.1 "), f"RCPT was answered {reply!r}")
    setting.send_accepted()
    setting.arrived()


def _session() -> smtplib.SMTP:
    return smtplib.SMTP(*LISTEN, local_hostname=CLIENT_NAME, source_address=(CLIENT_ADDRESS, 0))


CHECKS = (
    delivers_the_complete_message,
    adds_a_received_header,
    keeps_the_envelope_sender,
    keeps_the_null_sender,
    replies_with_the_queue_id,
    refuses_an_unknown_domain,
    many_messages_arrive_at_once,
    refused_recipients_delay_nobody,
    passes_on_wishes_for_notices,
    wishes_are_in_the_queue,
    sends_notices_itself,
    swaks_names_a_client,
    exim_speaks_lmtp,
    takes_chunks,
    hands_over_in_chunks,
    exim_sends_in_chunks,
    defers_during_an_outage,
    refuses_an_unknown_user,
)
#: Checks of what not every method can do, with the ones that can.
ONLY_WITH: dict[Callable[[Setting], None], Callable[[Method], bool]] = {
    replies_with_the_queue_id: lambda method: method.tells_queue_id,
    many_messages_arrive_at_once: lambda method: method.keeps_connections,
    refused_recipients_delay_nobody: lambda method: method.refuses_unknown_users,
    passes_on_wishes_for_notices: lambda method: method.sends_notices,
    wishes_are_in_the_queue: lambda method: method.sends_notices,
    sends_notices_itself: lambda method: not method.sends_notices,
    swaks_names_a_client: lambda method: method.keeps_connections,
    exim_speaks_lmtp: lambda method: method.is_exim,
    hands_over_in_chunks: lambda method: method.keeps_connections,
    exim_sends_in_chunks: lambda method: method.is_exim,
}


def check_names(mail_system: str) -> list[str]:
    """Every check that is reported for this mail system, in order."""
    methods = MAIL_SYSTEMS[mail_system].methods
    names = [
        f"{method.name}:{step}"
        for method in methods
        for step in ("serves", *(function.__name__ for function in _checks_of(method)))
    ]
    return [AIOSMTPD, *names]


def _checks_of(method: Method) -> list[Callable[[Setting], None]]:
    return [
        function for function in CHECKS if function not in ONLY_WITH or ONLY_WITH[function](method)
    ]


def main(mail_system_name: str, aiosmtpd: str) -> None:
    """Prepare the guest, then try each way to hand over."""
    with check(AIOSMTPD):
        daemon.runs_on_debians_aiosmtpd(aiosmtpd)
    mail_system = MAIL_SYSTEMS[mail_system_name]
    run("useradd", "--create-home", USER)
    daemon.make_user()
    mail_system.prepare()
    wait_until_served(ADDRESS)
    Path("/run/systemd/system/qpsmtpd.service").write_text(UNIT)
    run("systemctl", "daemon-reload")
    for method in mail_system.methods:
        _try_method(mail_system, method)
    keep_log(str(EXIM_LOG))


def _try_method(mail_system: MailSystem, method: Method) -> None:
    with check(f"{method.name}:serves"):
        daemon.configure(method.plugin)
        run("systemctl", "restart", "qpsmtpd")
        wait_until_served(LISTEN)
    for function in _checks_of(method):
        name = f"{method.name}:{function.__name__}"
        with check(name):
            function(Setting(mail_system, method, subject=name))


if __name__ == "__main__":
    main(*sys.argv[1:])
