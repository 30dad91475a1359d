# SPDX-License-Identifier: MIT
"""In the guest: one process per connection, started by tcpserver or by inetd.

Called as `python3 -m tests.packaging.guest.one_connection AIOSMTPD_VERSION`.
"""

from __future__ import annotations

import pwd
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
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
from tests.packaging.guest.report import PATIENCE, check, expect, run, wait_for

AIOSMTPD = "aiosmtpd:is_debians"
MAILDIR = Path("/var/spool/testmaildir")
RECIPIENT = f"alice@{DOMAIN}"
COMMAND = f"/usr/bin/python3 -m qpsmtpd inetd --config {daemon.CONFIG}"
#: As the program of the Perl version was called.
BARE_COMMAND = "/usr/bin/python3 -m qpsmtpd"
PYTHON_PATH = f"PYTHONPATH={GUEST_CHECKOUT}"


def start_tcpserver(address: str) -> None:
    """ucspi-tcp's server, which describes the connection in the environment."""
    user = pwd.getpwnam("qpsmtpd")
    server = f"tcpserver -v -R -H -l {ME} -u {user.pw_uid} -g {user.pw_gid} {address} 25"
    Path("/run/systemd/system/tcpserver.service").write_text(
        f"[Service]\nEnvironment={PYTHON_PATH} QPSMTPD_CONFIG={daemon.CONFIG}\n"
        f"ExecStart=/usr/bin/{server} {BARE_COMMAND}\n"
    )
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "tcpserver")


def start_inetd(address: str) -> None:
    """openbsd-inetd, whose child has nothing but the socket."""
    program = f"/usr/bin/env env {PYTHON_PATH} {COMMAND}"
    line = f"{address}:smtp stream tcp nowait qpsmtpd {program}\n"
    Path("/etc/inetd.conf").write_text(line)
    run("systemctl", "restart", "openbsd-inetd")


@dataclass(frozen=True)
class Setting:
    """What a check works with: one super-server, a subject of its own."""

    address: str
    subject: str

    def send(self, recipient: str = RECIPIENT, *options: str) -> Dialogue:
        """Send the message through qpsmtpd."""
        return send(recipient, self.subject, server=f"{self.address}:25", options=options)

    def send_accepted(self, *options: str) -> bytes:
        """Send the message, which has to be accepted; return what is in the Maildir."""
        dialogue = self.send(RECIPIENT, *options)
        expect(dialogue.data_reply.startswith("250 "), dialogue.data_reply)
        found = delivered(self.subject)
        expect(len(found) == 1, f"{len(found)} copies in {MAILDIR}")
        return found[0]


def delivered(subject: str) -> list[bytes]:
    """The messages of this subject in the Maildir: complete ones only."""
    contents = [path.read_bytes() for path in MAILDIR.glob("new/*")]
    return [text for text in contents if f"\nSubject: {subject}\n".encode() in text]


def delivers_the_complete_message(setting: Setting) -> None:
    body = setting.send_accepted().partition(b"\n\n")[2]
    expect(body.rstrip(b"\n") == BODY, f"the body became {body!r}")


def records_client_and_sender(setting: Setting) -> None:
    header = message_from_bytes(setting.send_accepted())
    received = str(header["Received"])
    for wanted in (CLIENT_ADDRESS, CLIENT_NAME, f"by {ME}"):
        expect(wanted in received, f"no {wanted} in Received: {received}")
    expect(header["Return-path"] == f"<{SENDER}>", f"Return-path is {header['Return-path']}")


def takes_pipelined_commands(setting: Setting) -> None:
    setting.send_accepted("--pipeline")


def refuses_an_unknown_domain(setting: Setting) -> None:
    reply = setting.send("alice@elsewhere.example").reply_to("RCPT")
    expect(reply.startswith("550 "), f"RCPT was answered {reply!r}")


def says_nothing_but_replies(setting: Setting) -> None:
    """What goes to stderr must not reach the client; inetd connects it to the socket."""
    commands = ("HELO here", "MAIL FROM:<>", "RCPT TO:<refused@elsewhere.example>", "QUIT")
    connection = socket.create_connection((setting.address, 25), timeout=PATIENCE)
    with connection, connection.makefile("rb") as replies:
        lines = [replies.readline()]
        for command in commands:
            connection.sendall(f"{command}\r\n".encode())
            lines.append(replies.readline())
        lines += replies.readlines()
    codes = [line[:4] for line in lines]
    expect(codes == [b"220 ", b"250 ", b"250 ", b"550 ", b"221 "], f"the client got {lines}")


def forgets_a_client_that_vanishes(setting: Setting) -> None:
    """A connection that ends within the message leaves no message, and no process."""
    connection = socket.create_connection((setting.address, 25), timeout=PATIENCE)
    with connection, connection.makefile("rb") as replies:
        replies.readline()
        for command in (f"HELO {CLIENT_NAME}", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>"):
            connection.sendall(f"{command}\r\n".encode())
            expect(replies.readline().startswith(b"250"), f"{command} was refused")
        connection.sendall(b"DATA\r\n")
        expect(replies.readline().startswith(b"354"), "DATA was refused")
        connection.sendall(f"Subject: {setting.subject}\r\n\r\nhalf".encode())
    wait_for("end of the process", lambda: not processes())
    expect(not delivered(setting.subject), "half a message was delivered")


def leaves_no_process_behind(setting: Setting) -> None:
    setting.send_accepted()
    wait_for("end of the process", lambda: not processes())


def processes() -> list[str]:
    """The command lines of the connections' processes, without the server that starts them."""
    lines = (_command_line(path) for path in Path("/proc").glob("[0-9]*"))
    return [repr(line) for line in lines if b"inetd" in line and line[0].endswith(b"python3")]


def _command_line(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:  # it has just ended
        return []


CHECKS = (
    delivers_the_complete_message,
    records_client_and_sender,
    takes_pipelined_commands,
    refuses_an_unknown_domain,
    says_nothing_but_replies,
    forgets_a_client_that_vanishes,
    leaves_no_process_behind,
)
SERVERS: dict[str, tuple[str, Callable[[str], None]]] = {
    "tcpserver": ("127.0.0.2", start_tcpserver),
    "openbsd-inetd": ("127.0.0.3", start_inetd),
}


def check_names() -> list[str]:
    """Every check that is reported, in order."""
    steps = ("serves", *(function.__name__ for function in CHECKS))
    return [AIOSMTPD, *(f"{server}:{step}" for server in SERVERS for step in steps)]


def main(aiosmtpd: str) -> None:
    """Prepare the guest, then try each super-server."""
    with check(AIOSMTPD):
        daemon.runs_on_debians_aiosmtpd(aiosmtpd)
    daemon.make_user()
    daemon.configure(f"queue/maildir {MAILDIR}")
    run("install", "-d", "-o", "qpsmtpd", "-g", "qpsmtpd", "-m", "0700", str(MAILDIR))
    for server, (address, start) in SERVERS.items():
        with check(f"{server}:serves"):
            start(address)
            wait_until_served((address, 25))
        for function in CHECKS:
            name = f"{server}:{function.__name__}"
            with check(name):
                function(Setting(address, subject=name))


if __name__ == "__main__":
    main(*sys.argv[1:])
