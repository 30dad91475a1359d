# SPDX-License-Identifier: MIT
"""In the guest: what is expected of the running service."""

from __future__ import annotations

import pwd
import re
import smtplib
import ssl
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.packaging.guest.client import CLIENT_ADDRESS, ME, SENDER, send, wait_until_served
from tests.packaging.guest.clients import open_transaction, undisturbed_clients
from tests.packaging.guest.next_hop import RECIPIENT, messages
from tests.packaging.guest.report import PATIENCE, RESULTS, expect, run, wait_for

LISTEN = ("127.0.0.2", 25)
SERVER = f"{LISTEN[0]}:{LISTEN[1]}"
LOG = Path("/var/log/qpsmtpd/qpsmtpd.log")
PLUGINS = Path("/etc/qpsmtpd/plugins")
MAILDIR = Path("/var/spool/qpsmtpd/Maildir")
SOCKET_DROP_IN = Path("/etc/systemd/system/qpsmtpd.socket.d/debconf.conf")
TLS_DROP_IN = Path("/etc/systemd/system/qpsmtpd.service.d/tls.conf")
QUEUE_PLUGINS = {"postfix": "queue/postfix-queue", "exim4": "queue/exim-bsmtp"}
MOST_EXPOSED = 1.1  # of systemd-analyze security


def state(question: str, unit: str) -> str:
    """What systemctl says: is-active, is-enabled."""
    done = subprocess.run(
        ("systemctl", question, unit), stdout=subprocess.PIPE, text=True, check=False
    )
    return done.stdout.strip()


def main_pid() -> int:
    return int(run("systemctl", "show", "--property=MainPID", "--value", "qpsmtpd.service"))


def owner(path: Path) -> tuple[str, int]:
    """The user who owns a file or directory, and its mode."""
    found = path.stat()
    return pwd.getpwuid(found.st_uid).pw_name, stat.S_IMODE(found.st_mode)


def deliver(subject: str) -> None:
    """Send a message, which has to be taken."""
    reply = send(RECIPIENT, subject, server=SERVER).data_reply
    expect(reply.startswith("250 "), reply)


def check_config_finds_no_mistake(mail_system: str) -> None:
    run("qpsmtpd", "check-config")


def doctor_looks_at_everything(mail_system: str) -> None:
    """All that it complains about is that there is no name server here."""
    done = subprocess.run(
        ("qpsmtpd", "doctor"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode(errors="replace")
    (RESULTS / "doctor").write_text(said)
    expect("\nDNS\n" in said and "Traceback" not in said, said)
    without_dns = re.sub(r"\nDNS\n(?: .*\n)*", "", said)
    expect(not re.search(r"^ +error", without_dns, re.MULTILINE), said)


def defect_19_runs_as_its_user_without_privileges(mail_system: str) -> None:
    status = Path(f"/proc/{main_pid()}/status").read_text()
    uid = str(pwd.getpwnam("qpsmtpd").pw_uid)
    expect(re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t", status, re.M), status)
    expect(re.search(r"^CapEff:\t0+$", status, re.M), status)
    expect(re.search(r"^NoNewPrivs:\t1$", status, re.M), status)
    said = run("systemd-analyze", "security", "--no-pager", "qpsmtpd.service").strip()
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", said)
    print(exposure and exposure[0])
    expect(exposure and float(exposure[1]) <= MOST_EXPOSED, said.splitlines()[-1])


def defect_14_complains_about_nothing(mail_system: str) -> None:
    """Neither about its own spool directory, as the Perl version did, nor anything else.

    But for the name servers, which are not there.
    """
    said = run("journalctl", "--boot", "--no-pager", "--priority=warning", "--unit=qpsmtpd.service")
    lines = [line for line in said.splitlines() if "no name server answers" not in line]
    expect("qpsmtpd" not in "\n".join(lines), said)
    overrides = Path("/var/lib/dpkg/statoverride").read_text()
    expect("qpsmtpd" not in overrides, overrides)


def defect_20_works_in_a_directory_of_its_own_choice(mail_system: str) -> None:
    where = Path(f"/proc/{main_pid()}/cwd").readlink()
    expect(str(where) == "/", f"works in {where}")


def writes_its_log_for_administrators(mail_system: str) -> None:
    wait_for("line of a message", lambda: "message accepted" in LOG.read_text())
    expect(owner(LOG) == ("qpsmtpd", 0o640), f"{owner(LOG)}")
    expect(LOG.group() == "adm" and LOG.parent.group() == "adm", f"group {LOG.group()}")


def defect_17_starting_twice_is_starting_once(mail_system: str) -> None:
    before = main_pid()
    run("systemctl", "start", "qpsmtpd.service")
    expect(main_pid() == before, "another process")


def defect_18_log_rotation_disturbs_nobody(mail_system: str) -> None:
    before = main_pid()
    with undisturbed_clients(LISTEN) as traffic, open_transaction(LISTEN, RECIPIENT, "half_log"):
        run("logrotate", "--force", "/etc/logrotate.d/qpsmtpd")
    expect(traffic.told_to_come_again == 0, "clients were told to come again")
    expect(main_pid() == before, "another process")
    wait_for("line in the new log", lambda: LOG.exists() and "message accepted" in LOG.read_text())
    expect("message accepted" in LOG.with_suffix(".log.1").read_text(), "the old log is not there")
    wait_for("the message that was under way", lambda: messages("half_log"))


def defect_18_log_rotation_starts_nothing(mail_system: str) -> None:
    run("systemctl", "stop", "qpsmtpd.socket", "qpsmtpd.service")
    try:
        run("logrotate", "--force", "/etc/logrotate.d/qpsmtpd")
        expect(state("is-active", "qpsmtpd.service") == "inactive", "it runs again")
    finally:
        run("systemctl", "start", "qpsmtpd.socket", "qpsmtpd.service")
    wait_until_served(LISTEN)


def reload_disturbs_nobody(mail_system: str) -> None:
    before = main_pid()
    with undisturbed_clients(LISTEN) as traffic, open_transaction(LISTEN, RECIPIENT, "half_reload"):
        run("systemctl", "reload", "qpsmtpd.service")
    expect(traffic.told_to_come_again == 0, "clients were told to come again")
    expect(main_pid() == before, "another process")


def defect_20_tls_needs_no_other_package(mail_system: str) -> None:
    """With a key that only root can read, as README.Debian says."""
    key, certificate = Path("/etc/ssl/private/mx.key"), Path("/etc/ssl/certs/mx.pem")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={ME}")
    run(*command, "-keyout", str(key), "-out", str(certificate))
    key.chmod(0o600)
    TLS_DROP_IN.parent.mkdir(exist_ok=True)
    TLS_DROP_IN.write_text(
        "[Service]\n"
        f"LoadCredential=qpsmtpd-server.crt:{certificate}\n"
        f"LoadCredential=qpsmtpd-server.key:{key}\n"
    )
    plugins = PLUGINS.read_text()
    PLUGINS.write_text(plugins.replace("\n#tls\n", "\ntls\n"))
    try:
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "qpsmtpd.service")
        _start_tls()
    finally:
        PLUGINS.write_text(plugins)
        TLS_DROP_IN.unlink()
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "qpsmtpd.service")


def _start_tls() -> None:
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP(*LISTEN, timeout=PATIENCE, source_address=(CLIENT_ADDRESS, 0)) as client:
        client.starttls(context=unverified)
        text = f"From: {SENDER}\r\nSubject: encrypted\r\n\r\nhello\r\n"
        client.sendmail(SENDER, RECIPIENT, text.encode())
    wait_for("message", lambda: messages("encrypted"))


CHECKS: tuple[Callable[[str], None], ...] = (
    check_config_finds_no_mistake,
    doctor_looks_at_everything,
    defect_19_runs_as_its_user_without_privileges,
    defect_14_complains_about_nothing,
    defect_20_works_in_a_directory_of_its_own_choice,
    writes_its_log_for_administrators,
    defect_20_tls_needs_no_other_package,
    defect_17_starting_twice_is_starting_once,
    reload_disturbs_nobody,
    defect_18_log_rotation_disturbs_nobody,
    defect_18_log_rotation_starts_nothing,
)
