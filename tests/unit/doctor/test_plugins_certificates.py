# SPDX-License-Identifier: MIT
"""Certificates: readable, fitting, for us, and not about to end."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest
import trustme

from qpsmtpd.doctor.installation import Installation
from tests.unit.doctor.fakes import (
    STRANGER,
    FakeMachine,
    an_installation,
    commands,
    said_by,
    summary,
)

CHAIN = "tls\nrcpt_ok\nqueue/discard\n"
NOW = datetime.datetime.now(datetime.UTC)


def days(number: int) -> datetime.datetime:
    return NOW + datetime.timedelta(days=number)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def good(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("mx.example.org", not_after=days(90))


def write(
    machine: FakeMachine, cert: trustme.LeafCert, key: trustme.LeafCert | None = None
) -> Installation:
    chain = "".join(blob.bytes().decode() for blob in cert.cert_chain_pems)
    machine.file("/etc/qpsmtpd/ssl/qpsmtpd-server.crt", chain)
    pem = (key or cert).private_key_pem.bytes().decode()
    machine.file("/etc/qpsmtpd/ssl/qpsmtpd-server.key", pem, 0o640)
    return an_installation(machine, CHAIN)


def check(installation: Installation) -> list[str]:
    return summary(said_by(installation, "tls"))


def test_good(machine: FakeMachine, good: trustme.LeafCert) -> None:
    validity, name = check(write(machine, good))
    assert validity.startswith("ok is valid until ")
    assert name == "ok is for our name mx.example.org"


def test_without_the_plugin(machine: FakeMachine) -> None:
    assert check(an_installation(machine)) == []


def test_ends_soon(machine: FakeMachine, ca: trustme.CA) -> None:
    cert = ca.issue_cert("mx.example.org", not_after=days(5))
    assert check(write(machine, cert))[0].startswith("warning expires in 5 days (")


def test_has_expired(machine: FakeMachine, ca: trustme.CA) -> None:
    cert = ca.issue_cert("mx.example.org", not_before=days(-9), not_after=days(-2))
    installation = write(machine, cert)
    assert check(installation) == ["error has expired"]
    assert commands(said_by(installation, "tls")) == ["systemctl reload qpsmtpd.service"]


def test_not_valid_yet(machine: FakeMachine, ca: trustme.CA) -> None:
    cert = ca.issue_cert("mx.example.org", not_before=days(2), not_after=days(90))
    assert check(write(machine, cert))[0].startswith("error is not valid yet")


def test_another_name(machine: FakeMachine, ca: trustme.CA) -> None:
    cert = ca.issue_cert("other.example.org", not_after=days(90))
    assert check(write(machine, cert))[1].startswith("notice is not for our name mx.example.org")


def test_another_key(machine: FakeMachine, good: trustme.LeafCert, ca: trustme.CA) -> None:
    other = ca.issue_cert("mx.example.org")
    (found,) = check(write(machine, good, other))
    assert "does not belong to" in found


def test_nonsense(machine: FakeMachine, good: trustme.LeafCert) -> None:
    installation = write(machine, good)
    machine.file("/etc/qpsmtpd/ssl/qpsmtpd-server.crt", "nonsense")
    assert check(installation)[0].startswith("error cannot be used")


def test_missing(machine: FakeMachine) -> None:
    found = check(an_installation(machine, CHAIN))
    assert [text.rpartition("/")[2] for text in found] == ["ssl does not exist"] * 2


def test_missing_without_the_user(machine: FakeMachine) -> None:
    machine.users = {}
    (found,) = check(an_installation(machine, CHAIN))
    assert found.endswith("does not exist")


def test_key_of_somebody_else(machine: FakeMachine, good: trustme.LeafCert) -> None:
    machine.users = {"qpsmtpd": STRANGER}
    installation = write(machine, good)
    (found,) = said_by(installation, "tls")
    assert found.subject.endswith("qpsmtpd-server.key")
    assert [command.split()[:2] for command in found.commands] == [
        ["chgrp", "qpsmtpd"],
        ["chmod", "g+r"],
    ]


def test_we_cannot_read_the_key(
    machine: FakeMachine, good: trustme.LeafCert, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(machine, good)
    installation = an_installation(machine, "tls /x /x\nrcpt_ok\nqueue/discard\n")
    everywhere = machine.path

    def path(name: str | Path) -> Path:
        if str(name) == "/x":
            raise PermissionError(13, "Permission denied")
        return everywhere(name)

    monkeypatch.setattr("qpsmtpd.plugin.certificates._unreadable", lambda *_: iter(()))
    monkeypatch.setattr(machine, "path", path)
    assert check(installation) == ["notice cannot be read (Permission denied); run this as root"]


def test_names_on_the_line(machine: FakeMachine, good: trustme.LeafCert) -> None:
    write(machine, good)
    ssl = machine.path("/etc/qpsmtpd/ssl")
    for name in ("crt", "key"):
        (ssl / f"qpsmtpd-server.{name}").rename(ssl.parent / f"my.{name}")
    chain = "tls my.crt my.key\nrcpt_ok\nqueue/discard\n"
    assert check(an_installation(machine, chain))[0].startswith("ok")


def test_credentials_of_systemd(machine: FakeMachine, good: trustme.LeafCert) -> None:
    """They are for the service alone, and precede the files of the configuration."""
    installation = write(machine, good)
    directory = machine.directory("/run/credentials/qpsmtpd.service", 0o700)
    machine.users = {"qpsmtpd": STRANGER}
    for name in ("crt", "key"):
        file = machine.path(f"/etc/qpsmtpd/ssl/qpsmtpd-server.{name}")
        shutil.copy(file, directory)
    found = said_by(installation, "tls")
    assert summary(found)[0].startswith("ok")
    assert found[0].subject == "/run/credentials/qpsmtpd.service/qpsmtpd-server.crt"
