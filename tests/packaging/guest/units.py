# SPDX-License-Identifier: MIT
"""In the guest: the units of the installed package, beside Debian's mail system.

Called as `python3 -m tests.packaging.guest.units MAIL_SYSTEM`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import smtplib
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.packaging.guest import confined
from tests.packaging.guest.client import DOMAIN, Dialogue, send, wait_until_served
from tests.packaging.guest.next_hop import (
    ADDRESS,
    EXIM_LOG,
    MAIL_SYSTEMS,
    RECIPIENT,
    USER,
    messages,
)
from tests.packaging.guest.report import check, expect, keep_log, run, wait_for

LISTEN = ("127.0.0.2", 25)
SERVER = f"{LISTEN[0]}:{LISTEN[1]}"
HANDOVER = "/run/qpsmtpd/handover.socket"
LOG = Path("/var/log/qpsmtpd/qpsmtpd.log")
CONFIG = Path("/etc/qpsmtpd")

_CONNECT = f"""
import socket, sys
socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect({HANDOVER!r})
"""


def value(name: str, unit: str = "qpsmtpd.service") -> str:
    """A property of a unit, as the service manager has it."""
    return run("systemctl", "show", "--value", "--property", name, unit).strip()


def status_of(pid: str) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: words.strip() for name, _, words in (line.partition(":") for line in lines)}


def accepted(subject: str) -> Dialogue:
    """Send a message, which has to be accepted."""
    dialogue = send(RECIPIENT, subject, server=SERVER)
    expect(dialogue.data_reply.startswith("250 "), dialogue.data_reply)
    return dialogue


def arrived_once(subject: str) -> None:
    """Wait for the one message of this subject."""
    found = wait_for("message in the mailbox", lambda: messages(subject))
    expect(len(found) == 1, f"{len(found)} copies arrived")


def wait_for_log(text: str) -> None:
    """Wait until the daemon has logged this."""
    wait_for(f"{text!r} in the log", lambda: LOG.exists() and text in LOG.read_text())


# --- checks -------------------------------------------------------------------------------------


def a_connection_starts_the_service() -> None:
    wait_until_served(LISTEN)
    expect(value("ActiveState") == "active", value("ActiveState"))
    wait_for("status", lambda: "Taking connections" in value("StatusText"))


def it_has_no_privilege() -> None:
    status = status_of(value("MainPID"))
    expect(status["NoNewPrivs"] == "1", str(status))
    expect({status[name] for name in ("CapBnd", "CapEff", "CapAmb")} == {"0" * 16}, str(status))
    expect(status["Seccomp"] == "2", str(status))
    expect(status["Uid"].split()[0] == run("id", "-u", "qpsmtpd").strip(), status["Uid"])


def it_has_bounds() -> None:
    memory = int(re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) * 1024
    most = int(value("MemoryMax"))
    expect(0 < most <= memory / 2, f"{most} of {memory} bytes of memory")
    expect(value("TasksMax") == "16384", value("TasksMax"))
    expect(value("OOMPolicy") == "continue", value("OOMPolicy"))
    expect("1-65535" in value("SocketBindDeny"), value("SocketBindDeny"))


def mail_reaches_the_mailbox() -> None:
    for number in range(3):
        accepted(f"delivery-{number}")
    for number in range(3):
        arrived_once(f"delivery-{number}")


def the_hand_over_leaves_nothing_behind() -> None:
    """No instance that failed, none that stays; and Exim's own process was not killed."""

    def instances() -> str:
        return run(
            "systemctl", "list-units", "--all", "--plain", "--no-legend", "qpsmtpd-handover@*"
        )

    wait_for("end of all instances", lambda: not instances().strip())


def the_hand_over_is_for_qpsmtpd_only() -> None:
    found = Path(HANDOVER).stat()
    expect(stat.S_IMODE(found.st_mode) == 0o600, oct(found.st_mode))
    expect(Path(HANDOVER).owner() == "qpsmtpd", Path(HANDOVER).owner())
    tried = subprocess.run(
        ("runuser", "-u", USER, "--", "/usr/bin/python3", "-c", _CONNECT),
        stderr=subprocess.PIPE,
        check=False,
    )
    expect(b"PermissionError" in tried.stderr, tried.stderr.decode())


def the_hand_over_runs_nothing_else() -> None:
    for words in (b"/bin/sh", b"/usr/sbin/exim4\0-be", b"/usr/sbin/rsmtp", b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(10)
            connection.connect(HANDOVER)
            socket.send_fds(connection, [words or b"\0"], [0, 1, 2])
            answer = connection.recv(4096)
        expect(answer.startswith(b"refused not among"), repr(answer))


def it_greets_with_the_full_name() -> None:
    """Debian's usual set-up: the kernel has the short name, /etc/hosts the full one."""
    hosts, before = Path("/etc/hosts"), run("hostname").strip()
    lines = hosts.read_text()
    try:
        run("hostname", "mx")
        hosts.write_text("127.0.0.1 localhost\n127.0.1.1 mx.example.org mx\n")
        run("systemctl", "restart", "qpsmtpd.service")
        dialogue = accepted("full-name")
        expect("220 mx.example.org " in dialogue.transcript, dialogue.transcript)
        arrived_once("full-name")
        (message,) = messages("full-name")
        expect(b" by mx.example.org " in b" ".join(message.split()), repr(message))
    finally:
        run("hostname", before)
        hosts.write_text(lines)


def a_reload_keeps_sessions() -> None:
    with socket.create_connection(LISTEN, timeout=10) as session:
        greeting = session.recv(512)
        expect(greeting.startswith(b"220"), repr(greeting))
        (CONFIG / "me").write_text("new.example.org\n")
        before = value("MainPID")
        run("systemctl", "reload", "qpsmtpd.service")
        wait_for_log("configuration reloaded")
        session.sendall(b"NOOP\r\n")
        reply = session.recv(512)
        expect(reply.startswith(b"250"), repr(reply))
    expect(value("MainPID") == before, "the process is another one")
    expect("new.example.org" in send(RECIPIENT, "x", server=SERVER).transcript, "the old name")


def a_reload_of_a_wrong_configuration_fails_loudly() -> None:
    pid = value("MainPID")
    with _wrong_configuration():
        done = subprocess.run(("systemctl", "reload", "qpsmtpd.service"), check=False)
        expect(done.returncode != 0, "systemctl says that it went well")
        wait_for("status", lambda: "is wrong and not used" in value("StatusText"))
        shown = run("systemctl", "status", "--no-pager", "--full", "qpsmtpd.service")
        expect("plugins:1: no_such_plugin: there is no plugin" in shown, shown)
        expect("the old configuration stays in use" in shown, shown)
        wait_for_log("plugins:1: no_such_plugin: there is no plugin")
        wait_for_log("a configuration with these errors is not used")
        expect((value("ActiveState"), value("MainPID")) == ("active", pid), "it does not run on")
        accepted("configuration-of-before")
    run("systemctl", "reload", "qpsmtpd.service")
    wait_for("status", lambda: "is wrong" not in value("StatusText"))


def credentials_are_the_same_for_everybody() -> None:
    """TLS as in README.Debian: check-config agrees with the daemon, before and after its start."""
    cert, credentials = _certificate()
    drop_in = Path("/etc/systemd/system/qpsmtpd.service.d/tls.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(f"[Service]\n{credentials}")
    before = (CONFIG / "plugins").read_text()
    (CONFIG / "plugins").write_text(f"tls\n{before}")
    run("systemctl", "daemon-reload")
    run("qpsmtpd", "check-config")
    run("systemctl", "restart", "qpsmtpd.service")
    run("qpsmtpd", "check-config")
    run("systemctl", "reload", "qpsmtpd.service")
    expect("STARTTLS" in send(RECIPIENT, "x", server=SERVER).transcript, "no STARTTLS")
    Path(cert).write_text("no certificate\n")
    done = subprocess.run(
        ("qpsmtpd", "check-config"), stdout=subprocess.PIPE, text=True, check=False
    )
    expect(f"{cert}: error: " in done.stdout, done.stdout)
    (CONFIG / "plugins").write_text(before)
    drop_in.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "qpsmtpd.service")


def _certificate() -> tuple[str, str]:
    """Make a certificate; where it is, and the lines of a unit that pass it and its key on."""
    key, cert = "/etc/ssl/private/mx.key", "/etc/ssl/certs/mx.pem"
    request = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mx.example.org")
    run("openssl", *request, "-days", "2", "-keyout", key, "-out", cert)
    Path(key).chmod(0o600)
    names = f"LoadCredential=qpsmtpd-server.crt:{cert}\nLoadCredential=qpsmtpd-server.key:{key}\n"
    return cert, names


def log_rotation_opens_the_file_anew() -> None:
    accepted("before-rotation")
    before = LOG.stat().st_ino
    pid = value("MainPID")
    run("logrotate", "--force", "/etc/logrotate.d/qpsmtpd")
    accepted("after-rotation")
    wait_for("lines in the new file", lambda: LOG.stat().st_size)
    expect(LOG.stat().st_ino != before, "the same file")
    expect(stat.S_IMODE(LOG.stat().st_mode) == 0o640, oct(LOG.stat().st_mode))
    expect((LOG.owner(), LOG.group()) == ("qpsmtpd", "adm"), f"{LOG.owner()}:{LOG.group()}")
    expect(value("MainPID") == pid, "the process is another one")


def the_watchdog_is_fed() -> None:
    expect(value("WatchdogUSec") == "2min", value("WatchdogUSec"))
    drop_in = Path("/run/systemd/system/qpsmtpd.service.d/watchdog.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=1s\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "qpsmtpd.service")
    before = value("WatchdogTimestampMonotonic")
    wait_for("ping", lambda: value("WatchdogTimestampMonotonic") != before)
    pid = value("MainPID")
    os.kill(int(pid), signal.SIGSTOP)
    wait_for("restart", lambda: value("MainPID") not in ("0", pid))
    drop_in.unlink()
    run("systemctl", "daemon-reload")
    wait_until_served(LISTEN)


def a_restart_refuses_no_connection() -> None:
    starting = subprocess.Popen(("systemctl", "restart", "qpsmtpd.service"))
    while starting.poll() is None:
        with socket.create_connection(LISTEN, timeout=1):
            time.sleep(0.01)  # not more clients than may wait
    expect(starting.returncode == 0, "the restart failed")
    wait_until_served(LISTEN)


def many_restarts_are_no_failure() -> None:
    """As of an administrator who tries things out; at once, while systemd's default is five."""
    for _ in range(8):
        run("systemctl", "restart", "qpsmtpd.service")
    expect(value("ActiveState", "qpsmtpd.socket") == "active", "the socket is not active")
    wait_until_served(LISTEN)


def clients_are_put_off_until_a_wrong_configuration_is_mended() -> None:
    """Twice as many as the starts that systemd would allow; then the file is enough, no command."""
    run("systemctl", "reset-failed", "qpsmtpd.service")
    with _wrong_configuration():
        run("systemctl", "stop", "qpsmtpd.service")
        for _ in range(40):
            expect(_answer().startswith(b"421 4.3.0 "), "a client waits in vain")
        expect(value("ActiveState", "qpsmtpd.socket") == "active", "the socket is closed")
        expect("wrong" in value("StatusText"), value("StatusText"))
    wait_for("service", lambda: _answer().startswith(b"220 "))
    wait_for("its state", lambda: value("ActiveState") == "active")


def _answer() -> bytes:
    """What a client is told; nothing if it is refused."""
    with contextlib.suppress(OSError), socket.create_connection(LISTEN, timeout=20) as client:
        return client.recv(512)
    return b""


@contextlib.contextmanager
def _wrong_configuration() -> Iterator[None]:
    good = (CONFIG / "plugins").read_text()
    (CONFIG / "plugins").write_text("no_such_plugin\n")
    try:
        yield
    finally:
        (CONFIG / "plugins").write_text(good)


def a_wrong_configuration_is_not_tried_again() -> None:
    with _wrong_configuration():
        done = subprocess.run(("systemctl", "restart", "qpsmtpd.service"), check=False)
        expect(done.returncode != 0, "it started")
        expect(value("ExecMainStatus") == "78", value("ExecMainStatus"))
        expect(value("NRestarts") == "0", f"{value('NRestarts')} restarts")
        expect(value("ActiveState") == "failed", value("ActiveState"))
    run("systemctl", "reset-failed", "qpsmtpd.service")
    wait_until_served(LISTEN)


def the_journal_has_no_line_of_each_hand_over() -> None:
    journal = run("journalctl", "--boot", "--no-pager", "--output=cat")
    expect(not re.search(r"(Started|Finished|remain).*[Hh]and-?over", journal), "it has")


def the_profile_allows_what_the_services_do() -> None:
    """With a long chain, TLS, all kinds of logs, a log-in, and messages that go to the disk."""
    _, credentials = _certificate()
    serve = "/usr/bin/qpsmtpd run --config /etc/qpsmtpd"
    report = "/usr/bin/qpsmtpd dmarc-report --config /etc/qpsmtpd --send"
    daily = "/usr/bin/qpsmtpd report --config /etc/qpsmtpd --since yesterday --until today --mail"
    show = "/usr/bin/qpsmtpd dashboard --config /etc/qpsmtpd"
    with (
        _long_configuration(),
        confined.traced("qpsmtpd.service", serve, credentials) as daemon,
        confined.traced("qpsmtpd-dmarc-report.service", report) as reports,
        confined.traced("qpsmtpd-report.service", daily) as daily_report,
        confined.traced("qpsmtpd-dashboard.service", show) as dashboard,
    ):
        run("systemctl", "restart", "qpsmtpd.service")
        wait_until_served(LISTEN)
        accepted("confined")
        arrived_once("confined")
        _send_as_a_user("as-a-user")
        arrived_once("as-a-user")
        run("systemctl", "start", "qpsmtpd-dmarc-report.service")
        # Whether the mail system takes it is not the question.
        run("sh", "-c", "systemctl start qpsmtpd-report.service || true")
        _look_at_the_dashboard()
        run("systemctl", "reload", "qpsmtpd.service")
        run("logrotate", "--force", "/etc/logrotate.d/qpsmtpd")
        (CONFIG / "plugins").write_text("rcpt_ok\nqueue/maildir /var/spool/qpsmtpd/Maildir\n")
        run("systemctl", "reload", "qpsmtpd.service")
        accepted("into-a-maildir")
        run("systemctl", "stop", "qpsmtpd.service")
        confined.expect_allowed((daemon, reports, daily_report, dashboard), least=200)


def _look_at_the_dashboard() -> None:
    """All its pages; systemd starts it for the first, and nothing of the store can be changed."""
    run("systemctl", "start", "qpsmtpd-dashboard.socket")
    for page in ("", "decisions", "plugins", "services", "report", "report?of=shadow"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect("/run/qpsmtpd/dashboard.socket")
            client.sendall(f"GET /{page} HTTP/1.0\r\nHost: any\r\n\r\n".encode())
            answer = client.makefile("rb").read()
        expect(answer.startswith(b"HTTP/1.0 200 "), f"/{page}: {answer[:2000]!r}")
    run("systemctl", "stop", "qpsmtpd-dashboard.socket", "qpsmtpd-dashboard.service")


@contextlib.contextmanager
def _long_configuration() -> Iterator[None]:
    before = {name: (CONFIG / name).read_text() for name in ("plugins", "logging")}
    (CONFIG / "plugins").write_text(_long_chain())
    (CONFIG / "logging").write_text(before["logging"] + "logging/journald\nlogging/syslog\n")
    (CONFIG / "spool_memory").write_text("0\n")
    (CONFIG / "flat_auth_pw").write_text("bob@example.org:secret\n")
    (CONFIG / "report_to").write_text("postmaster@example.org\n")
    try:
        yield
    finally:
        for name, text in before.items():
            (CONFIG / name).write_text(text)
        for name in ("spool_memory", "flat_auth_pw"):
            (CONFIG / name).unlink()
        (CONFIG / "report_to").write_text("")
        run("systemctl", "reset-failed", "qpsmtpd.service")
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "qpsmtpd.service")
        wait_until_served(LISTEN)


def _long_chain() -> str:
    """What the file plugins may have: the level standard, more filters and log-ins."""
    reporting = "reporting report_sender postmaster@example.org report_via 127.0.0.1:25"
    level = Path("/usr/share/qpsmtpd/chains/standard").read_text()
    level = level.replace("\ndmarc ", f"\ndmarc {reporting} ")
    expect(reporting in level, "the level standard has no dmarc")
    first = "tls\nauth/auth_flat_file\nauth/auth_pam\nhosts_allow\nrelay\nident/p0f\nuser_config\n"
    last = "virus/clamdscan on_error=pass\nrcpt_ok\nverify_recipients\n"
    return f"{first}{level}{last}$include /etc/qpsmtpd/debian-queue-method\n"


def _send_as_a_user(subject: str) -> None:
    """A message that is too large for memory, under TLS and after a log-in."""
    untrusted = ssl._create_unverified_context()
    with smtplib.SMTP(*LISTEN, timeout=20) as client:
        client.starttls(context=untrusted)
        client.login("bob@example.org", "secret")
        text = f"From: bob@example.org\r\nSubject: {subject}\r\n\r\n" + "line of text\r\n" * 50_000
        client.sendmail("bob@example.org", [RECIPIENT], text)


def the_profile_allows_nothing_else() -> None:
    confined.expect_nothing_broad()
    units = ("qpsmtpd", "qpsmtpd-dmarc-report", "qpsmtpd-report", "qpsmtpd-dashboard")
    for unit in (f"{name}.service" for name in units):
        expect(value("AppArmorProfile", unit) == "-qpsmtpd", value("AppArmorProfile", unit))


def a_stop_closes_everything() -> None:
    run("systemctl", "stop", "qpsmtpd.socket", "qpsmtpd.service")
    wait_for("end of the hand-over", lambda: not Path(HANDOVER).exists())
    state = value("ActiveState", "qpsmtpd-handover.socket")
    expect(state == "inactive", f"the socket of the hand-over is {state}")
    expect(value("Result") == "success", value("Result"))


CHECKS: tuple[Callable[[], None], ...] = (
    a_connection_starts_the_service,
    it_has_no_privilege,
    it_has_bounds,
    mail_reaches_the_mailbox,
    the_hand_over_leaves_nothing_behind,
    the_hand_over_is_for_qpsmtpd_only,
    the_hand_over_runs_nothing_else,
    it_greets_with_the_full_name,
    a_reload_keeps_sessions,
    a_reload_of_a_wrong_configuration_fails_loudly,
    credentials_are_the_same_for_everybody,
    log_rotation_opens_the_file_anew,
    the_watchdog_is_fed,
    a_restart_refuses_no_connection,
    many_restarts_are_no_failure,
    a_wrong_configuration_is_not_tried_again,
    clients_are_put_off_until_a_wrong_configuration_is_mended,
    the_profile_allows_what_the_services_do,
    the_profile_allows_nothing_else,
    the_journal_has_no_line_of_each_hand_over,
    a_stop_closes_everything,
)
NAMES = tuple(function.__name__ for function in CHECKS)


def main(mail_system: str) -> None:
    """Run every check; the package is installed, and was started at boot."""
    run("useradd", "--create-home", USER)
    if mail_system == "postfix":
        run("postconf", "-e", f"mydestination = {DOMAIN}, localhost")
        run("systemctl", "restart", "postfix*")
    wait_until_served(ADDRESS)
    expect(mail_system in MAIL_SYSTEMS, mail_system)
    for function in CHECKS:
        with check(function.__name__):
            function()
    for path in (EXIM_LOG, LOG):
        keep_log(str(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
