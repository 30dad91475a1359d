# SPDX-License-Identifier: MIT
"""Handing reports to an SMTP server or a program, and what counts as taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.mail.address import parse_mailbox
from qpsmtpd.reports.handover import HandOverError, hand_over_by
from tests.unit.nexthop.fake import DROP, FakeHop
from tests.unit.scripts import a_script

SENDER = parse_mailbox("reports@receiver.test")
RECIPIENT = parse_mailbox("dmarc@author.test")
MESSAGE = b"To: dmarc@author.test\r\n\r\n.dot\r\n"


async def send(place: str) -> None:
    hand_over = hand_over_by(place, "mx.test")
    try:
        await hand_over.send(SENDER, RECIPIENT, MESSAGE)
    finally:
        await hand_over.close()


async def test_smtp() -> None:
    async with FakeHop() as hop:
        await send(f"127.0.0.1:{hop.port}")
        assert hop.messages == [MESSAGE]
        assert hop.commands[:4] == [
            "EHLO mx.test",
            f"MAIL FROM:<reports@receiver.test> SIZE={len(MESSAGE)}",
            "RCPT TO:<dmarc@author.test>",
            "DATA",
        ]


async def test_several_mails_on_one_connection() -> None:
    async with FakeHop(keywords=()) as hop:
        hand_over = hand_over_by(f"127.0.0.1:{hop.port}", "mx.test")
        for _ in range(3):
            await hand_over.send(SENDER, RECIPIENT, MESSAGE)
        await hand_over.close()
        assert (len(hop.messages), hop.connections) == (3, 1)
        assert "MAIL FROM:<reports@receiver.test>" in hop.commands


@pytest.mark.parametrize(
    "answers",
    [
        {"greeting": "554 no"},
        {"MAIL": "451 4.3.0 later"},
        {"MAIL": "550 5.7.1 no"},
        {"RCPT": "450 4.2.0 later"},
        {"RCPT": "550 5.1.1 unknown"},
        {"DATA": "451 4.3.0 later"},
        {"dot": "451 4.3.0 later"},
        {"dot": "554 5.7.1 no"},
        {"dot": DROP},
        {"MAIL": DROP},
    ],
)
async def test_what_smtp_refuses_was_not_taken(answers: dict[str, str]) -> None:
    async with FakeHop(**answers) as hop:  # type: ignore[arg-type]
        with pytest.raises(HandOverError, match=rf"^127\.0\.0\.1:{hop.port}: "):
            await send(f"127.0.0.1:{hop.port}")


async def test_nobody_listens() -> None:
    async with FakeHop() as hop:
        place = f"127.0.0.1:{hop.port}"
    with pytest.raises(HandOverError, match="cannot connect"):
        await send(place)


async def test_a_program(tmp_path: Path) -> None:
    text = f'echo "$@" > {tmp_path}/words; cat > {tmp_path}/message'
    await send(a_script(tmp_path / "sendmail", text))
    assert (tmp_path / "words").read_text() == "-oi -f reports@receiver.test -t\n"
    assert (tmp_path / "message").read_bytes() == MESSAGE.replace(b"\r\n", b"\n")


async def test_a_program_that_fails(tmp_path: Path) -> None:
    program = a_script(tmp_path / "sendmail", "cat >/dev/null; echo no; echo disk >&2; exit 75")
    with pytest.raises(HandOverError, match="exit status 75: no disk"):
        await send(program)
    with pytest.raises(HandOverError, match="cannot start"):
        await send(str(tmp_path / "missing"))
