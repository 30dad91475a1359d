# SPDX-License-Identifier: MIT
"""queue/postfix-queue: the socket, the way to it, and Postfix behind it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugins.queue import postfix_queue
from tests.unit.doctor.fakes import (
    STRANGER,
    FakeMachine,
    a_service,
    an_installation,
    commands,
    listening_unix,
    said_by,
    summary,
)
from tests.unit.nexthop.fake import FakeHop

#: Of a machine where nobody answers questions about recipients.
UNASKED = "cannot be asked about recipients, so mail to unknown users is not refused"
PUBLIC = "/var/spool/postfix/public"
SOCKET = f"{PUBLIC}/cleanup"
CHAIN = "rcpt_ok\nqueue/postfix-queue\n"


@pytest.fixture(autouse=True)
def _nobody_to_ask(monkeypatch: pytest.MonkeyPatch, nowhere: str, tmp_path: Path) -> None:
    """Whatever listens on this machine's port 25 is not asked."""
    monkeypatch.setattr(postfix_queue, "LOOPBACK", nowhere)
    monkeypatch.setattr(postfix_queue, "SMTP_SOCKET", f"{tmp_path}/smtpd")


def check(installation: Installation) -> list[str]:
    """What is found, without that."""
    found = summary(said_by(installation, "queue/postfix-queue"))
    return [text for text in found if UNASKED not in text]


def repairs(installation: Installation) -> list[str]:
    return commands(said_by(installation, "queue/postfix-queue"))


def test_not_installed(machine: FakeMachine) -> None:
    installation = an_installation(machine, CHAIN)
    assert check(installation) == ["error does not exist: Postfix is not installed"]
    assert repairs(installation) == ["dpkg-reconfigure qpsmtpd"]


def test_does_not_run(machine: FakeMachine) -> None:
    machine.file("/usr/sbin/postfix", mode=0o755)
    machine.directory(PUBLIC)
    installation = an_installation(machine, CHAIN)
    assert check(installation) == ["error does not exist: Postfix is not running"]
    assert repairs(installation) == ["systemctl start postfix"]


def test_takes_connections(machine: FakeMachine) -> None:
    directory = machine.directory(PUBLIC, 0o710)
    with listening_unix(directory / "cleanup"):
        assert check(an_installation(machine, CHAIN)) == ["ok Postfix accepts connections"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("550 5.1.1 User unknown", "ok says which recipients it does not have"),
        ("250 2.1.5 Ok", "notice takes every recipient in mx.example.org from us"),
        ("554 5.7.1 Relay access denied", "ok answers questions about recipients, but not about"),
    ],
)
async def test_is_asked_about_a_recipient(
    machine: FakeMachine, reply: str, expected: str, tmp_path: Path
) -> None:
    directory = machine.directory(PUBLIC, 0o710)
    with listening_unix(directory / "cleanup"):
        async with FakeHop(RCPT=reply, path=tmp_path / "smtpd"):
            found = await asyncio.to_thread(check, an_installation(machine, CHAIN))
    assert found[0] == "ok Postfix accepts connections"
    assert found[1].startswith(expected)


def test_cannot_be_asked(machine: FakeMachine) -> None:
    directory = machine.directory(PUBLIC, 0o710)
    with listening_unix(directory / "cleanup"):
        found = summary(said_by(an_installation(machine, CHAIN), "queue/postfix-queue"))
    assert found[1].startswith(f"warning {UNASKED}: unix:")


def test_not_in_the_group(machine: FakeMachine) -> None:
    directory = machine.directory(PUBLIC, 0o710)
    machine.users = {"qpsmtpd": STRANGER}
    with listening_unix(directory / "cleanup"):
        installation = an_installation(machine, CHAIN)
        (text,) = check(installation)
    assert text.startswith(f"error {PUBLIC} does not let user qpsmtpd enter")
    assert repairs(installation) == [
        "adduser qpsmtpd postdrop",
        "systemctl restart qpsmtpd.service",
    ]


def test_permissions_of_postfix_changed(machine: FakeMachine) -> None:
    machine.directory(PUBLIC, 0o700)
    assert repairs(an_installation(machine, CHAIN)) == ["postfix set-permissions"]


def test_nobody_behind_the_socket(machine: FakeMachine) -> None:
    path = machine.directory(PUBLIC) / "cleanup"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    path.chmod(0o666)
    (text,) = check(an_installation(machine, CHAIN))
    assert text.startswith("error nobody answers")


def test_no_socket(machine: FakeMachine) -> None:
    machine.file(SOCKET, mode=0o666)
    assert check(an_installation(machine, CHAIN)) == ["error is not a socket"]


def test_running_without_the_group(machine: FakeMachine) -> None:
    directory = machine.directory(PUBLIC, 0o710)
    a_service(machine, "Gid:\t54321\nGroups:\t54321\n")
    with listening_unix(directory / "cleanup"):
        found = check(an_installation(machine, CHAIN))
        assert found[1].endswith("before its user became a member of postdrop")
        a_service(machine, f"Gid:\t54321\nGroups:\t{machine.groups['postdrop']}\n")
        assert len(check(an_installation(machine, CHAIN))) == 1


def test_other_sockets(machine: FakeMachine, nowhere: str) -> None:
    sockets = f"/nowhere\n{nowhere}\n"
    first, second = check(an_installation(machine, CHAIN, cleanup_sockets=sockets))
    assert first == "error does not exist: Postfix is not installed"
    assert second.startswith("error nobody answers")


def test_socket_of_the_environment(machine: FakeMachine) -> None:
    machine.environment["POSTFIXQUEUE"] = "/elsewhere"
    installation = an_installation(machine, CHAIN)
    found = said_by(installation, "queue/postfix-queue")
    assert [f.subject for f in found] == ["/elsewhere"]


def test_we_may_not_look(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = an_installation(machine, CHAIN)
    assert installation.user

    def status(path: object) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(machine, "status", status)
    found, *_ = said_by(installation, "queue/postfix-queue")
    assert found.severity.name == "NOTICE"
    assert "run this as root" in found.text


def test_without_the_user(machine: FakeMachine) -> None:
    directory = machine.directory(PUBLIC, 0o710)
    machine.users = {}
    with listening_unix(directory / "cleanup"):
        assert check(an_installation(machine, CHAIN)) == ["ok Postfix accepts connections"]
