# SPDX-License-Identifier: MIT
"""Credentials: what systemd passes to the service, seen from outside of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpsmtpd.config.problems import Problem
from qpsmtpd.doctor.configuration import check_configuration
from qpsmtpd.doctor.credentials import CREDENTIALS, VARIABLE, credentials_of_service, passed
from qpsmtpd.doctor.examine import AREAS
from tests.unit.doctor.fakes import FakeMachine, an_installation, examined, summary

UNIT = "/usr/lib/systemd/system/qpsmtpd.service"
DROP_IN = "/etc/systemd/system/qpsmtpd.service.d/override.conf"
LINES = """[Service]
LoadCredential=qpsmtpd-server.crt:/etc/mx.pem
LoadCredential=qpsmtpd-server.key:/etc/mx.key
LoadCredential=of-the-system
LoadCredential=../up:/etc/mx.key
"""


@pytest.fixture
def with_unit(machine: FakeMachine) -> FakeMachine:
    machine.file(UNIT, "[Service]\nUser=qpsmtpd\n")
    machine.file(DROP_IN, LINES)
    machine.file("/etc/mx.pem", "certificate")
    machine.file("/etc/mx.key", "key", 0o600)
    return machine


def test_what_the_unit_names(with_unit: FakeMachine) -> None:
    assert passed(with_unit) == {
        "qpsmtpd-server.crt": "/etc/mx.pem",
        "qpsmtpd-server.key": "/etc/mx.key",
    }


def test_they_are_put_together(with_unit: FakeMachine) -> None:
    """What the unit names now comes before what the running service got."""
    for name in ("qpsmtpd-server.key", "other"):
        with_unit.file(f"{CREDENTIALS}/{name}", f"{name} of before")
    with credentials_of_service(with_unit) as credentials:
        directory = Path(credentials.environment[VARIABLE])
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "qpsmtpd-server.crt").read_text() == "certificate"
        assert (directory / "qpsmtpd-server.key").read_text() == "key"
        assert (directory / "other").read_text() == "other of before"
    assert not directory.exists()


def test_what_only_root_can_read_is_taken_from_the_running_service(
    with_unit: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("mx.key"))
    with_unit.file(f"{CREDENTIALS}/qpsmtpd-server.key", "key of before")
    with credentials_of_service(with_unit) as credentials:
        directory = Path(credentials.environment[VARIABLE])
        assert (directory / "qpsmtpd-server.crt").read_text() == "certificate"
        assert (directory / "qpsmtpd-server.key").read_text() == "key of before"


def test_within_the_service_they_are_there(with_unit: FakeMachine) -> None:
    with_unit.environment[VARIABLE] = "/given"
    with credentials_of_service(with_unit) as credentials:
        assert credentials.environment[VARIABLE] == "/given"


def test_without_any(machine: FakeMachine) -> None:
    with credentials_of_service(machine) as credentials:
        assert VARIABLE not in credentials.environment


@pytest.mark.parametrize("uid, hint", [(0, False), (1, True)])
def test_files_are_named_as_the_administrator_knows_them(
    with_unit: FakeMachine, monkeypatch: pytest.MonkeyPatch, uid: int, hint: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with credentials_of_service(with_unit) as credentials:
        directory = credentials.environment[VARIABLE]
        cert, key = (f"{directory}/qpsmtpd-server.{end}" for end in ("crt", "key"))
        problem = credentials.explain(Problem(key, f"does not belong to {cert}", "warning"))
        assert problem == Problem("/etc/mx.key", "does not belong to /etc/mx.pem", "warning")
        denied = credentials.explain(Problem(key, "cannot be read (Permission denied)"))
        assert denied.text.endswith("run this as root") is hint


def test_the_doctor_of_a_service_that_does_not_run(with_unit: FakeMachine) -> None:
    installation = examined(an_installation(with_unit, "tls\nrcpt_ok\nqueue/discard\n"))
    expected = [
        f"notice systemd passes /etc/mx.{end} to qpsmtpd.service in its place, which is not running"
        for end in ("pem", "key")
    ]
    assert expected[0] in summary(check_configuration(installation))
    assert summary(AREAS["Certificates"](installation)) == expected
    with_unit.file(f"{CREDENTIALS}/qpsmtpd-server.crt", "no certificate")
    running = examined(an_installation(with_unit, "tls\nrcpt_ok\nqueue/discard\n"))
    assert not set(expected) & set(summary(check_configuration(running)))
