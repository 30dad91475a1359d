# SPDX-License-Identifier: MIT
"""queue/smtp-forward and queue/lmtp: who answers there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from qpsmtpd.doctor.installation import Installation
from qpsmtpd.nexthop import hopchecks
from tests.ports import refusing_port
from tests.unit.doctor.fakes import STRANGER, FakeMachine, an_installation, said_by, summary
from tests.unit.nexthop.fake import SILENT, FakeHop

ALL = (
    "notice takes every recipient in mx.example.org from us, so mail to unknown users is not "
    "refused"
)


async def check(installation: Installation) -> list[str]:
    """What is found; in a thread, as the doctor runs loops of its own."""
    names = ("queue/smtp-forward", "queue/lmtp")
    return await asyncio.to_thread(lambda: summary(said_by(installation, *names)))


def forward(
    machine: FakeMachine, port: int, arguments: str = "", listen: Iterable[str] = ()
) -> Installation:
    chain = f"rcpt_ok\nqueue/smtp-forward 127.0.0.1 {port} {arguments}\n"
    return an_installation(machine, chain, listen=listen)


async def test_answers(machine: FakeMachine) -> None:
    async with FakeHop() as hop:
        assert await check(forward(machine, hop.port)) == [
            "ok answers, and offers 8BITMIME DSN HELP PIPELINING SIZE SMTPUTF8 "
            "(up to 1000000 octets)",
            ALL,
        ]
        await hop.left.wait()
    assert hop.verbs()[:7] == ["EHLO", "MAIL", "RCPT", "QUIT", "EHLO", "MAIL", "RCPT"]
    assert hop.commands[0] == "EHLO mx.example.org"


async def test_old_server(machine: FakeMachine) -> None:
    async with FakeHop(EHLO="500 what?") as hop:
        found = await check(forward(machine, hop.port))
    assert found[0] == "ok answers, and offers nothing (no EHLO)"
    assert found[1].startswith("notice has no SMTPUTF8")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"RCPT": "550 5.1.1 who?"}, "ok says which recipients it does not have"),
        ({"RCPT": "550 5.7.1 no"}, "ok answers questions about recipients, but not about mx."),
        ({"MAIL": "450 4.7.1 later"}, "warning cannot be asked about recipients, so mail to"),
    ],
)
async def test_is_asked_about_a_recipient(
    machine: FakeMachine, answers: dict[str, Any], expected: str
) -> None:
    async with FakeHop(**answers) as hop:
        assert (await check(forward(machine, hop.port)))[-1].startswith(expected)


async def test_refuses(machine: FakeMachine) -> None:
    async with FakeHop(greeting="554 5.7.1 go away") as hop:
        (found,) = await check(forward(machine, hop.port))
    assert found.startswith("error greeting: 554")


@pytest.mark.parametrize(
    "answers",
    [
        {"MAIL": "530 5.7.0 Must issue a STARTTLS command first"},
        {"MAIL": "550 5.7.1 go away"},
        {"RCPT": "504 5.5.2 <mx>: Helo command rejected: need fully-qualified hostname"},
    ],
)
async def test_refuses_us(machine: FakeMachine, answers: dict[str, Any]) -> None:
    async with FakeHop(**answers) as hop:
        (found,) = await check(forward(machine, hop.port))
    assert found.startswith(f"error refuses us: {next(iter(answers.values()))}")


@pytest.mark.parametrize("answers", [{"RCPT": "550 5.1.1 who?"}, {"MAIL": "450 4.7.1 later"}])
async def test_refuses_somebody_else(machine: FakeMachine, answers: dict[str, Any]) -> None:
    async with FakeHop(**answers) as hop:
        found = await check(forward(machine, hop.port))
    assert found[0].startswith("ok answers")


async def test_nobody(machine: FakeMachine) -> None:
    with refusing_port() as port:
        (found,) = await check(forward(machine, port))
    assert found.startswith("error cannot connect")


async def test_says_nothing(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hopchecks, "TIMEOUT", 0.3)
    async with FakeHop(greeting=SILENT) as hop:
        assert await check(forward(machine, hop.port)) == ["error does not reply"]


async def test_needs_tls(machine: FakeMachine) -> None:
    async with FakeHop() as hop:
        assert await check(forward(machine, hop.port, "tls=require")) == [
            "error offers no STARTTLS"
        ]


async def test_bad_authorities(machine: FakeMachine) -> None:
    (found,) = await check(forward(machine, 25, "tls=verify ca=/nowhere"))
    assert found.startswith("error ca: /nowhere: ")


@pytest.mark.parametrize("listen", [":{}", "127.0.0.1:{}", "0.0.0.0:{}"])
async def test_ourselves(machine: FakeMachine, listen: str) -> None:
    async with FakeHop() as hop:
        installation = forward(machine, hop.port, listen=[listen.format(hop.port)])
        (found,) = await check(installation)
    assert "mail would go round in circles" in found
    assert not hop.commands


@pytest.mark.parametrize("listen", ["127.0.0.2:{}", "[::1]:{}", ":1"])
async def test_not_ourselves(machine: FakeMachine, listen: str) -> None:
    async with FakeHop() as hop:
        installation = forward(machine, hop.port, listen=[listen.format(hop.port)])
        assert (await check(installation))[0].startswith("ok")


async def test_another_machine_with_the_same_port(machine: FakeMachine) -> None:
    machine.ours = set()
    async with FakeHop() as hop:
        installation = forward(machine, hop.port, listen=[f":{hop.port}"])
        assert (await check(installation))[0].startswith("ok")


async def test_lmtp(machine: FakeMachine) -> None:
    path = machine.directory("/run") / "lmtp"
    installation = an_installation(machine, "rcpt_ok\nqueue/lmtp unix:/run/lmtp\n")
    async with FakeHop(path=path, lmtp=True) as hop:
        path.chmod(0o666)
        assert (await check(installation))[0].startswith("ok answers")
        await hop.left.wait()
    assert hop.verbs()[:4] == ["LHLO", "MAIL", "RCPT", "QUIT"]


async def test_socket_of_somebody_else(machine: FakeMachine) -> None:
    path = machine.directory("/run") / "lmtp"
    machine.users = {"qpsmtpd": STRANGER}
    installation = an_installation(machine, "rcpt_ok\nqueue/lmtp unix:/run/lmtp\n")
    async with FakeHop(path=path, lmtp=True):
        path.chmod(0o600)
        assert (await check(installation))[0].startswith("error /run/lmtp does not let")
