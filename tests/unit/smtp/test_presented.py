# SPDX-License-Identifier: MIT
"""XCLIENT and XFORWARD: whose session and whose transaction it is."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qpsmtpd.api import Session, Transaction, Verdict, deny
from qpsmtpd.mail.address import encode_xtext
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.smtp.presented import (
    TEMPUNAVAIL,
    UNAVAILABLE,
    XCLIENT,
    XFORWARD,
    parse_attributes,
)
from qpsmtpd.smtp.replies import TOO_MANY_CONNECTIONS
from qpsmtpd.smtp.reply import Reply
from qpsmtpd.testing import a_session, serve
from tests.unit.client import Client, on_both_loops
from tests.unit.fakewire import Catcher, FakeWire, a_connection, a_plugin_with, always, talk

PROXY = "192.0.2.1"
NETWORKS: dict[str, Any] = {
    name: (ip_network(f"{PROXY}/32"),) for name in ("xclient_networks", "xforward_networks")
}
GREETING = "220 mx.example ESMTP qpsmtpd"
MAIL = b"MAIL FROM:<a@client.example>\r\n"
RCPT = b"RCPT TO:<user@example.test>\r\n"
DATA = b"DATA\r\n"
MESSAGE = b"Subject: x\r\n\r\nx\r\n.\r\n"


class Witness(Catcher):
    """Notes who the client is, in each hook."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []
        self.sessions: list[Session] = []

    def _note(self, hook: str, session: Session) -> None:
        self.seen.append((hook, session.client.ip))

    async def hook_connect(self, session: Session) -> None:
        await session.resolve_client_name()
        self._note("connect", session)
        self.sessions.append(session)

    async def hook_ehlo(self, session: Session, host: str) -> None:
        self._note(f"ehlo {host}", session)

    async def hook_queue(self, tx: Transaction) -> Verdict | None:
        self._note("queue", tx.session)
        return await super().hook_queue(tx)

    async def hook_disconnect(self, session: Session) -> None:
        self._note("disconnect", session)


async def spoken(*script: bytes, wire: FakeWire | None = None) -> tuple[FakeWire, Witness]:
    """A conversation of a client that may speak for others."""
    wire, witness = wire or FakeWire(*script), Witness()
    session = a_session(client_ip=PROXY)
    await converse(a_connection(wire, witness, session=session, **NETWORKS))
    return wire, witness


async def test_a_session_of_its_own() -> None:
    wire, witness = await spoken(
        b"EHLO proxy\r\n",
        b"XCLIENT ADDR=192.0.2.7 PORT=7 NAME=c.example DESTADDR=198.51.100.2 DESTPORT=25\r\n",
        b"EHLO client\r\n",
        MAIL + RCPT + DATA,
        MESSAGE,
    )
    assert wire.codes == [220, 250, 220, 250, 250, 250, 354, 250]
    assert wire.replies[2] == GREETING
    before, after = PROXY, "192.0.2.7"
    assert witness.seen == [
        *(("connect", before), ("ehlo proxy", before), ("disconnect", before)),
        *(("connect", after), ("ehlo client", after), ("queue", after), ("disconnect", after)),
    ]
    first, second = witness.sessions
    assert second.client_name == "c.example"
    assert (second.client.port, str(second.local)) == (7, "198.51.100.2:25")
    assert second.proxy == first.client
    assert second.id != first.id
    assert b"(c.example [192.0.2.7])" in witness.messages[0]


@pytest.mark.parametrize(
    ("name", "known", "certain", "iprev"),
    [
        ("NAME=a.example", "a.example", True, "pass"),
        (f"NAME={UNAVAILABLE}", None, True, "permerror"),
        ("NAME=[unavailable]", None, True, "permerror"),
        (f"NAME={TEMPUNAVAIL}", None, False, "temperror"),
        (f"NAME={UNAVAILABLE} REVERSE_NAME=b.example", None, True, "fail"),
        ("PORT=1", None, True, ""),
    ],
)
async def test_names(name: str, known: str | None, certain: bool, iprev: str) -> None:
    _, witness = await spoken(f"XCLIENT ADDR=192.0.2.7 {name}\r\n".encode(), b"NOOP\r\n")
    session = witness.sessions[-1]
    assert (session.client_name, session.client_name_certain) == (known, certain)
    assert session.iprev == iprev


async def test_a_login_is_that_of_one_client() -> None:
    _, witness = await spoken(
        b"XCLIENT ADDR=192.0.2.7 LOGIN=jo\r\n",
        b"XCLIENT PORT=8\r\n",
        b"XCLIENT ADDR=192.0.2.8\r\n",
        b"XCLIENT ADDR=192.0.2.9 LOGIN=[UNAVAILABLE]\r\n",
        b"NOOP\r\n",
    )
    assert [(s.client.ip, s.auth_user, s.relay_client) for s in witness.sessions] == [
        (PROXY, "", False),
        ("192.0.2.7", "jo", True),
        ("192.0.2.7", "jo", True),
        ("192.0.2.8", "", False),
        ("192.0.2.9", "", False),
    ]


async def test_who_may_is_who_is_there() -> None:
    """Not the client that was named."""
    wire = await talk(
        b"XCLIENT ADDR=192.0.2.1\r\n", session=a_session(client_ip="192.0.2.2"), **NETWORKS
    )
    assert wire.codes == [220, 500]
    wire, _ = await spoken(b"XCLIENT ADDR=192.0.2.2\r\n", b"XCLIENT ADDR=192.0.2.3\r\n")
    assert wire.codes == [220, 220, 220]


async def test_no_room_for_the_client() -> None:
    class Full(FakeWire):
        def count_as(self, ip: str) -> int | Reply:
            return TOO_MANY_CONNECTIONS

    wire, witness = await spoken(wire=Full(b"XCLIENT ADDR=192.0.2.7\r\n", b"NOOP\r\n"))
    assert wire.codes == [220, 421]
    assert witness.seen == [("connect", PROXY), ("disconnect", PROXY)]


async def test_a_name_that_was_told_is_asked_about() -> None:
    """A proxy need not say EHLO again."""
    wire, witness = await spoken(
        b"XCLIENT ADDR=192.0.2.7 PROTO=ESMTP HELO=client\r\n", MAIL, b"RSET\r\n", MAIL
    )
    assert wire.codes == [220, 220, 250, 250, 250]
    assert witness.seen[3] == ("ehlo client", "192.0.2.7")
    assert len([hook for hook, _ in witness.seen if hook.startswith("ehlo")]) == 1


async def test_a_name_that_was_told_may_be_refused() -> None:
    """Each time; a proxy that says EHLO has the refusal of that."""
    wire = await talk(
        b"XCLIENT ADDR=192.0.2.7 PROTO=SMTP HELO=client\r\n",
        MAIL,
        MAIL,
        b"HELO client\r\n",
        plugins=(a_plugin_with(helo=always(deny("no"))),),
        session=a_session(client_ip=PROXY),
        **NETWORKS,
    )
    assert wire.replies[2:] == ["550 5.7.1 no"] * 3


@pytest.mark.parametrize("line", [b"XCLIENT HELO=[UNAVAILABLE]\r\n", b"XCLIENT ADDR=192.0.2.7\r\n"])
async def test_no_name_was_told(line: bytes) -> None:
    wire, _ = await spoken(line, MAIL)
    assert wire.codes == [220, 220, 503]


async def test_a_forwarded_transaction() -> None:
    wire, witness = await spoken(
        b"EHLO postfix\r\n",
        b"XFORWARD ADDR=192.0.2.7 NAME=c.example\r\n",
        b"XFORWARD HELO=client IDENT=4A\r\n",
        MAIL + RCPT + DATA,
        MESSAGE,
        MAIL + RCPT + DATA,
        MESSAGE,
    )
    assert wire.codes == [220, 250, 250, 250, 250, 250, 354, 250, 250, 250, 354, 250]
    client = "192.0.2.7"
    assert witness.seen == [
        *(("connect", PROXY), ("ehlo postfix", PROXY)),
        *(("connect", client), ("ehlo client", client), ("queue", client), ("disconnect", client)),
        *(("queue", PROXY), ("disconnect", PROXY)),
    ]
    assert b"from client (c.example [192.0.2.7])" in witness.messages[0]
    assert b"from postfix " in witness.messages[1]


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        (b"b+FCcher", "250 2.1.0 Sender OK"),
        (b"a+0Ab", "501 5.5.4 Bad characters in host name"),
        (b"a+00b", "501 5.5.4 Bad characters in host name"),
        (b"x" * 300, "501 5.5.4 Host name too long"),
        (b"a b", "501 5.5.4 Bad attribute"),
    ],
)
async def test_a_forwarded_name_is_judged_as_if_we_had_heard_it(name: bytes, reply: str) -> None:
    """Or mail of clients with such names would be put off for ever, and nobody told why."""
    forward = b"XFORWARD ADDR=192.0.2.7 HELO=" + name + b"\r\n"
    wire, _ = await spoken(b"EHLO postfix\r\n", forward, MAIL)
    assert reply in wire.replies[2:]


@pytest.mark.parametrize("between", [b"RSET\r\n", b"EHLO postfix\r\n"])
async def test_what_was_forwarded_is_forgotten(between: bytes) -> None:
    _, witness = await spoken(b"EHLO postfix\r\n", b"XFORWARD ADDR=192.0.2.7\r\n", between, MAIL)
    assert ("connect", "192.0.2.7") not in witness.seen


async def test_the_client_leaves_in_a_forwarded_transaction() -> None:
    _, witness = await spoken(b"EHLO postfix\r\n", b"XFORWARD ADDR=192.0.2.7\r\n", MAIL)
    assert witness.seen[-2:] == [("disconnect", "192.0.2.7"), ("disconnect", PROXY)]


async def test_a_fault_concerns_the_forwarded_transaction() -> None:
    async def fails_for_one(session: Session) -> None:
        if session.client.ip == "192.0.2.7":
            raise RuntimeError("a secret")

    wire = await talk(
        b"EHLO postfix\r\n",
        b"XFORWARD ADDR=192.0.2.7\r\n",
        MAIL + RCPT,
        MAIL + RCPT,
        plugins=(a_plugin_with(connect=fails_for_one), Catcher()),
        session=a_session(client_ip=PROXY),
        **NETWORKS,
    )
    assert wire.codes == [220, 250, 250, 451, 503, 250, 250]


async def test_in_single_octets() -> None:
    script = (
        b"EHLO p\r\nXCLIENT ADDR=IPV6:2001:db8::1\r\nEHLO c\r\nXFORWARD ADDR=192.0.2.7\r\n"
        + MAIL
        + RCPT
        + DATA
        + MESSAGE
        + b"XCLIENT ADDR=192.0.2.9\r\nEHLO c\r\n"
    )
    _, whole = await spoken(script)
    wire, witness = await spoken(*(script[i : i + 1] for i in range(len(script))))
    assert wire.codes == [220, 250, 220, 250, 250, 250, 250, 354, 250, 220, 250]
    assert witness.seen == whole.seen
    assert [ip for hook, ip in witness.seen if hook == "queue"] == ["192.0.2.7"]


@on_both_loops
async def test_limits_are_those_of_the_client() -> None:
    files = {"xclient_networks": ["127.0.0.1"], "max_from_ip": ["1"]}
    async with serve(files) as serving:
        one, two = await Client.of(serving), await Client.of(serving)
        assert await one.commands("XCLIENT ADDR=192.0.2.7") == [220]
        assert await two.commands("XCLIENT ADDR=192.0.2.7") == [421]
        assert await two.closed()
        await two.close()
        await one.close()
        three = await Client.of(serving)
        assert (await three.commands("XCLIENT ADDR=192.0.2.8", "EHLO x", "QUIT"))[1:] == [250, 221]
        await three.close()


# --- attributes -----------------------------------------------------------------------------


@pytest.mark.parametrize("known", [XCLIENT, XFORWARD])
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.lists(
            st.tuples(
                st.sampled_from(["ADDR", "name", "PORT", "Helo", "PROTO", "LOGIN", "IDENT", "X"]),
                st.sampled_from(["=", "", "=="]),
                st.sampled_from([UNAVAILABLE, "1", "::1", "IPV6:::1", "a", "+41", "+0A", "SMTP"]),
            ).map("".join)
        ).map(" ".join),
    )
)
@example(text="ADDR=1.2.3.4  NAME=x")
def test_any_text(known: Any, text: str) -> None:
    try:
        found = parse_attributes(text, known)
    except ValueError:
        return
    assert found
    found.pop("HELO", "")
    for name, value in found.items():
        assert value in (UNAVAILABLE, TEMPUNAVAIL) or known[name](value)
        assert value.isprintable()
    again = " ".join(f"{name}={encode_xtext(value)}" for name, value in found.items())
    assert not found or parse_attributes(again, known) == found


async def test_plugins_may_refuse_the_new_client() -> None:
    async def only_the_proxy(session: Session) -> Verdict | None:
        return None if session.client.ip == PROXY else deny("no")

    wire = await talk(
        b"XCLIENT ADDR=192.0.2.7\r\n",
        b"NOOP\r\n",
        plugins=(a_plugin_with(connect=only_the_proxy),),
        session=a_session(client_ip=PROXY),
        **NETWORKS,
    )
    assert wire.codes == [220, 550]
