# SPDX-License-Identifier: MIT
"""The cases of forgeries.txt, against our own server with each of the graded chains."""

from __future__ import annotations

import asyncio
import email
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from maintscripts.render import LEVELS, render_chain
from qpsmtpd.dialogue.player import parse, run
from qpsmtpd.testing import FakeResolver, Serving, dns_failure, serve
from tests.unit.client import PATIENCE
from tests.unit.mailauth.signing import rsa_record, signature_of

FILE = Path(__file__).with_name("forgeries.txt")
FIELDS = b"To: <user@example.test>\r\nDate: Mon, 5 Jan 2026 10:00:00 +0000\r\nSubject: A case\r\n"
BODY = b"Hi, this is a test message!\r\n"

#: Where the clients of the cases are.
CLIENTS = ("192.0.2.1", "2001:db8::25", "2001:db9::25")

_SENDS = "v=spf1 ip4:192.0.2.1 ip6:2001:db8::/32 -all"
#: A mail exchanger with addresses in each of ten names: 111 look-ups.
_GREEDY = {
    ("A", "greedy.test"): ["192.0.2.2"],
    ("TXT", "greedy.test"): ["v=spf1 " + "".join(f"mx:m{n}.greedy.test " for n in range(9))],
    **{
        ("MX", f"m{n}.greedy.test"): [(1, f"a{host}.m{n}.greedy.test") for host in range(10)]
        for n in range(9)
    },
    **{("A", f"a{host}.m{n}.greedy.test"): ["192.0.2.2"] for host in range(10) for n in range(9)},
}


def _domain(name: str, policy: str, spf: str = _SENDS) -> dict[tuple[str, str], Any]:
    return {
        ("A", name): ["192.0.2.1"],
        ("TXT", name): [spf],
        ("TXT", f"_dmarc.{name}"): [f"v=DMARC1; {policy}"],
        ("TXT", f"s._domainkey.{name}"): [rsa_record()],
        ("TXT", f"silent._domainkey.{name}"): dns_failure(),
    }


DNS = {
    **_domain("attack.test", "p=none", "v=spf1 +all"),
    **_domain("good.test", "p=reject"),
    **_domain("watching.test", "p=none"),
    **_domain("testing.test", "p=reject; t=y"),
    **_domain("xn--bcher-kva.test", "p=reject"),
    ("TXT", "legit.test"): ["v=spf1 -all"],
    ("TXT", "_dmarc.legit.test"): ["v=DMARC1; p=reject"],
    ("TXT", "mx.good.test"): [_SENDS],
    ("TXT", "client.attack.test"): ["v=spf1 +all"],
    ("A", "33.attack.test"): ["192.0.2.1"],
    ("TXT", "33.attack.test"): ["v=spf1 +all"],
    ("TXT", "_dmarc.silent.test"): dns_failure(),
    # Clients with a name in the DNS are no suspects.
    **{("PTR", client): ["client.attack.test"] for client in CLIENTS},
    **{
        (kind, "client.attack.test"): [client for client in CLIENTS if (":" in client) == v6]
        for kind, v6 in (("A", False), ("AAAA", True))
    },
    **_GREEDY,
}


@dataclass
class Case:
    """One of the file."""

    name: str
    hello: str = "client.attack.test"
    client: str = "192.0.2.1"
    sender: str = ""
    refused: str = ""
    fields: bytes = b""
    signatures: list[list[str]] = field(default_factory=list)
    changed: bool = False
    results: str = ""
    replies: dict[str, str] = field(default_factory=dict)
    untold: str = ""
    unasked: str = ""

    def read(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "HELO":
                self.hello = rest
            case "MAIL":
                self.sender = line
            case "|":
                self.fields += rest.encode() + b"\r\n"
            case "signed":
                self.signatures.append(rest.replace("\\0", "\0").split(" "))
            case "changed":
                self.changed = True
            case "replies":
                self.replies = dict(zip(LEVELS, rest.split(" | "), strict=True))
            case "client" | "refused" | "results" | "untold" | "unasked":
                setattr(self, word, rest)
            case _:
                raise AssertionError(line)

    @property
    def message(self) -> bytes:
        message = self.fields + FIELDS + b"\r\n" + BODY
        signed = b"".join(_signature(message, *signature) for signature in self.signatures)
        return signed + message + (b"Added by a list.\r\n" if self.changed else b"")

    def script(self, reply: str) -> str:
        """The dialogue; the message has to be answered with this reply."""
        family, local = ("TCP6", "::1") if ":" in self.client else ("TCP4", "127.0.0.1")
        lines = [
            f"C: PROXY {family} {self.client} {local} 40000 25",
            "S: 220 *",
            f"C: EHLO {self.hello}",
            "S: 250-mx.example * ... 250 *",
            f"C: {self.sender}",
        ]
        refused = self.refused or reply.removeprefix("MAIL ") * reply.startswith("MAIL ")
        if refused:
            lines.append(f"S: {refused} *")
        else:
            octets = "".join(f"\\x{octet:02x}" for octet in self.message)
            lines += ["S: 250 *", "C: RCPT TO:<user@example.test>", "S: 250 *"]
            lines += ["C: DATA", "S: 354 *", f"C! {octets}", "C: .", f"S: {reply}*"]
        return "\n".join([f"# {self.name}", *lines, "C: QUIT", "S: 221 *"])


def _signature(message: bytes, domain: str, selector: str = "s", length: str = "") -> bytes:
    changes = {"d": domain, "s": selector, "h": "from:to:subject"}
    return signature_of(message, changes | ({"l": length[2:]} if length else {}))


def cases() -> Iterator[Case]:
    case = None
    for line in FILE.read_text().splitlines():
        if line.startswith("    "):
            assert case is not None
            case.read(line[4:])
        elif line and line[0] not in "#=":
            if case is not None:
                yield case
            case = Case(line)
    assert case is not None
    yield case


CASES = list(cases())


async def outcome(case: Case, server: Serving, reply: str) -> str:
    """Hold the dialogue; what Authentication-Results says if the message was delivered."""
    script = parse(case.script(reply), case.name)
    await run(script, lambda: asyncio.open_connection(server.host, server.port))
    delivered = list((server.directory / "Maildir").glob("new/*"))
    assert len(delivered) == reply.startswith("250"), case.name
    return "".join(map(_taken_results, delivered))


def _taken_results(file: Path) -> str:
    message = email.message_from_bytes(file.read_bytes())
    file.unlink()
    return str(message["Authentication-Results"])


def plugins(chain: str) -> list[str]:
    """The lines of a chain, without what takes all cases for those of one client, or waits."""
    lines = render_chain(chain).splitlines()
    return [line for line in lines if line.partition(" ")[0] not in ("earlytalker", "karma")]


@pytest.mark.parametrize("chain", LEVELS)
async def test_chain(chain: str) -> None:
    resolver = FakeResolver(DNS)
    files = {
        "plugins": [*plugins(chain), "rcpt_ok", "queue/maildir {directory}/Maildir"],
        "proxy_networks": ["127.0.0.1"],
    }
    async with asyncio.timeout(PATIENCE), serve(files, dns=resolver) as server:
        for case in CASES:
            told = await outcome(case, server, case.replies.get(chain, ""))
            if told:
                found = re.findall(r"(?<![.\w])(?:spf|dkim|dmarc)=\w+", told)
                assert found == case.results.split(), case.name
                assert not case.untold or case.untold not in told
            asked = [name for _, name in resolver.asked]
            assert not case.unasked or not [name for name in asked if case.unasked in name]
            resolver.asked.clear()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_says_what_is_expected(case: Case) -> None:
    assert case.sender
    assert bool(case.refused) != bool(case.replies)
    assert bool(case.results) == any(reply[:3] == "250" for reply in case.replies.values())


def test_all_cases_of_espoofer_are_there() -> None:
    names = {case.name.partition(":")[0] for case in CASES}
    servers = {f"server_a{number}" for number in range(1, 20)}
    assert servers | {f"client_a{number}" for number in (1, 2, 3)} <= names
