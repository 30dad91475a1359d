# SPDX-License-Identifier: MIT
"""Random dialogues with a real daemon: 2000 here, as many as you like with `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.continuity.conftest import available
from tests.fuzz.__main__ import WAYS
from tests.fuzz.dialogues import Dialogue, Send, dialogue
from tests.fuzz.laboratory import ALL, fuzz
from tests.fuzz.ledger import Ledger, LedgerError
from tests.fuzz.talking import Delivered, Outcome, judge

SEED = 1
SHARE = 500

NAMES = [f"{loop}, {'all' if plugins is ALL else 'few'} plugins" for loop, plugins in WAYS]


@pytest.mark.parametrize(("number", "way"), list(enumerate(WAYS)), ids=NAMES)
async def test_dialogues(number: int, way: tuple[str, str], tmp_path: Path) -> None:
    loop, plugins = way
    first = number * SHARE
    report = await fuzz(tmp_path, plugins, available(loop), seed=SEED, first=first, number=SHARE)
    assert report.problems == []
    assert report.dialogues == SHARE
    # The others are refused, as they should be, or speak what is not spoken there.
    assert report.accepted > SHARE / 20


def test_a_dialogue_follows_from_its_seed() -> None:
    assert dialogue(1, 7) == dialogue(1, 7)
    numbers = range(0, 10_000_000, 101)
    assert len({Dialogue(1, number, ()).address for number in numbers}) == len(numbers)


# --- what the ledger finds ----------------------------------------------------------------------


def ledger(*events: bytes) -> Ledger:
    """What is said and heard in turn, beginning with the greeting."""
    found = Ledger()
    found.heard(b"220 mx.example ESMTP\r\n")
    for number, octets in enumerate(events):
        (found.heard if number % 2 else found.said)(octets)
    return found


MESSAGE = (b"DATA\r\n", b"354 go on\r\n", b"a: b\r\n\r\n..x\r\n.\r\n", b"250 OK\r\n")


@pytest.mark.parametrize(
    "events",
    [
        (b"NOOP\r\nQUIT\r\n", b"250 OK\r\n221 bye\r\n"),
        (b"EHLO x\r\n", b"250-mx\r\n250 SIZE\r\n"),
        MESSAGE,
        (b"DATA\r\n.\r\nNOOP\r\n", b"354 go on\r\n250 OK\r\n250 OK\r\n"),
        (b"AUTH LOGIN\r\nx\r\ny\r\n", b"334 x\r\n334 y\r\n235 OK\r\n"),
        (b"NOOP\r\n", b"421 shutting down\r\n"),
        (b"", b"421 too slow\r\n"),
        (b"NOO", b""),
        (b"DATA\r\n", b"354 go on\r\n", b"a: b\r\n", b"554 refused\r\n"),
        (b"BDAT 5 LAST\r\nQUIT\n", b"250 OK\r\n"),
        (b"BDAT 5\r\nQUI", b""),
        (b"BDAT 5\r\nQUIT\nbdat 0 last\r\n", b"250 OK\r\n250 OK\r\n"),
        (b"BDAT 5\r\nQUIT\nBDAT 4\r\n", b"550 no\r\n", b"QUIT", b"503 no\r\n"),
        (b"BDAT 5\r\nQ", b"421 shutting down\r\n"),
        (b"BDAT x\r\n", b"521 no\r\n"),
    ],
)
def test_right_replies(events: tuple[bytes, ...]) -> None:
    found = ledger(*events)
    assert not found.owes
    found.closed()


@pytest.mark.parametrize(
    "events",
    [
        (b"NOOP\r\n", b"250 OK\r\n250 OK\r\n"),
        (b"NOO", b"250 OK\r\n"),
        (b"NOOP\r\n", b"250 OK\n"),
        (b"NOOP\r\n", b"250-OK\r\n251 OK\r\n"),
        (b"NOOP\r\n", b"250 \xff\r\n"),
        (b"NOOP\r\n", b"250 " + b"x" * 520 + b"\r\n"),
        (b"NOOP\r\n", b"OK\r\n"),
        (b"NOOP\r\n", b"354 go on\r\n"),
        (b"NOOP\r\n", b"334 x\r\n"),
        (b"QUIT\r\nNOOP\r\n", b"221 bye\r\n250 OK\r\n"),
        (b"DATA\r\n", b"354 go on\r\n", b"a: b\r\n", b"250 OK\r\n"),
        (b"BDAT 5 LAST\r\nQUIT", b"250 OK\r\n"),
        (b"BDAT 5 LAST\r\nNOOP\n", b"250 OK\r\n250 OK\r\n"),
    ],
)
def test_wrong_replies(events: tuple[bytes, ...]) -> None:
    with pytest.raises(LedgerError):
        ledger(*events)


def test_a_server_that_says_nothing() -> None:
    with pytest.raises(LedgerError, match="owes"):
        ledger(b"NOOP\r\n").closed()
    with pytest.raises(LedgerError, match="within"):
        ledger(b"NOOP\r\n", b"250 O").closed()


RIGHT = b"Received: from x\r\n\tby y\r\na: b\r\n\r\n.x\r\n"


def test_the_text_of_chunks() -> None:
    (message,) = ledger(b"BDAT 3\r\n..xBDAT 3 LAST\r\n\r\n.", b"250 OK\r\n250 OK\r\n").messages
    assert (message.text, message.code) == (b"..x\r\n.\r\n", 250)
    (refused,) = ledger(b"BDAT 3\r\n..x", b"550 no\r\n").messages
    assert refused.code == 550
    assert not ledger(b"BDAT 3\r\n..xRSET\r\n", b"250 OK\r\n250 OK\r\n").messages


@pytest.mark.parametrize(
    ("recipient", "delivered", "wrong"),
    [
        ("user@example.test", [RIGHT], ""),
        ("user@example.test", [], "1 were accepted, 0 delivered"),
        ("user@example.test", [RIGHT, RIGHT], "1 were accepted, 2 delivered"),
        ("user@example.test", [RIGHT.replace(b".x", b"..x")], "in place of"),
        ("user@example.test", [b"no field\r\n" + RIGHT], "in place of"),
        ("user@elsewhere.example", [RIGHT], "relayed to"),
    ],
)
def test_what_was_delivered(recipient: str, delivered: list[bytes], wrong: str) -> None:
    outcome = Outcome(Dialogue(SEED, 0, (Send((b"",)),)), ledger(*MESSAGE))
    found = [Delivered("127.1.0.1", (recipient,), octets) for octets in delivered]
    problems = judge(outcome, found)
    assert [wrong in problem for problem in problems] == [True] * bool(wrong)
