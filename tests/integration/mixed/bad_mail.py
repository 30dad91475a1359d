# SPDX-License-Identifier: MIT
"""Bad mail: each function makes the n-th message of a kind."""

from __future__ import annotations

import base64

from tests.integration.mixed.world import (
    CLIENT_LIST,
    DATE,
    LINK_LIST,
    SENDER_LIST,
    US,
    WEAK_LIST,
    Case,
    Make,
    Sample,
    raw,
    signed,
    wire,
)
from tests.scanner_servers import EICAR, GTUBE

BAD: dict[str, Make] = {}


def bad(make: Make) -> Make:
    BAD[make.__name__] = make
    return make


@bad
def listed_client(case: Case) -> Sample:
    case.usual()
    case.world.listed(case.client, CLIENT_LIST)
    return case(case.text())


@bad
def listed_sender(case: Case) -> Sample:
    case.usual()
    case.world.listed(case.name, SENDER_LIST)
    return case(signed(wire(case.text()), case.name))


@bad
def listed_link(case: Case) -> Sample:
    """In plain sight, or in one of the ways to hide it that browsers undo."""
    case.usual()
    case.world.listed(f"pills{case.n}.test", LINK_LIST)
    host = f"www.pills{case.n}.test"
    links = (
        f"http://{host}/",
        f"HTTPS://{host.upper()}:8080/buy",
        f"http://{host.replace('p', '%70', 1)}/",
        f"http://{host.replace('.', '&#46;')}/",
        f"https://redirect.example/?to=http%3A%2F%2F{host}%2F",
    )
    message = case.headed()
    message.set_content(f'<a href="{links[case.n % 5]}">Buy</a>\n', subtype="html", cte="base64")
    return case(message, recipients=(f"user@{US}",))


@bad
def bot_at_home(case: Case) -> Sample:
    """An infected machine, which never tries again."""
    case.world.host(f"{case.client.replace('.', '-')}.dsl.provider.example", case.client)
    case.world.domain(case.name)
    return case(case.text(), hello=f"{case.client.replace('.', '-')}.dsl.provider.example")


@bad
def nameless_bot(case: Case) -> Sample:
    case.world.domain(case.name)
    return case(case.text(), hello=f"mail.{case.name}")


@bad
def weakly_listed(case: Case) -> Sample:
    """Listed where a listing is not enough for a refusal."""
    case.usual()
    case.world.listed(case.client, WEAK_LIST)
    return case(case.text())


@bad
def wrong_hello(case: Case) -> Sample:
    """It says that it is us, or has no idea who it is."""
    case.usual()
    hellos = ("localhost", "[192.0.2.200]", "192.0.2.200", "localhost.", "127.1")
    return case(case.text(), hello=hellos[case.n % 5])


@bad
def known_hello(case: Case) -> Sample:
    case.usual()
    return case(case.text(), hello=("spam-machine.test", "friend", "USER")[case.n % 3])


@bad
def early_talker(case: Case) -> Sample:
    case.usual()
    return case(case.text(), early=True)


@bad
def forged(case: Case) -> Sample:
    """From is of a domain that asks for a refusal; the client sends with a domain of its own."""
    case.usual()
    case.world.domain(f"bank{case.n}.example", policy="reject")
    message = wire(case.text(f"Your bank <service@bank{case.n}.example>"))
    return case(signed(message, case.name))


@bad
def forged_readers(case: Case) -> Sample:
    """What readers disagree about (espoofer): one of them sees the bank."""
    case.usual()
    case.world.domain("bank.example", policy="reject")
    ours, bank = f"x@{case.name}", "service@bank.example"
    froms: tuple[list[str], ...] = (
        [f"From: {ours}", f"From: {bank}"],
        [f"From: {bank}, {ours}"],
        [f"From: <{ours}> <{bank}>"],
        [f"From : {bank}", f"From: {ours}"],
        [],
        [f"From: {bank}\0@{case.name}".replace("\0", "\\0,")],
        [f"From: ({ours}) , {bank}, {ours}"],
        [f"From: =?utf-8?B?{base64.b64encode(f'<{bank}>'.encode()).decode()}?=, <{ours}>"],
        [f"from: {ours}", f"FROM: {bank}"],
        ["From: nobody"],
    )
    return case(raw([*froms[case.n % 10], f"To: user@{US}", "Subject: x", f"Date: {DATE}"]))


@bad
def lookalike(case: Case) -> Sample:
    """A domain of its own that looks like another, with all records as they should be."""
    case.usual("reject")
    message = case.text(f'"service@bank.example" <service@bank-{case.name}>')
    case.world.domain(f"bank-{case.name}", case.client, "reject")
    return case(signed(wire(message), f"bank-{case.name}"))


@bad
def snowshoe(case: Case) -> Sample:
    """New addresses and domains each day: nobody has them on a list yet."""
    case.usual("reject")
    return case(signed(wire(case.text()), case.name))


@bad
def ratware(case: Case) -> Sample:
    """Programs that know little of RFC 5322."""
    case.usual()
    slips = (["Subject: y"], [f"Date: {DATE}"] * 2, ["To: a@b.test"], ["Message-Id: <1@x>"] * 2)
    usual = [f"From: x@{case.name}", f"To: user@{US}", "Subject: x"]
    return case(raw([*usual, *slips[case.n % 4]]))


@bad
def bogus_bounces(case: Case) -> Sample:
    """From nobody, to many."""
    case.usual()
    return case(case.text(), sender="", recipients=(f"a@{US}", f"b@{US}", f"c@{US}"))


@bad
def unanswerable(case: Case) -> Sample:
    """The sender's domain does not exist, or takes no mail."""
    case.usual()
    gone = f"gone{case.n}.test"
    if case.n % 2:
        case.world.records["MX", gone] = [(0, "")]
    return case(case.text(), sender=f"x@{gone}")


@bad
def circle(case: Case) -> Sample:
    case.usual()
    hops = b"".join(b"Received: from a by b; %s\r\n" % DATE.encode() for _ in range(110))
    return case(hops + wire(case.text()))


@bad
def nonsense(case: Case) -> Sample:
    """It speaks something else."""
    case.usual()
    return case(case.text(), before=("HELP ME", "XYZZY", "FROB", "QWERT", "ASDF"))


@bad
def virus(case: Case) -> Sample:
    case.usual()
    message = case.text()
    message.add_attachment(EICAR.encode(), "application", "octet-stream", filename="invoice.exe")
    return case(message)


@bad
def spam(case: Case) -> Sample:
    case.usual()
    message = case.headed()
    message.set_content(f"Buy now!\n\n{GTUBE}\n")
    return case(signed(wire(message), case.name))
