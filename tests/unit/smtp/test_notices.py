# SPDX-License-Identifier: MIT
"""Notices of success: whom we owe one, what it says, and that it never does harm."""

from __future__ import annotations

import email
import email.policy
from email.message import Message as Mail
from typing import Any

import pytest

from qpsmtpd.api import Transaction, Verdict, accept, defer
from qpsmtpd.mail.session import Success
from qpsmtpd.mailauth.results import SPF_RESULT
from qpsmtpd.mailauth.spf import SpfResult
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.smtp.notices import Notice, due
from qpsmtpd.testing import a_session, a_transaction
from tests.unit.fakewire import Catcher, FakeWire, a_connection, a_plugin_with, always, talk

WANTED = {"NOTIFY": "SUCCESS"}


def a_notice(tx: Transaction, *, offered: bool = True, relay: bool = True) -> Notice | None:
    tx.session.capabilities = ["DSN"] if offered else []
    tx.session.relay_client = relay
    return due(a_connection(FakeWire(), session=tx.session), tx)


def a_wish(*recipients: str, sender: str = "a@client.example", **more: Any) -> Transaction:
    tx = a_transaction(
        sender, *recipients or ("user@example.test",), message="Subject: x\n\ny\n", **more
    )
    for recipient in tx.recipients:
        recipient.parameters = dict(WANTED)
    return tx


def parsed(notice: Notice | None) -> Mail:
    assert notice is not None
    return email.message_from_bytes(notice.text, policy=email.policy.default)


def status_of(notice: Notice | None) -> list[dict[str, str]]:
    """The fields about the message, and those about each recipient."""
    _, status, _ = parsed(notice).iter_parts()  # type: ignore[attr-defined]
    return [dict(part.items()) for part in status.iter_parts()]


def test_relayed() -> None:
    tx = a_wish(parameters={"ENVID": "a+2Bb", "RET": "FULL"})
    tx.recipients[0].parameters["ORCPT"] = "rfc822;first+2Blast@example.test"
    notice = a_notice(tx)
    mail = parsed(notice)
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "delivery-status"
    assert mail["To"] == "a@client.example"
    assert mail["Auto-Submitted"] == "auto-replied"
    words, status, header = mail.iter_parts()  # type: ignore[attr-defined]
    assert "user@example.test" in words.get_content()
    assert status.get_content_type() == "message/delivery-status"
    message, recipient = status_of(notice)
    assert message["Original-Envelope-Id"] == "a+b"
    assert message["Reporting-MTA"] == "dns; mx.example"
    assert recipient == {
        "Original-Recipient": "rfc822; first+last@example.test",
        "Final-Recipient": "rfc822; user@example.test",
        "Action": "relayed",
        "Status": "2.0.0",
    }
    # RFC 3461 section 4.3: never the whole message, whatever RET says.
    assert header.get_content_type() == "text/rfc822-headers"
    assert header.get_content() == "Subject: x\r\n"


def test_only_whom_it_concerns() -> None:
    tx = a_wish("one@x.test", "two@x.test", "three@x.test", "four@x.test")
    actions: tuple[Success, ...] = ("delivered", "none", "relayed", "relayed")
    for recipient, action in zip(tx.recipients, actions, strict=True):
        recipient.success = action
    tx.recipients[3].parameters = {"NOTIFY": "FAILURE,DELAY"}
    _, *recipients = status_of(a_notice(tx))
    assert [(each["Final-Recipient"], each["Action"]) for each in recipients] == [
        ("rfc822; one@x.test", "delivered"),
        ("rfc822; three@x.test", "relayed"),
    ]


@pytest.mark.parametrize("parameters", [{}, {"NOTIFY": "NEVER"}, {"ORCPT": "rfc822;SUCCESS"}])
def test_nobody_has_asked(parameters: dict[str, str | None]) -> None:
    tx = a_wish()
    tx.recipients[0].parameters = parameters
    assert a_notice(tx) is None


def test_never_to_the_null_reverse_path() -> None:
    assert a_notice(a_wish(sender="")) is None


def test_not_if_it_was_not_offered() -> None:
    assert a_notice(a_wish(), offered=False) is None


def test_not_if_it_was_dropped() -> None:
    tx = a_wish()
    tx.dropped_by = "milter"
    assert a_notice(tx) is None


@pytest.mark.parametrize(
    ("result", "identity", "sent"),
    [("pass", "mailfrom", True), ("pass", "helo", False), ("softfail", "mailfrom", False)],
)
def test_strangers_have_to_be_genuine(result: Any, identity: Any, sent: bool) -> None:
    tx = a_wish()
    assert a_notice(tx, relay=False) is None
    tx.notes[SPF_RESULT] = SpfResult(result, identity, "client.example")
    assert (a_notice(tx, relay=False) is not None) == sent


def test_addresses_outside_ascii() -> None:
    tx = a_wish("ü@example.test", sender="ä@client.example", parameters={"SMTPUTF8": None})
    notice = a_notice(tx)
    assert notice is not None
    assert notice.utf8
    assert b"message/global-delivery-status" in notice.text
    assert "Final-Recipient: utf-8; ü@example.test\r\n".encode() in notice.text
    assert b"message/global-headers" in notice.text


def test_a_header_section_of_octets() -> None:
    tx = a_transaction("a@client.example", "u@x.test", message=b"Subject: \xfc\n\ny\n")
    tx.recipients[0].parameters = dict(WANTED)
    notice = a_notice(tx)
    assert notice is not None
    assert not notice.utf8
    assert b"text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n" in notice.text


# --- on its way -----------------------------------------------------------------------------

ENVELOPE = b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\n"
TRANSACTION = b"RCPT TO:<user@example.test> NOTIFY=SUCCESS\r\nDATA\r\n"
MESSAGE = b"Subject: x\r\n\r\nx\r\n.\r\n"


class Takes(Catcher):
    """Takes messages, and says what it thinks of notices."""

    def __init__(self, about_notices: Any) -> None:
        super().__init__()
        self._about_notices = about_notices
        self.envelopes: list[tuple[str, list[tuple[str, dict[str, str | None]]]]] = []

    async def hook_queue(self, tx: Transaction) -> Verdict | None:
        recipients = [(str(each), each.parameters) for each in tx.recipients]
        self.envelopes.append((tx.sender, recipients))
        if tx.reverse_path is None:
            if isinstance(self._about_notices, Exception):
                raise self._about_notices
            return self._about_notices  # type: ignore[no-any-return]
        return await super().hook_queue(tx)


@pytest.mark.parametrize("answer", [accept(), defer("later"), None, RuntimeError("broken")])
async def test_the_message_is_taken_whatever_becomes_of_the_notice(answer: Any) -> None:
    plugin = Takes(answer)
    session = a_session(relay_client=True)
    script = ENVELOPE + TRANSACTION
    wire = await talk(
        script, MESSAGE, b"NOOP\r\n", plugins=(plugin,), session=session, dsn="always"
    )
    assert wire.codes == [220, 250, 250, 250, 354, 250, 250]
    assert wire.replies[5] == "250 2.0.0 Caught"
    assert plugin.envelopes == [
        ("a@client.example", [("user@example.test", {"NOTIFY": "SUCCESS"})]),
        ("", [("a@client.example", {"NOTIFY": "NEVER"})]),
    ]
    assert plugin.resets == 2


async def test_the_client_has_its_reply_first() -> None:
    wire = FakeWire(ENVELOPE + TRANSACTION, MESSAGE)
    seen = []

    async def look(tx: Transaction) -> Verdict:
        seen.append(len(wire.replies))
        return accept()

    await converse(
        a_connection(
            wire,
            a_plugin_with("queue", queue=look),
            Catcher(),
            session=a_session(relay_client=True),
            dsn="always",
        )
    )
    assert seen == [5, 6]


async def test_the_client_is_gone() -> None:
    """Its message is there, and so its sender hears of it."""
    plugin = Takes(accept())
    await talk(
        ENVELOPE + TRANSACTION,
        MESSAGE,
        plugins=(plugin,),
        session=a_session(relay_client=True),
        dsn="always",
    )
    assert len(plugin.envelopes) == 2


@pytest.mark.parametrize("dsn", ["next_hop", "off"])
async def test_not_unless_we_are_to(dsn: str) -> None:
    plugin = Takes(accept())
    session = a_session(relay_client=True)
    await talk(ENVELOPE + TRANSACTION, MESSAGE, plugins=(plugin,), session=session, dsn=dsn)
    (envelope,) = plugin.envelopes
    assert envelope[1][0][1] == ({} if dsn == "off" else WANTED)


async def test_in_single_octets() -> None:
    plugin = Takes(accept())
    session = a_session(relay_client=True)
    script = ENVELOPE + TRANSACTION + MESSAGE + b"NOOP\r\n"
    octets = (script[i : i + 1] for i in range(len(script)))
    wire = await talk(*octets, plugins=(plugin,), session=session, dsn="always")
    assert wire.codes == [220, 250, 250, 250, 354, 250, 250]
    assert len(plugin.envelopes) == 2


async def test_a_notice_is_never_about_a_notice() -> None:
    """Nor is there one for a message that was refused."""
    plugin = Takes(accept())
    session = a_session(relay_client=True)
    null = ENVELOPE.replace(b"<a@client.example>", b"<>") + TRANSACTION
    await talk(null, MESSAGE, plugins=(plugin,), session=session, dsn="always")
    assert [sender for sender, _ in plugin.envelopes] == [""]
    refusing = a_plugin_with(data_post=always(defer("later")))
    plugin = Takes(accept())
    session = a_session(relay_client=True)
    await talk(
        ENVELOPE + TRANSACTION, MESSAGE, plugins=(refusing, plugin), session=session, dsn="always"
    )
    assert plugin.envelopes == []
