# SPDX-License-Identifier: MIT
"""MAIL and RCPT: sequence, parameters, addresses, and what plugins may change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import (
    NoOptions,
    ParsedPath,
    Plugin,
    Recipient,
    Session,
    Transaction,
    Verdict,
    accept,
    defer,
    deny,
)
from qpsmtpd.testing import a_plugin
from tests.unit.fakewire import (
    MESSAGE,
    Catcher,
    FakeWire,
    Hook,
    a_plugin_with,
    always,
    fails,
    talk,
)

EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<a@client.example>\r\n"


async def after_ehlo(*lines: str, **more: Any) -> list[str]:
    """The replies to these commands, after EHLO."""
    text = "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")
    return (await talk(EHLO + text, **more)).replies[2:]


async def rcpt(line: str, mail: bytes = MAIL, **more: Any) -> str:
    more.setdefault("plugins", (a_plugin_with(rcpt=always(accept())),))
    return (await talk(EHLO + mail + f"{line}\r\n".encode(), **more)).replies[-1]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("MAIL FROM:<a@b.example>", "250 2.1.0 Sender OK"),
        ("mail from: <a@b.example>", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<>", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<> SIZE=100 BODY=8BITMIME", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<> BODY=7bit SMTPUTF8 AUTH=<>", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<ü@b.example> SMTPUTF8", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<ü@b.example>", "553 5.6.7 Address needs SMTPUTF8"),
        ("MAIL FROM:<> SIZE=1001", "552 5.3.4 Message too big"),
        ("MAIL FROM:<> SIZE=1000", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<> SIZE=x", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> SIZE=-1", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> SIZE=١", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> SIZE=" + "9" * 21, "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> SIZE", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> BODY=BINARYMIME", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> SMTPUTF8=yes", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> AUTH=a@b.example", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<> AUTH=a+2Bb@b.example", "250 2.1.0 Sender OK"),
        ('MAIL FROM:<> AUTH="a+3Db"@b.example', "250 2.1.0 Sender OK"),
        ("MAIL FROM:<> AUTH=a@[IPv6:2001:db8::1]", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<> AUTH=+C3+BC@b.example", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<> AUTH", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> AUTH=somebody", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> AUTH=<a@b.example>", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> AUTH=a+b@b.example", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> AUTH=a+0Ab@b.example", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> AUTH=a+FF@b.example", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> AUTH=+3C+3E", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> AUTH=ü@b.example SMTPUTF8", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> RET=HDRS ENVID=a+2B", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<> RET=ALL", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> ENVID=a+b", "501 5.5.4 Bad parameter value"),
        ("MAIL FROM:<> NOTIFY=NEVER", "555 5.5.4 Parameter not recognized"),
        ("MAIL", "501 5.5.4 Syntax error in command"),
        ("MAIL <a@b.example>", "501 5.5.4 Syntax error in command"),
        ("MAIL FROM:a@b.example", "501 5.1.7 Bad sender address syntax"),
        ("MAIL FROM:<a b@c.example>", "501 5.1.7 Bad sender address syntax"),
        ("MAIL FROM:<\udcff@b.example> SMTPUTF8", "501 5.1.7 Bad sender address syntax"),
    ],
)
async def test_mail(line: str, reply: str) -> None:
    assert await after_ehlo(line, databytes=1000) == [reply]


async def test_order() -> None:
    wire = await talk(MAIL + b"RCPT TO:<a@b>\r\nHELO client.example\r\nRCPT TO:<a@b>\r\n")
    assert wire.replies[1:3] == ["503 5.5.1 Send HELO or EHLO first", "503 5.5.1 Send MAIL first"]
    assert wire.replies[4] == "503 5.5.1 Send MAIL first"


async def test_parameters_are_taken_after_helo_too() -> None:
    wire = await talk(b"HELO client.example\r\nMAIL FROM:<> SIZE=1\r\n")
    assert wire.replies[-1] == "250 2.1.0 Sender OK"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("RCPT TO:<u@example.test>", "250 2.1.5 Recipient OK"),
        ("RCPT TO:<Postmaster>", "250 2.1.5 Recipient OK"),
        ("RCPT TO:<@relay.example:u@example.test>", "250 2.1.5 Recipient OK"),
        ("RCPT TO:<>", "501 5.1.3 Bad recipient address syntax"),
        ("RCPT TO:u@example.test", "501 5.1.3 Bad recipient address syntax"),
        ("RCPT TO:<u@example.test> NOTIFY=NEVER", "250 2.1.5 Recipient OK"),
        ("RCPT TO:<u@example.test> notify=delay ORCPT=rfc822;a@b", "250 2.1.5 Recipient OK"),
        ("RCPT TO:<u@example.test> NOTIFY=NOW", "501 5.5.4 Bad parameter value"),
        ("RCPT TO:<u@example.test> ORCPT=a@b", "501 5.5.4 Bad parameter value"),
        ("RCPT TO:<u@example.test> RET=HDRS", "555 5.5.4 Parameter not recognized"),
        ("RCPT FROM:<u@example.test>", "501 5.5.4 Syntax error in command"),
        ("RCPT TO:<ü@example.test>", "553 5.6.7 Address needs SMTPUTF8"),
    ],
)
async def test_rcpt(line: str, reply: str) -> None:
    assert await rcpt(line) == reply


@pytest.mark.parametrize(
    ("parameters", "reply"),
    [
        ("BY=120;R", "250 2.1.0 Sender OK"),
        ("BY=120", "501 5.5.4 Bad parameter value"),
        ("BY=120;R BY=120;R", "501 5.5.4 Syntax error in command"),
        ("HOLDFOR=5", "555 5.5.4 Parameter not recognized"),
        ("BY=120;R FLY=HIGH", "555 5.5.4 Parameter not recognized"),
    ],
)
async def test_what_was_offered_for_the_next_hop(parameters: str, reply: str) -> None:
    async def offer(session: Session, _host: str) -> None:
        session.capabilities.append("DELIVERBY 240")

    plugins = (a_plugin_with(ehlo=offer),)
    assert await after_ehlo(f"MAIL FROM:<> {parameters}", plugins=plugins) == [reply]


async def test_who_cannot_pass_it_on_is_not_asked() -> None:
    async def offer(session: Session, _host: str) -> None:
        session.capabilities.append("FUTURERELEASE 86400 2027-01-01T00:00:00Z")

    catcher = Catcher()
    mail = b"MAIL FROM:<> HOLDFOR=60\r\nRCPT TO:<a@example.test>\r\nDATA\r\n"
    wire = await talk(EHLO + mail, MESSAGE, plugins=(a_plugin_with(ehlo=offer), catcher))
    assert wire.replies[-1].startswith("451 4.3.0")
    assert not catcher.messages


async def test_utf8_original_recipient() -> None:
    line = "RCPT TO:<u@example.test> ORCPT=utf-8;ü@example.test"
    assert await rcpt(line) == "501 5.5.4 Bad parameter value"
    assert await rcpt(line, b"MAIL FROM:<> SMTPUTF8\r\n") == "250 2.1.5 Recipient OK"


async def test_utf8_recipient() -> None:
    mail = b"MAIL FROM:<> SMTPUTF8\r\n"
    assert await rcpt("RCPT TO:<ü@example.test>", mail) == "250 2.1.5 Recipient OK"


@pytest.mark.parametrize(
    ("verdict", "reply"),
    [
        (None, "450 4.7.1 Recipient not accepted for now, please try again later"),
        (accept("In"), "250 2.1.5 In"),
        (deny("Out", status="5.1.1"), "550 5.1.1 Out"),
        (defer("Later"), "450 4.7.1 Later"),
        (defer("Later", disconnect=True), "421 4.7.1 Later"),
    ],
)
async def test_who_decides_about_recipients(verdict: Any, reply: str) -> None:
    plugins = (a_plugin_with(rcpt=always(verdict)),)
    assert await rcpt("RCPT TO:<u@example.test>", plugins=plugins) == reply


async def seen_by_reset(*lines: str, **hooks: Hook) -> Transaction:
    """The transaction at its end, after these commands."""
    ended: list[Transaction] = []

    async def reset_transaction(tx: Transaction) -> None:
        ended.append(tx)

    hooks.setdefault("rcpt", always(accept()))
    plugin = a_plugin_with(reset_transaction=reset_transaction, **hooks)
    await after_ehlo(*lines, plugins=(plugin,), max_recipients=3)
    return ended[-1]


@pytest.mark.parametrize("verifier_is_first", [True, False])
@pytest.mark.parametrize(
    ("verdict", "reply"),
    [
        (None, "250 2.1.5 Recipient OK"),
        (accept(), "250 2.1.5 Recipient OK"),
        (deny("No such user here", status="5.1.1"), "550 5.1.1 No such user here"),
        (defer(), "450 4.7.1 Refused for now, please try again later"),
    ],
)
async def test_what_is_accepted_is_verified_wherever_the_line_is(
    verdict: Any, reply: str, verifier_is_first: bool
) -> None:
    verifier = a_plugin_with("verifier", verify_recipient=always(verdict))
    plugins = [verifier, a_plugin_with("gate", rcpt=always(accept()))]
    if not verifier_is_first:
        plugins.reverse()
    assert await rcpt("RCPT TO:<u@example.test>", plugins=tuple(plugins)) == reply


async def test_only_what_is_accepted_is_verified() -> None:
    asked: list[str] = []

    async def verify(_tx: Transaction, recipient: Recipient) -> None:
        asked.append(str(recipient))

    for verdict in (None, deny(), defer()):
        plugins = (a_plugin_with(rcpt=always(verdict), verify_recipient=verify),)
        assert (await rcpt("RCPT TO:<u@example.test>", plugins=plugins)).startswith(("4", "5"))
    assert asked == []


async def test_what_cannot_be_verified_alone_is_refused() -> None:
    """One bad recipient does not cost the others their mail."""

    async def verify(_tx: Transaction, recipient: Recipient) -> Any:
        return deny("No such user here", status="5.1.1") if "bad" in str(recipient) else None

    catcher = Catcher()
    plugins = (catcher, a_plugin_with("verifier", verify_recipient=verify))
    names = ("good1", "bad", "good2")
    script = "".join(f"RCPT TO:<{name}@example.test>\r\n" for name in names).encode()
    wire = await talk(EHLO + MAIL + script + b"DATA\r\n", MESSAGE, plugins=plugins)
    assert wire.codes[-5:] == [250, 550, 250, 354, 250]
    assert len(catcher.messages) == 1


async def test_a_verifier_that_breaks_defers() -> None:
    plugins = (a_plugin_with(rcpt=always(accept()), verify_recipient=fails),)
    assert (await rcpt("RCPT TO:<u@example.test>", plugins=plugins)).startswith("451 4.3.0")


async def test_the_transaction_has_what_was_accepted() -> None:
    async def choose(_tx: Transaction, recipient: Recipient) -> Any:
        return accept() if recipient.address.domain == "example.test" else deny()

    lines = [f"RCPT TO:<{name}>" for name in ("a@example.test", "b@other.test", "a@example.test")]
    tx = await seen_by_reset("MAIL FROM:<> SIZE=5 BODY=8bitmime", *lines, rcpt=choose)
    assert tx.reverse_path is None
    assert tx.mail_parameters == {"SIZE": "5", "BODY": "8bitmime"}
    assert tx.body_type == "8BITMIME"
    assert list(map(str, tx.recipients)) == ["a@example.test", "a@example.test"]
    assert tx.refused_recipients == 1


async def test_recipients_are_limited() -> None:
    tx = await seen_by_reset("MAIL FROM:<>", *["RCPT TO:<a@example.test>"] * 5)
    assert len(tx.recipients) == 3
    plugins = (a_plugin_with(rcpt=always(accept())),)
    lines = ["MAIL FROM:<>", *["RCPT TO:<a@example.test>"] * 2]
    replies = await after_ehlo(*lines, plugins=plugins, max_recipients=1)
    assert replies[2] == "452 4.5.3 Too many recipients"


async def test_a_second_mail_starts_over() -> None:
    lines = ["MAIL FROM:<a@b.example>", "RCPT TO:<a@example.test>", "MAIL FROM:<c@d.example>"]
    tx = await seen_by_reset(*lines)
    assert tx.sender == "c@d.example"
    assert tx.recipients == []


@pytest.mark.parametrize("line", ["MAIL FROM:x", "MAIL FROM:<> X=Y", "MAIL FROM:<> SIZE=99999"])
async def test_a_refused_mail_begins_no_transaction(line: str) -> None:
    plugins = (a_plugin_with(rcpt=always(accept())),)
    replies = await after_ehlo(line, "RCPT TO:<a@example.test>", plugins=plugins, databytes=10)
    assert replies[-1] == "503 5.5.1 Send MAIL first"


async def test_a_refused_sender_leaves_no_transaction() -> None:
    plugins = (a_plugin_with(mail=always(deny("No")), rcpt=always(accept())),)
    replies = await after_ehlo("MAIL FROM:<>", "RCPT TO:<a@example.test>", plugins=plugins)
    assert replies == ["550 5.7.1 No", "503 5.5.1 Send MAIL first"]


# --- hooks that parse -----------------------------------------------------------------------


async def test_plugins_parse() -> None:
    parsed = ParsedPath("<other@example.test>", {"SIZE": "7"})
    lines = ("MAIL nonsense", "RCPT nonsense")
    tx = await seen_by_reset(
        *lines,
        mail_parse=always(parsed),
        rcpt_parse=always(ParsedPath("<user@example.test>", {})),
    )
    assert (tx.sender, tx.mail_parameters) == ("other@example.test", {"SIZE": "7"})
    assert list(map(str, tx.recipients)) == ["user@example.test"]


async def test_plugins_mend_paths() -> None:
    async def mend(_session: Any, path: str, _parameters: Any) -> str:
        return f"<{path}>"

    lines = ("MAIL FROM:a@b.example SIZE=1", "RCPT TO:u@example.test")
    tx = await seen_by_reset(*lines, mail_pre=mend, rcpt_pre=mend)
    assert (tx.sender, tx.mail_parameters) == ("a@b.example", {"SIZE": "1"})
    assert list(map(str, tx.recipients)) == ["u@example.test"]


@pytest.mark.parametrize("hook", ["mail_parse", "mail_pre"])
async def test_parsers_refuse(hook: str) -> None:
    plugins = (a_plugin_with(**{hook: always(deny("Nonsense"))}),)
    assert await after_ehlo("MAIL FROM:<>", plugins=plugins) == ["501 5.5.4 Nonsense"]


async def test_a_parser_without_opinion() -> None:
    plugins = (a_plugin_with(mail_parse=always(None), mail_pre=always(None)),)
    assert await after_ehlo("MAIL FROM:<>", plugins=plugins) == ["250 2.1.0 Sender OK"]


@given(st.lists(st.tuples(st.sampled_from(["MAIL", "RCPT"]), st.binary(max_size=60)), max_size=5))
async def test_any_argument_gets_one_reply(commands: list[tuple[str, bytes]]) -> None:
    lines = [
        verb.encode() + b" " + argument.replace(b"\n", b"").replace(b"\r", b"") + b"\r\n"
        for verb, argument in commands
    ]
    wire: FakeWire = await talk(EHLO, *lines)
    assert len(wire.replies) == 2 + len(lines)
    assert not {421, 451} & set(wire.codes)


# --- what the mail system behind us takes -----------------------------------------------------


class Behind(Plugin[NoOptions]):
    """Hands over to a mail system that takes 500 octets."""

    async def hook_queue(self, tx: Transaction) -> Verdict | None:
        return accept()

    def largest_message(self) -> int:
        return 500


@pytest.mark.parametrize(("databytes", "largest"), [(0, 500), (1000, 500), (400, 400)])
async def test_a_message_may_be_as_large_as_the_mail_system_takes(
    databytes: int, largest: int
) -> None:
    lines = ("EHLO a.example", f"MAIL FROM:<> SIZE={largest + 1}", f"MAIL FROM:<> SIZE={largest}")
    text = "".join(f"{line}\r\n" for line in lines).encode()
    wire = await talk(text, plugins=(await a_plugin(Behind),), databytes=databytes)
    assert any(f"SIZE {largest}" in reply for reply in wire.replies)
    assert wire.replies[-2:] == ["552 5.3.4 Message too big", "250 2.1.0 Sender OK"]
