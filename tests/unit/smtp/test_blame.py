# SPDX-License-Identifier: MIT
"""Whoever refuses is to blame, and nobody else: one refusal of each kind, in the trail and log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import Plugin, Session, Transaction, accept, defer, deny
from qpsmtpd.mail.trail import Answer
from qpsmtpd.plugin.chain import ChainedPlugin
from qpsmtpd.testing import services
from tests.unit.fakewire import ENVELOPE, MESSAGE, Catcher, Hook, a_plugin_with, always, fails, talk

HELLO = b"EHLO client.example\r\n"
MAIL = HELLO + b"MAIL FROM:<a@client.example>\r\n"
DATA = ENVELOPE + b"DATA\r\n"


class Witness(Plugin[None]):
    """Keeps the last decision of the session and of the transaction."""

    def __init__(self) -> None:
        super().__init__("witness", None, services())
        self.session: Answer | None = None
        self.transaction: Answer | None = None

    async def hook_reset_transaction(self, tx: Transaction) -> None:
        self.transaction = tx.trail.decision

    async def hook_disconnect(self, session: Session) -> None:
        self.session = session.trail.decision


def who(answer: Answer | None) -> tuple[str, str] | None:
    return None if answer is None else (answer.plugin, answer.hook)


async def refused(script: bytes, *plugins: Any, **settings: Any) -> Witness:
    witness = Witness()
    await talk(script, plugins=(*plugins, Catcher(), witness), **settings)
    return witness


def says_ok(**hooks: Hook) -> Plugin[Any]:
    """A plugin that accepts in every hook before the one in question, and must not be blamed."""
    return a_plugin_with("says_ok", data=always(accept()), helo=always(accept()), **hooks)


@pytest.mark.parametrize(
    ("hook", "script"),
    [
        ("pre_connection", b""),
        ("connect", b""),
        ("helo", b"HELO client.example\r\n"),
        ("ehlo", HELLO),
        ("helo_parse", b"HELO client.example\r\n"),
        ("ehlo_parse", HELLO),
        ("mail_parse", MAIL),
        ("mail_pre", MAIL),
        ("noop", b"NOOP\r\n"),
        ("vrfy", b"VRFY x\r\n"),
        ("help", b"HELP\r\n"),
        ("unrecognized_command", b"XYZZY\r\n"),
    ],
)
async def test_a_plugin_refuses_outside_of_a_transaction(hook: str, script: bytes) -> None:
    plugin = a_plugin_with("guilty", **{hook: always(deny("No"))})
    witness = await refused(script, plugin)
    assert who(witness.session) == ("guilty", hook)


@pytest.mark.parametrize(
    "hook",
    [
        "mail",
        "rcpt_parse",
        "rcpt_pre",
        "rcpt",
        "data",
        "data_post_headers",
        "received_line",
        "data_post",
        "queue_pre",
        "sign",
        "queue",
    ],
)
async def test_a_plugin_refuses_in_a_transaction(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = a_plugin_with("guilty", **{hook: always(defer("Later"))})
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        witness = await refused(DATA + MESSAGE, plugin)
    # The recipient's hooks leave no transaction with recipients; the rest of the script is noise.
    expected = ("guilty", hook)
    if hook in ("rcpt", "rcpt_parse", "rcpt_pre"):
        assert any(getattr(record, "plugin", "") == "guilty" for record in caplog.records)
    else:
        assert who(witness.transaction) == expected
    if hook.startswith(("data", "received", "queue", "sign")):
        assert "plugin=guilty" in summary(caplog)


def summary(caplog: pytest.LogCaptureFixture) -> str:
    (line,) = [text for text in caplog.messages if text.startswith("message ")]
    return line


@pytest.mark.parametrize(
    ("script", "hook"),
    [
        (b"MAIL FROM:<a@b>\r\n", "mail"),
        (HELLO + b"MAIL FROM:<a@b> SIZE=x\r\n", "mail"),
        (HELLO + b"MAIL FROM:nobody\r\n", "mail"),
        (HELLO + b"RCPT TO:<a@b>\r\n", "rcpt"),
        (HELLO + b"DATA\r\n", "data"),
        (b"EHLO\r\n", "ehlo"),
        (b"XYZZY\r\n", "command"),
        (b"NOOP\n", "command"),
        (b"NO\0OP\r\n", "command"),
        (b"X" * 5000 + b"\r\n", "command"),
        (b"STARTTLS\r\n", "starttls"),
        (b"AUTH PLAIN\r\n", "auth"),
    ],
)
async def test_the_core_refuses_outside_of_a_transaction(script: bytes, hook: str) -> None:
    witness = await refused(script, says_ok(ehlo=always(accept())))
    assert who(witness.session) == ("core", hook)


@pytest.mark.parametrize(
    ("message", "settings", "reply"),
    [
        (b"Subject: x\r\n\r\nbare\nline\r\n.\r\n", {}, "5.5.2"),
        (b"Subject: x\r\n\r\nnul\0\r\n.\r\n", {}, "5.5.2"),
        (MESSAGE, {"databytes": 5}, "5.3.4"),
        (b"A: b\r\n" * 3 + MESSAGE, {"max_headers": 2}, "5.3.4"),
        (MESSAGE, {"spool_dir": Path("/dev/null/spool"), "size_threshold": 1}, "4.3.0"),
    ],
)
async def test_the_core_refuses_a_message_that_plugins_accepted(
    message: bytes, settings: dict[str, Any], reply: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        witness = await refused(DATA + message, says_ok(), **settings)
    assert who(witness.transaction) == ("core", "data")
    assert "plugin=core" in summary(caplog)
    assert reply in summary(caplog)


async def test_nobody_takes_the_message(caplog: pytest.LogCaptureFixture) -> None:
    nobody = a_plugin_with("rcpt_ok", rcpt=always(accept()))
    witness = Witness()
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        await talk(DATA + MESSAGE, plugins=(says_ok(), nobody, witness))
    assert who(witness.transaction) == ("core", "data")
    assert "plugin=core" in summary(caplog)


async def test_nobody_decides_about_the_recipient() -> None:
    witness = Witness()
    await talk(ENVELOPE, plugins=(witness,))
    assert who(witness.transaction) == ("core", "rcpt")


async def test_a_fault_is_the_plugins(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        witness = await refused(DATA + MESSAGE, a_plugin_with("guilty", data_post=fails))
    assert who(witness.transaction) == ("guilty", "data_post")
    assert "plugin=guilty" in summary(caplog)


async def test_who_took_the_message(caplog: pytest.LogCaptureFixture) -> None:
    late = a_plugin_with("late", queue_post=fails)
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        await refused(DATA + MESSAGE, says_ok(), late)
    assert summary(caplog).startswith("message accepted")
    assert "plugin=catcher" in summary(caplog)


async def test_refusals_of_parsers_and_of_our_own_field_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugin = a_plugin_with("guilty", mail_parse=always(deny("No")))
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        await refused(MAIL, plugin)
    (record,) = [r for r in caplog.records if r.getMessage().startswith("refused ")]
    assert (record.plugin, record.hook) == ("guilty", "mail_parse")  # type: ignore[attr-defined]


def tagging(name: str, **hooks: Hook) -> Plugin[Any]:
    plugin = a_plugin_with(name, **hooks)
    plugin.mode = "tag"
    return plugin


async def test_tags_stand_on_top_and_only_ours() -> None:
    """Whoever wrote the field into the message cannot speak for us."""
    catcher = Catcher()
    plugins = (
        tagging("early", connect=always(deny("Listed\nsee list.example"))),
        tagging("late", data_post=always(defer("Odd\x1b text"))),
        catcher,
    )
    forged = b"X-Qpsmtpd-Tag: nice\r\nx-qpsmtpd-tag: nicer\r\n"
    await talk(DATA + forged + MESSAGE, plugins=plugins)
    lines = catcher.messages[0].split(b"\r\n")
    assert lines[:2] == [
        b"X-Qpsmtpd-Tag: late hook=data_post 452 4.7.1 Odd? text",
        b"X-Qpsmtpd-Tag: early hook=connect 550-5.7.1 Listed / 550 5.7.1 see list.example",
    ]
    assert b"nice" not in catcher.messages[0]


async def test_a_signature_covers_tags() -> None:
    seen: list[int] = []

    async def count(tx: Transaction) -> None:
        assert tx.message is not None
        seen.append(tx.message.headers.count("X-Qpsmtpd-Tag"))

    tagger = tagging("tagger", queue_pre=always(deny("Odd")))
    await talk(DATA + MESSAGE, plugins=(tagger, a_plugin_with(sign=count), Catcher()))
    assert seen == [1]


async def test_the_field_of_others_stays_when_nobody_tags() -> None:
    catcher = Catcher()
    await talk(DATA + b"X-Qpsmtpd-Tag: theirs\r\n" + MESSAGE, plugins=(ChainedPlugin(catcher),))
    assert b"X-Qpsmtpd-Tag: theirs" in catcher.messages[0]
