# SPDX-License-Identifier: MIT
"""What handlers do to their envelope is done to ours, or nothing is."""

from __future__ import annotations

from typing import Any

import pytest

from qpsmtpd.api import Note
from qpsmtpd.handlers import changes
from qpsmtpd.handlers.statuses import HandlerError
from qpsmtpd.testing import a_recipient, a_transaction


@pytest.mark.parametrize(
    ("left", "sender"),
    [
        ("a@b.test", "a@b.test"),
        ("x@y.test", "x@y.test"),
        ("<x@y.test>", "x@y.test"),
        ('"x y"@z.test', '"x y"@z.test'),
        ("<>", ""),
        ("", ""),
    ],
)
def test_the_sender(left: str, sender: str) -> None:
    tx = a_transaction("a@b.test")
    changes.change_sender(tx, "a@b.test", left)
    assert tx.sender == sender


@pytest.mark.parametrize(
    "left", [None, 1, b"x@y.test", "x", "x@y z", "x@y.test\r\nDATA", "ü@y.test"]
)
def test_no_sender(left: Any) -> None:
    tx = a_transaction("a@b.test")
    with pytest.raises(HandlerError, match=r"left .* in envelope\.mail_from"):
        changes.change_sender(tx, "a@b.test", left)
    assert tx.sender == "a@b.test"


def test_parameters_are_added_but_not_taken_away() -> None:
    tx = a_transaction(parameters={"SIZE": "9"})
    changes.add_parameters(tx, ("SIZE=9",), ["smtputf8", "X=y"])
    assert tx.mail_parameters == {"SIZE": "9", "SMTPUTF8": None, "X": "y"}


KEPT = Note[str]("kept")


@pytest.mark.parametrize(
    ("left", "recipients"),
    [
        (["a@b.test", "c@d.test"], ["a@b.test", "c@d.test"]),
        (["c@d.test", "a@b.test"], ["c@d.test", "a@b.test"]),
        (["c@d.test"], ["c@d.test"]),
        (["a@b.test", "a@b.test"], ["a@b.test", "a@b.test"]),
        (["e@f.test", "a@b.test"], ["e@f.test", "a@b.test"]),
        ([], []),
    ],
)
def test_recipients(left: list[str], recipients: list[str]) -> None:
    tx = a_transaction("", "a@b.test", "c@d.test")
    for recipient in tx.recipients:
        recipient.notes[KEPT] = str(recipient)
    changes.change_recipients(tx, ("a@b.test", "c@d.test"), left)
    assert list(map(str, tx.recipients)) == recipients
    kept = [r for r in tx.recipients if KEPT in r.notes]
    assert {r.notes[KEPT] for r in kept} == {"a@b.test", "c@d.test"} & set(left)


@pytest.mark.parametrize("wrong", [None, 1, "x", "x@y z", "ü@y.test", ["a@b.test"]])
def test_no_recipients(wrong: Any) -> None:
    tx = a_transaction("", "a@b.test")
    with pytest.raises(HandlerError, match=r"left .* in envelope\.rcpt_tos"):
        changes.change_recipients(tx, ("a@b.test",), ["n@o.test", wrong])
    assert list(map(str, tx.recipients)) == ["a@b.test"]


@pytest.mark.parametrize(
    ("left", "added", "others"),
    [
        ([], [], []),
        (["a", "b"], [], ["a", "b"]),
        (["a", "b", "c"], ["c"], ["a", "b"]),
        (["a", "b", "a"], ["a"], ["a", "b"]),
        (["c", "b"], ["c"], ["b"]),
        (["d", "a", "e", "b"], ["d", "e"], ["a", "b"]),
    ],
)
def test_what_is_new(left: list[Any], added: list[Any], others: list[Any]) -> None:
    assert changes.split_new(("a", "b"), left) == (added, others)


def test_the_recipient_at_hand() -> None:
    recipient = a_recipient("a@b.test")
    changes.change_recipient(recipient, "c@d.test", utf8=False)
    assert str(recipient) == "c@d.test"
    with pytest.raises(HandlerError):
        changes.change_recipient(recipient, "nobody", utf8=False)
    assert str(recipient) == "c@d.test"


@pytest.mark.parametrize(
    ("left", "recipients"),
    [
        (["a@b.test", "c@d.test"], ["a@b.test", "c@d.test"]),
        (["c@d.test"], ["c@d.test"]),
        (["e@f.test"], ["e@f.test"]),
        (["c@d.test", "e@f.test"], ["c@d.test", "e@f.test"]),
        (["a@B.TEST", "c@d.test"], ["a@b.test", "c@d.test"]),
        (["a@B.TEST"], ["a@b.test"]),
    ],
)
def test_recipients_after_data(left: list[str], recipients: list[str]) -> None:
    tx = a_transaction("", "a@b.test", "c@d.test")
    changes.exchange_recipients(tx, ("a@b.test", "c@d.test"), left)
    assert list(map(str, tx.recipients)) == recipients


@pytest.mark.parametrize("wrong", [None, "x", "ü@y.test"])
def test_no_recipients_after_data(wrong: Any) -> None:
    tx = a_transaction("", "a@b.test")
    with pytest.raises(HandlerError, match=r"left .* in envelope\.rcpt_tos"):
        changes.exchange_recipients(tx, ("a@b.test",), ["n@o.test", wrong])
    assert list(map(str, tx.recipients)) == ["a@b.test"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"A: b\r\n\r\nc\r\n", b"A: b\r\n\r\nc\r\n"),
        (b"A: b\n\nc\rd\n", b"A: b\r\n\r\nc\r\nd\r\n"),
        ("A: ü\n\nc", "A: ü\r\n\r\nc\r\n".encode()),
        (bytearray(b"A: b\r\n"), b"A: b\r\n\r\n"),
        (b"\r\nbody", b"\r\nbody\r\n"),
        (b"", b"\r\n"),
    ],
)
async def test_the_message(content: Any, text: bytes) -> None:
    tx = a_transaction(message="Old: message\n\nold\n")
    await changes.change_message(tx, content)
    assert tx.message is not None
    assert await tx.message.read(1000) == text


async def test_a_message_that_needs_eight_bits() -> None:
    tx = a_transaction(message="Old: message\n\nold\n")
    await changes.change_message(tx, "A: b\n\n\udcff\n")
    assert tx.body_type == "8BITMIME"


@pytest.mark.parametrize("content", [1, ["A: b"], b"A: \0", object()])
async def test_no_message(content: Any) -> None:
    tx = a_transaction(message="Old: message\n\nold\n")
    with pytest.raises(HandlerError, match=r"in envelope\.content"):
        await changes.change_message(tx, content)
    assert tx.message is not None
    assert await tx.message.read(1000) == b"Old: message\r\n\r\nold\r\n"
