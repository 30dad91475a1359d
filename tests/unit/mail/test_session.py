# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/mail/session.py."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv6Address

import pytest

from qpsmtpd.mail.address import Address, parse_forward_path
from qpsmtpd.mail.ip import Endpoint, parse_ip
from qpsmtpd.mail.message import Message
from qpsmtpd.mail.notes import Note
from qpsmtpd.mail.session import AuthAttempt, Recipient, ReverseNames, Session, Tap, Transaction
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.testing import FakeChannel, a_plugin, a_session, a_transaction

HERE = Endpoint("198.51.100.25", 25)


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (Endpoint("192.0.2.1", 25), "192.0.2.1:25"),
        (Endpoint("2001:db8::1", 25), "[2001:db8::1]:25"),
        (Endpoint("192.0.2.1"), "192.0.2.1:0"),
    ],
)
def test_endpoint(endpoint: Endpoint, text: str) -> None:
    assert str(endpoint) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", IPv4Address("192.0.2.1")),
        ("::ffff:192.0.2.1", IPv4Address("192.0.2.1")),
        ("::ffff:0.0.0.0", IPv4Address("0.0.0.0")),
        ("2001:DB8::1", IPv6Address("2001:db8::1")),
        ("fe80::1%eth0", IPv6Address("fe80::1")),
    ],
)
def test_parse_ip(text: str, address: IPv4Address | IPv6Address) -> None:
    assert parse_ip(text) == address


@pytest.mark.parametrize("text", ["", "host", "192.0.2.256", "192.0.2", "%eth0"])
def test_no_ip(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        parse_ip(text)


def test_a_new_session_is_nobody_special() -> None:
    session = a_session()
    assert not session.relay_client
    assert not session.has_deferred_rejects
    assert session.tls is None
    assert session.hello is None
    assert session.transaction is None
    assert (session.auth_user, session.karma, session.messages) == ("", 0, 0)


def test_sessions_and_transactions_have_ids_of_their_own() -> None:
    """A refused message must not share its id with the next one of the session."""
    one, other = a_session(), a_session()
    ids = [Transaction(session, None).id for session in (one, one, other)]
    assert len({one.id, other.id, *ids}) == 5
    assert ids[0].startswith(f"{one.id}.")


@pytest.mark.parametrize(
    ("ip", "local"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("192.0.2.1", False)],
)
def test_client_is_local(ip: str, local: bool) -> None:
    session = a_session(ip)
    assert session.client_address == parse_ip(ip)
    assert session.client_is_local is local


async def test_a_client_name_is_looked_up_until_found() -> None:
    names = [ReverseNames("client.example", "a.example"), ReverseNames(certain=False)]

    async def reverse_lookup() -> ReverseNames:
        return names.pop()

    session = Session(HERE, HERE, reverse_lookup=reverse_lookup)
    assert await session.resolve_client_name() is None
    assert not session.client_name_certain
    found = [session.iprev]
    assert await session.resolve_client_name() == "client.example"
    assert [*found, session.iprev] == ["temperror", "pass"]
    assert await session.resolve_client_name() == session.client_name == "client.example"
    assert session.reverse_name == "a.example"
    assert session.client_name_certain


async def test_a_name_that_is_not_confirmed_is_not_the_clients() -> None:
    session = a_session(reverse_name="bank.example")
    assert await session.resolve_client_name() is None
    assert session.client_name is None
    assert session.reverse_name == "bank.example"


async def test_early_input_is_asked_of_the_network() -> None:
    channel = FakeChannel(early=True)
    assert await Session(HERE, HERE, channel=channel).early_input(1.5)
    assert (channel.waits, channel.teased) == ([1.5], False)
    assert await Session(HERE, HERE, channel=channel).early_input(1, teaser=True)
    assert channel.teased
    assert not await Session(HERE, HERE).early_input(0)
    assert await Session(HERE, HERE).resolve_client_name() is None


async def test_the_network_lets_clients_wait() -> None:
    channel = FakeChannel(stays=False)
    assert not await Session(HERE, HERE, channel=channel).tarpit(5)
    assert channel.stalls == [5]
    assert await Session(HERE, HERE).tarpit(5)


def test_naughty_and_karma() -> None:
    session = a_session()
    session.deferred_rejects.append("listed")
    assert session.has_deferred_rejects
    session.adjust_karma(-3)
    session.adjust_karma(1)
    assert session.karma == -2


def test_transaction_says_what_mail_said() -> None:
    tx = a_transaction("a@example.com", parameters={"SMTPUTF8": None, "BODY": "8bitmime"})
    assert (tx.sender, tx.utf8, tx.body_type) == ("a@example.com", True, "8BITMIME")
    plain = a_transaction("", parameters={"BODY": None})
    assert (plain.sender, plain.utf8, plain.body_type) == ("", False, "")
    assert a_transaction("").body_type == ""
    assert plain.reverse_path is None


# --- changes of the envelope ----------------------------------------------------------------


def address(text: str) -> Address:
    return parse_forward_path(f"<{text}>", utf8=True)


def recipients_of(tx: Transaction) -> list[str]:
    return [str(recipient) for recipient in tx.recipients]


def test_a_plugin_adds_a_recipient(caplog: pytest.LogCaptureFixture) -> None:
    tx = a_transaction("a@example.com", "u@example.test")
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        added = tx.add_recipient(address("archive@example.test"), {"NOTIFY": "NEVER"})
    assert recipients_of(tx) == ["u@example.test", "archive@example.test"]
    assert tx.recipients[1] is added
    assert added.parameters == {"NOTIFY": "NEVER"}
    assert caplog.messages == ["recipient added to='archive@example.test'"]


def test_nobody_gets_a_message_twice(caplog: pytest.LogCaptureFixture) -> None:
    tx = a_transaction("a@example.com", "u@example.test")
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        assert tx.add_recipient(address("u@EXAMPLE.test")) is tx.recipients[0]
    assert caplog.messages == []
    tx.add_recipient(address("U@example.test"))
    tx.add_recipient(address("postmaster"))
    tx.add_recipient(address("Postmaster"))
    assert recipients_of(tx) == ["u@example.test", "U@example.test", "postmaster"]


def test_a_plugin_removes_a_recipient(caplog: pytest.LogCaptureFixture) -> None:
    tx = a_transaction("a@example.com", "u@example.test", "v@example.test", "v@example.test")
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        assert tx.remove_recipient(address("v@Example.Test"))
        assert not tx.remove_recipient(address("v@example.test"))
        assert not tx.remove_recipient(address("U@example.test"))
    assert recipients_of(tx) == ["u@example.test"]
    assert caplog.messages == ["recipient removed to='v@Example.Test'"]


def test_the_only_recipient_stays() -> None:
    """A message without recipients would be accepted and get nowhere."""
    tx = a_transaction("a@example.com", "u@example.test", "u@EXAMPLE.test")
    with pytest.raises(ValueError, match=r"u@example\.test is the only recipient"):
        tx.remove_recipient(address("u@example.test"))
    assert len(tx.recipients) == 2
    tx.add_recipient(address("v@example.test"))
    assert tx.remove_recipient(address("u@example.test"))
    assert recipients_of(tx) == ["v@example.test"]


def test_a_plugin_replaces_the_reverse_path(caplog: pytest.LogCaptureFixture) -> None:
    tx = a_transaction("a@example.com", "u@example.test")
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        tx.replace_reverse_path(address("srs@example.test"))
        assert tx.sender == "srs@example.test"
        tx.replace_reverse_path(None)
    assert (tx.reverse_path, tx.sender) == (None, "")
    assert caplog.messages == [
        "reverse-path replaced from='a@example.com' by='srs@example.test'",
        "reverse-path replaced from='srs@example.test' by=''",
    ]


def test_addresses_need_what_the_client_said() -> None:
    tx = a_transaction("a@example.com", "u@example.test")
    with pytest.raises(ValueError, match=r"jörg@example\.test needs SMTPUTF8"):
        tx.add_recipient(address("jörg@example.test"))
    with pytest.raises(ValueError, match="needs SMTPUTF8"):
        tx.replace_reverse_path(address("a@bücher.example"))
    utf8 = a_transaction("a@example.com", "u@example.test", parameters={"SMTPUTF8": None})
    utf8.replace_reverse_path(address("a@bücher.example"))
    assert utf8.add_recipient(address("jörg@example.test")) is utf8.recipients[1]


def test_the_envelope_changes_at_its_time_only() -> None:
    """Before DATA a client without a recipient of its own could send; later it is on its way."""
    tx = Transaction(a_session(), None)
    for change in (
        lambda: tx.add_recipient(address("v@example.test")),
        lambda: tx.remove_recipient(address("v@example.test")),
        lambda: tx.replace_reverse_path(None),
    ):
        with pytest.raises(RuntimeError, match="only from hook_data to hook_queue_pre"):
            change()
    assert tx.recipients == []


# --- fields, taps, body -----------------------------------------------------------------------


def test_fields_wait_for_the_message() -> None:
    tx = a_transaction(message="Subject: x\n\ntext\n")
    message = message_of(tx)
    assert message is not None
    tx.add_header("X-One", "1")
    tx.add_header("X-Two", "2\r\n\tfolded")
    assert message.headers.names() == ["Subject"]
    message.headers.prepend("Received", "by us")
    tx.put_fields_on_top()
    tx.add_header("X-Three", "3")
    assert message.headers.names() == ["X-Three", "X-Two", "X-One", "Received", "Subject"]
    tx.close()
    tx.add_header("X-Four", "too late for anybody")


@pytest.mark.parametrize(("name", "value"), [("X:", "1"), ("X", "a\r\nb"), ("X", "\0")])
def test_what_is_not_a_field_is_refused_at_once(name: str, value: str) -> None:
    tx = a_transaction()
    with pytest.raises(ValueError, match="is not a"):
        tx.add_header(name, value)


async def test_a_tap_is_a_function() -> None:
    async def listen(_block: bytes) -> None: ...

    tx = a_transaction()
    plugin = await a_plugin(Plugin, name="dkim")
    with pytest.raises(TypeError, match="coroutine function"):
        tx.tap(plugin, listen)  # type: ignore[arg-type]
    heard: list[bytes] = []
    tx.tap(plugin, heard.append)
    assert tx.taps == (Tap("dkim", heard.append),)
    tx.taps = None
    with pytest.raises(RuntimeError, match="being read already"):
        tx.tap(plugin, heard.append)


async def test_a_body_of_eight_bits_is_declared() -> None:
    tx = a_transaction(message="Subject: x\n\ntext\n", parameters={"BODY": "7BIT"})
    message = message_of(tx)
    assert message is not None
    await message.replace_body("é\r\n".encode())
    assert tx.body_type == "8BITMIME"
    await message.replace_body(b"e\r\n")
    assert tx.body_type == "7BIT"


def message_of(tx: Transaction) -> Message | None:
    return tx.message


def test_close_frees_the_message() -> None:
    tx = a_transaction(message="Subject: x\n\ntext\n")
    message = message_of(tx)
    assert message is not None
    tx.close()
    tx.close()
    assert message_of(tx) is None
    assert message.body.in_memory == b""


def test_recipients_share_nothing() -> None:
    one, other = (Recipient(parse_forward_path("<a@example.com>")) for _ in range(2))
    one.notes[Note[int]("n")] = 1
    one.parameters["NOTIFY"] = "NEVER"
    assert Note[int]("n") not in other.notes
    assert other.parameters == {}
    assert str(one) == "a@example.com"


def test_secrets_are_not_shown() -> None:
    attempt = AuthAttempt("PLAIN", "joe", "s3cret", "d1gest")
    assert "joe" in repr(attempt)
    assert "s3cret" not in repr(attempt)
    assert "d1gest" not in repr(attempt)
