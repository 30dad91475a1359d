# SPDX-License-Identifier: MIT
"""In the guest: qpsmtpd hands over to a Postfix that wants to know who it is.

Called as `python3 -m tests.packaging.guest.login`.  Postfix takes nothing without a login, which
Dovecot checks; its certificate is one that nobody vouches for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.packaging.guest import daemon
from tests.packaging.guest.client import DOMAIN, ME, SENDER, send, wait_until_served
from tests.packaging.guest.hand_over import LISTEN, SERVER, UNIT
from tests.packaging.guest.next_hop import ADDRESS, RECIPIENT, USER, messages
from tests.packaging.guest.report import check, expect, run, wait_for

MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
LOGIN, PASSWORD = "mx", "s3cret pass"
PASSWORD_FILE = Path("/etc/qpsmtpd/relay_password")
CERTIFICATE, KEY = Path("/etc/postfix/next.pem"), Path("/etc/postfix/next.key")
NAME = "next.example.org"
DOVECOT = """\
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
passdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
"""
_CREDENTIALS = f"user={LOGIN} password_file={PASSWORD_FILE}"


def _prepare() -> None:
    Path("/etc/dovecot/dovecot.conf").write_text(DOVECOT)
    Path("/etc/dovecot/users").write_text(f"{LOGIN}:{{PLAIN}}{PASSWORD}\n")
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9"),
        *("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
        *("-keyout", str(KEY), "-out", str(CERTIFICATE)),
    )
    CERTIFICATE.chmod(0o644)
    run(
        *("postconf", "-e", f"mydestination = {DOMAIN}, localhost", f"myhostname = {NAME}"),
        *("smtpd_sasl_auth_enable = yes", "smtpd_sasl_type = dovecot"),
        *("smtpd_sasl_path = private/auth", "smtpd_tls_security_level = may"),
        *(f"smtpd_tls_cert_file = {CERTIFICATE}", f"smtpd_tls_key_file = {KEY}"),
        "smtpd_client_restrictions = permit_sasl_authenticated, reject",
    )
    run("postconf", "-M", "465/inet=465 inet n - y - - smtpd -o smtpd_tls_wrappermode=yes")
    run("systemctl", "restart", "dovecot")
    run("systemctl", "restart", "postfix*")
    wait_until_served(ADDRESS)


def _start(line: str, password: str = PASSWORD) -> None:
    daemon.configure(f"queue/smtp-forward 127.0.0.1 {line} {_CREDENTIALS}")
    PASSWORD_FILE.write_text(f"{password}\n")
    run("chown", "root:qpsmtpd", str(PASSWORD_FILE))
    PASSWORD_FILE.chmod(0o640)
    run("systemctl", "restart", "qpsmtpd")
    wait_until_served(LISTEN)


def _journal() -> str:
    return run("journalctl", "--boot", "--no-pager", "--output=cat")


def _delivers(line: str, subject: str, method: str) -> None:
    """The message arrives, and Postfix says who brought it."""
    _start(line)
    reply = send(RECIPIENT, subject, server=SERVER, sender=SENDER).data_reply
    expect(reply.startswith("250 "), reply)
    wait_for("message in the mailbox", lambda: messages(subject))
    said = f"sasl_method={method}, sasl_username={LOGIN}"
    wait_for(f"{said} in the log", lambda: said in _journal())


def _by_mechanism(name: str) -> None:
    run("postconf", "-e", f"smtpd_sasl_mechanism_filter = {name.lower()}")
    run("systemctl", "reload", "postfix")
    wait_until_served(ADDRESS)
    _delivers(f"25 tls=verify ca={CERTIFICATE} tls_name={NAME}", f"by {name}", name)


def by_implicit_tls() -> None:
    """The certificate is known by its fingerprint."""
    words = run("openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(CERTIFICATE))
    fingerprint = words.strip().rpartition("=")[2]
    line = f"465 implicit_tls=yes tls=verify fingerprint={fingerprint}"
    _delivers(line, "by implicit TLS", MECHANISMS[-1])


def wrong_password() -> None:
    """Nobody bounces, and the administrator can see why."""
    _start("25 tls=require", password="wrong")
    reply = send(RECIPIENT, "wrong", server=SERVER, sender=SENDER).data_reply
    expect(reply.startswith("451 4.7.0 "), reply)
    wait_for("what Postfix said in the log", lambda: "535 5.7.8" in _journal())


def without_login() -> None:
    """Postfix refuses us, and not our client's message."""
    daemon.configure("queue/smtp-forward 127.0.0.1")
    run("systemctl", "restart", "qpsmtpd")
    wait_until_served(LISTEN)
    reply = send(RECIPIENT, "unknown", server=SERVER, sender=SENDER).data_reply
    expect(reply.startswith("451 4.3.5 "), reply)
    wait_for("what Postfix said in the log", lambda: "Client host rejected" in _journal())


CHECKS: tuple[Callable[[], None], ...] = (by_implicit_tls, wrong_password, without_login)


def check_names() -> list[str]:
    """Every check that is reported, in order."""
    return ["prepared", *MECHANISMS, *(function.__name__ for function in CHECKS)]


def main() -> None:
    """Prepare the guest, then log in in every way."""
    with check("prepared"):
        run("useradd", "--create-home", USER)
        daemon.make_user()
        Path("/run/systemd/system/qpsmtpd.service").write_text(UNIT)
        run("systemctl", "daemon-reload")
        _prepare()
        expect(ME != NAME, "two hosts of one name")
    for name in MECHANISMS:
        with check(name):
            _by_mechanism(name)
    for function in CHECKS:
        with check(function.__name__):
            function()


if __name__ == "__main__":
    main()
