# SPDX-License-Identifier: MIT
"""HELO, EHLO, RSET, NOOP, VRFY, HELP, QUIT, STARTTLS and verbs that nobody knows."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from qpsmtpd.api import Session, Verdict, accept, defer, deny
from qpsmtpd.smtp.commands import COMMANDS, USEFUL
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.testing import a_session
from tests.unit.fakewire import (
    ENVELOPE,
    Catcher,
    FakeWire,
    a_connection,
    a_plugin_with,
    always,
    talk,
)

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


async def replies_to(*lines: str, **more: Any) -> list[str]:
    text = "".join(f"{line}\r\n" for line in lines)
    return (await talk(text.encode(), **more)).replies[1:]


# --- HELO and EHLO --------------------------------------------------------------------------


async def test_helo() -> None:
    assert await replies_to("HELO a.example") == ["250 mx.example greets [192.0.2.1]"]


@pytest.mark.parametrize("verb", ["HELO", "EHLO"])
async def test_the_name_is_the_first_word_only(verb: str) -> None:
    """What follows would stand in our Received field."""
    session = a_session()
    await talk(f"{verb} a.example ([192.0.2.99]) by us\r\n".encode(), session=session)
    assert session.hello_host == "a.example"


@pytest.mark.parametrize("verb", ["HELO", "EHLO"])
@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("", "501 5.5.4 A host name is required"),
        (" ", "501 5.5.4 A host name is required"),
        ("x" * 256, "501 5.5.4 Host name too long"),
        ("ü" * 128, "501 5.5.4 Host name too long"),
    ],
)
async def test_hello_needs_a_name(verb: str, name: str, reply: str) -> None:
    assert await replies_to(f"{verb} {name}", "MAIL FROM:<>") == [
        reply,
        "503 5.5.1 Send HELO or EHLO first",
    ]


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "\udcff" * 255])
async def test_the_longest_name(name: str) -> None:
    session = a_session()
    line = f"HELO {name}\r\n".encode("utf-8", "surrogateescape")
    assert (await talk(line, session=session)).codes == [220, 250]
    assert session.hello_host == name.replace("\udcff", "?")


@pytest.mark.parametrize("verb", ["HELO", "EHLO"])
async def test_an_ipv6_client_is_greeted_with_its_address_literal(verb: str) -> None:
    (reply,) = await replies_to(f"{verb} a.example", session=a_session("2001:db8::1"))
    assert reply.splitlines()[0][4:] == "mx.example greets [IPv6:2001:db8::1]"


@pytest.mark.parametrize(
    ("more", "keywords"),
    [
        ({}, ""),
        ({"databytes": 1000}, "SIZE 1000"),
        ({"tls": CONTEXT}, "STARTTLS"),
        ({"auth": ("PLAIN", "LOGIN")}, "AUTH PLAIN LOGIN"),
        ({"tls": CONTEXT, "auth": ("PLAIN",), "tls_before_auth": False}, "STARTTLS\nAUTH PLAIN"),
        ({"tls": CONTEXT, "auth": ("PLAIN",)}, "STARTTLS"),
        ({"auth": ("PLAIN",)}, "AUTH PLAIN"),
    ],
)
async def test_ehlo(more: dict[str, Any], keywords: str) -> None:
    (reply,) = await replies_to("EHLO a.example", **more)
    lines = [line[4:] for line in reply.splitlines()]
    assert lines[:7] == [
        "mx.example greets [192.0.2.1]",
        "PIPELINING",
        "8BITMIME",
        "CHUNKING",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "LIMITS RCPTMAX=1000",
    ]
    assert "\n".join(lines[7:]) == keywords


async def test_plugins_announce_extensions_once() -> None:
    async def announce(session: Session, _host: str) -> None:
        session.capabilities.append("XTEST 1")

    (first, second) = await replies_to(
        "EHLO a.example", "EHLO a.example", plugins=(a_plugin_with(ehlo=announce),)
    )
    assert first == second
    assert first.count("XTEST 1") == 1


async def test_plugins_take_extensions_away() -> None:
    async def withdraw(session: Session, _host: str) -> None:
        assert "AUTH PLAIN" in session.capabilities
        session.capabilities.remove("SMTPUTF8")

    plugins = (a_plugin_with(ehlo=withdraw),)
    (reply,) = await replies_to("EHLO a.example", plugins=plugins, auth=("PLAIN",))
    assert "8BITMIME" in reply
    assert "SMTPUTF8" not in reply


@pytest.mark.parametrize("kind", ["helo", "ehlo"])
async def test_a_refused_hello_was_not_said(kind: str) -> None:
    plugins = (a_plugin_with(**{kind: always(deny("Liar"))}),)
    assert await replies_to(f"{kind} liar.example", "MAIL FROM:<>", plugins=plugins) == [
        "550 5.7.1 Liar",
        "503 5.5.1 Send HELO or EHLO first",
    ]


@pytest.mark.parametrize("kind", ["helo", "ehlo"])
async def test_a_plugin_parses_hello(kind: str) -> None:
    session = a_session()
    plugin = a_plugin_with(**{f"{kind}_parse": always("parsed.example")})
    await talk(f"{kind} x y\r\n".encode(), plugins=(plugin,), session=session)
    assert (session.hello, session.hello_host) == (kind, "parsed.example")


@pytest.mark.parametrize(
    ("name", "host"),
    [
        (b"a.example", "a.example"),
        (b"b\xc3\xbccher.example", "b\xfccher.example"),
        (b"PC-M\xdcLLER", "PC-M?LLER"),
        (b"\xed\xa0\x80", "???"),
        (b"a\tb", None),
        (b"a\x01b", None),
        (b"a\x7fb", None),
        (b"a\x1bb", None),
        (b"a\xc2\x85b", None),
        (b"a\xc2\xa0b", None),
        (b"a\xe2\x80\xa8b", None),
        (b"a\xe2\x80\xaeb", None),
    ],
)
@pytest.mark.parametrize("kind", ["helo", "ehlo"])
async def test_names_that_could_not_be_passed_on(kind: str, name: bytes, host: str | None) -> None:
    session = a_session()
    wire = await talk(kind.encode() + b" " + name + b"\r\n", session=session)
    assert session.hello_host == (host or "")
    if host is None:
        assert wire.replies[1:] == ["501 5.5.4 Bad characters in host name"]


async def test_names_that_a_plugin_supplies() -> None:
    plugin = a_plugin_with(ehlo_parse=always("a\nb"))
    assert await replies_to("EHLO x", plugins=(plugin,)) == [
        "501 5.5.4 Bad characters in host name"
    ]


async def test_a_plugin_refuses_to_parse_hello() -> None:
    plugins = (a_plugin_with(ehlo_parse=always(deny("What?"))),)
    assert await replies_to("EHLO x", plugins=plugins) == ["501 5.5.4 What?"]


async def test_hello_resets_but_a_wrong_one_does_not() -> None:
    wire = await talk(
        ENVELOPE + b"EHLO\r\nRCPT TO:<a@b>\r\nEHLO x\r\nRCPT TO:<a@b>\r\n", plugins=(Catcher(),)
    )
    assert wire.codes[4:] == [501, 250, 250, 503]


# --- small commands -------------------------------------------------------------------------


async def test_rset() -> None:
    wire = await talk(ENVELOPE + b"RSET\r\nDATA\r\nRSET x\r\n", plugins=(Catcher(),))
    assert wire.replies[4:] == [
        "250 2.0.0 OK",
        "503 5.5.1 Send MAIL first",
        "501 5.5.4 No parameters allowed",
    ]


@pytest.mark.parametrize(("lines", "told"), [(["RSET"], 1), (["RSET x"], 0), (["EHLO x"], 0)])
async def test_a_plugin_hears_of_rset_itself(lines: list[str], told: int) -> None:
    heard: list[Session] = []

    async def rset(session: Session) -> None:
        assert session.transaction is None
        heard.append(session)

    await replies_to(*lines, plugins=(a_plugin_with(rset=rset),))
    assert len(heard) == told


@pytest.mark.parametrize(("line", "argument"), [("NOOP", ""), ("NOOP some words", "some words")])
async def test_noop_may_have_an_argument(line: str, argument: str) -> None:
    async def noop(_session: Session, said: str) -> Verdict:
        return accept(f"<{said}>")

    replies = await replies_to(line, plugins=(a_plugin_with(noop=noop),))
    assert replies == [f"250 2.0.0 <{argument}>"]


@pytest.mark.parametrize(
    ("line", "hook", "verdict", "reply"),
    [
        ("RSET", "rset", None, "250 2.0.0 OK"),
        ("RSET", "rset", accept("Gone"), "250 2.0.0 Gone"),
        ("RSET", "rset", deny("No"), "500 5.5.1 No"),
        ("NOOP", "noop", None, "250 2.0.0 OK"),
        ("NOOP", "noop", accept("Yes"), "250 2.0.0 Yes"),
        ("NOOP", "noop", deny("Enough"), "500 5.5.1 Enough"),
        (
            "VRFY u",
            "vrfy",
            None,
            "252 2.5.0 Cannot verify, but will accept a message and try to deliver it",
        ),
        ("VRFY u", "vrfy", accept(), "250 2.5.0 User OK"),
        ("VRFY u", "vrfy", deny("No such user"), "554 5.7.1 No such user"),
        ("VRFY", "vrfy", accept(), "501 5.5.4 Syntax error in command"),
        ("HELP", "help", accept("Ask"), "214 2.0.0 Ask"),
        ("HELP", "help", deny("No help"), "500 5.5.1 No help"),
        ("QUIT", "quit", None, "221 2.0.0 mx.example closing connection"),
        ("QUIT", "quit", accept("Bye"), "221 2.0.0 Bye"),
        ("XYZ a", "unrecognized_command", None, "500 5.5.1 Command not recognized"),
        ("XYZ a", "unrecognized_command", accept("Known"), "250 2.0.0 Known"),
        (
            "XYZ a",
            "unrecognized_command",
            deny(disconnect=True),
            "521 5.5.1 Command not recognized",
        ),
        ("XYZ a", "unrecognized_command", defer("Hm"), "500 5.5.1 Hm"),
    ],
)
async def test_verdicts(line: str, hook: str, verdict: Any, reply: str) -> None:
    assert await replies_to(line, plugins=(a_plugin_with(**{hook: always(verdict)}),)) == [reply]


async def test_a_limit_of_seven_digits_cannot_be_announced() -> None:
    (reply,) = await replies_to("EHLO a.example", max_recipients=1_000_000)
    assert "LIMITS" not in reply


async def test_help_names_all_commands() -> None:
    (reply,) = await replies_to("HELP")
    assert reply.startswith("214-2.0.0 This is qpsmtpd\n214 2.0.0 Commands: AUTH BDAT DATA EHLO ")
    for_others = {"LHLO", "XCLIENT", "XFORWARD"}
    assert set(COMMANDS) - for_others <= set(reply.split())
    assert not for_others & set(reply.split())


async def test_what_an_unknown_verb_is_asked_with() -> None:
    asked: list[tuple[str, str]] = []

    async def hook(_session: Session, verb: str, argument: str) -> None:
        asked.append((verb, argument))

    await replies_to("Xyz A  b ", plugins=(a_plugin_with(unrecognized_command=hook),))
    assert asked == [("xyz", "A  b ")]


def test_useful_commands_are_commands() -> None:
    assert USEFUL.items() < COMMANDS.items()


# --- STARTTLS -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "context", "reply"),
    [
        ("STARTTLS", None, "502 5.5.1 Command not implemented"),
        ("STARTTLS now", CONTEXT, "501 5.5.4 No parameters allowed"),
    ],
)
async def test_no_starttls(line: str, context: Any, reply: str) -> None:
    assert await replies_to(line, tls=context) == [reply]


async def test_starttls_forgets_what_was_said() -> None:
    wire = FakeWire(ENVELOPE, b"STARTTLS\r\n", b"DATA\r\nMAIL FROM:<>\r\nEHLO x\r\nSTARTTLS\r\n")
    session = a_session()
    connection = a_connection(wire, Catcher(), session=session, tls=CONTEXT)
    await converse(connection)
    assert wire.tls is CONTEXT
    assert wire.replies[4] == "220 2.0.0 Ready to start TLS"
    assert wire.codes[5:] == [503, 503, 250, 503]
    assert "STARTTLS" not in wire.replies[7]
    assert wire.replies[8] == "503 5.5.1 TLS already active"
    assert session.tls is not None


async def test_commands_behind_starttls_are_an_attack() -> None:
    wire = await talk(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<>\r\n", tls=CONTEXT)
    assert wire.replies[2:] == ["554 5.5.1 Data after STARTTLS, closing connection"]
    assert wire.tls is None
