# SPDX-License-Identifier: MIT
"""What samples are made of: who sends what, and what the DNS has about both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from qpsmtpd.api import reversed_address
from tests.unit.mailauth.signing import rsa_record, signature_of

US = "example.test"
USERS = ("user", "postmaster", "ann.lee", "sales+web", "bücher")

#: DNS lists, and what the files that name them say.
CLIENT_LIST, WEAK_LIST, SENDER_LIST, LINK_LIST = "bl.lists", "weak.lists", "rhs.lists", "uri.lists"
LISTS = {
    "dnsbl_zones": [CLIENT_LIST],
    "greylist_zones": [WEAK_LIST],
    "rhsbl_zones": [SENDER_LIST],
    "uribl_zones": [f"{LINK_LIST} 127.0.0.[2..9] deny"],
    "badhelo": ["spam-machine.test", "^(?:user|friend)$"],
}

TEXTS = (
    "Dear all,\n\nthe meeting is on Thursday at ten, in the small room.\n\nBest, Ann\n",
    "Hi,\nthe figures are below.\n\n.hidden line\n..and another\nFrom here on it is final.\n",
    "Sehr geehrte Damen und Herren,\nanbei die Übersicht für März. Grüße aus Köln\n",
    "Chère Madame,\nveuillez trouver ci-joint le devis demandé. À bientôt\n",
    "Уважаемые коллеги,\nвстреча переносится на пятницу.\n",
    "お世話になっております。\n来週の会議についてご連絡いたします。\n",
    "您好,\n附件是本月的报告。\n谢谢\n",
    "שלום,\nמצורף הדוח החודשי.\n",
    "Thanks!\n\n> On Monday you wrote:\n> Could you send the draft?\n-- \nJ. Doe\n",
    "Γεια σας,\nσας στέλνω το πρόγραμμα. 😀\n",
)
SUBJECTS = (
    "Meeting on Thursday",
    "Re: figures",
    "Übersicht für März",
    "Devis nº 7",
    "Встреча",
    "来週の会議について",
    "[urgent] FREE tickets for the team!!!",
    "",
    "Fwd: Fwd: invoice",
    "Ihre Bestellung 4711",
)
DATE = "Thu, 26 Nov 2026 10:00:00 +0100"


@dataclass(frozen=True)
class Sample:
    """A message, and how its client behaves.

    retries: whether the client tries again after a 4xx, as mail servers do.
    early: whether it talks before it is greeted.  before: commands that it sends after EHLO.
    """

    kind: str
    good: bool
    client: str
    hello: str
    sender: str
    recipients: tuple[str, ...]
    message: bytes
    retries: bool
    early: bool = False
    before: tuple[str, ...] = ()


@dataclass
class World:
    """What the DNS says."""

    records: dict[tuple[str, str], Any] = field(default_factory=dict)

    def host(self, name: str, client: str) -> None:
        """A name of an address, that leads back to it."""
        self.records["PTR", client] = [name]
        self.records.setdefault(("AAAA" if ":" in client else "A", name), []).append(client)

    def domain(self, name: str, client: str = "", policy: str = "none") -> None:
        """A domain with a mail server, an SPF record for the client, a key and a policy."""
        sends = f"ip{6 if ':' in client else 4}:{client} " if client else ""
        self.records["MX", name] = [(10, f"mx.{name}")]
        self.records["A", f"mx.{name}"] = ["192.0.2.25"]
        self.records["TXT", name] = [f"v=spf1 {sends}-all"]
        self.records["TXT", f"s._domainkey.{name}"] = [rsa_record()]
        self.records["TXT", f"_dmarc.{name}"] = [f"v=DMARC1; p={policy}"]

    def listed(self, name: str, zone: str) -> None:
        """A DNS list has this address or domain."""
        entry = reversed_address(name) if name[-1].isdigit() else name
        self.records["A", f"{entry}.{zone}"] = ["127.0.0.2"]
        self.records["TXT", f"{entry}.{zone}"] = ["Listed for tests"]


class Case:
    """The n-th sample of a kind, while it is made."""

    def __init__(self, world: World, kind: str, row: int, number: int, *, good: bool) -> None:
        self.world = world
        self.n = number
        self.kind = kind
        self.good = good
        self.name = f"{kind.replace('_', '-')}-{'abcdefghijkl'[number]}.test"
        self.client = f"{(60 if good else 150) + row}.{number + 1}.7.25"

    def __call__(self, message: EmailMessage | bytes, **changes: Any) -> Sample:
        octets = message if isinstance(message, bytes) else wire(message)
        usual = Sample(
            kind=self.kind,
            good=self.good,
            client=self.client,
            hello=f"out.{self.name}",
            sender=f"bounce@{self.name}",
            recipients=(f"{USERS[self.n % 4]}@{US}",),
            message=octets,
            retries=self.good,
        )
        return replace(usual, **changes)

    def usual(self, policy: str = "", client: str = "") -> None:
        """The client has a name, and its domain all records."""
        self.client = client or self.client
        self.world.host(f"out.{self.name}", self.client)
        self.world.records["TXT", f"out.{self.name}"] = ["v=spf1 a -all"]
        policies = ("none", "quarantine", "reject")
        self.world.domain(self.name, self.client, policy or policies[self.n % 3])

    def text(self, author: str = "", **fields: str) -> EmailMessage:
        """A plain message, in one of several languages and encodings."""
        message = self.headed(author, **fields)
        charset = "utf-8" if self.n % 2 or not TEXTS[self.n % 10].isascii() else "us-ascii"
        cte = ("8bit", "base64", "quoted-printable")[self.n % 3]
        message.set_content(TEXTS[self.n % 10], charset=charset, cte=cte)
        return message

    def headed(self, author: str = "", **fields: str) -> EmailMessage:
        """The fields of a message."""
        message = EmailMessage(policy=SMTP)
        message["From"] = author or f'"Doe, Jane" <jane@{self.name}>'
        message["To"] = f"user@{US}"
        message["Subject"] = SUBJECTS[self.n % 10]
        message["Date"] = DATE
        message["Message-ID"] = f"<{self.kind}.{self.n}@{self.name}>"
        for name, value in fields.items():
            message[name.replace("_", "-")] = value
        return message


Make = Callable[[Case], Sample]


def wire(message: EmailMessage) -> bytes:
    return message.as_bytes(policy=SMTP)


def signed(message: bytes, domain: str) -> bytes:
    return signature_of(message, {"d": domain, "h": "from:to:subject:date:from"}) + message


def raw(fields: Sequence[str], body: str = "Hello.\r\n") -> bytes:
    """A message by the letter."""
    return ("".join(f"{each}\r\n" for each in fields) + "\r\n" + body).encode()


def report(case: Case, author: str, part: str, text: str) -> bytes:
    """A multipart/report (RFC 6522)."""
    kind = f"multipart/report; report-type={part}; boundary=r"
    fields = [f"From: {author}", f"To: user@{US}", "Subject: Report", f"Date: {DATE}"]
    fields += [f"Message-ID: <r{case.n}@{case.name}>", "MIME-Version: 1.0", f"Content-Type: {kind}"]
    parts = f"--r\r\n\r\nThis is a report.\r\n--r\r\nContent-Type: message/{part}\r\n\r\n"
    returned = "--r\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n--r--\r\n"
    return raw(fields, f"{parts}{text}\r\n{returned}".replace("\r\n", "\n").replace("\n", "\r\n"))
