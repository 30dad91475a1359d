# SPDX-License-Identifier: MIT
"""Good mail: each function makes the n-th message of a kind."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from email.policy import SMTPUTF8

from qpsmtpd.testing import dns_failure
from tests.integration.mixed.world import (
    DATE,
    LINK_LIST,
    TEXTS,
    US,
    Case,
    Make,
    Sample,
    raw,
    report,
    signed,
    wire,
)

GOOD: dict[str, Make] = {}


def good(make: Make) -> Make:
    GOOD[make.__name__] = make
    return make


@good
def personal(case: Case) -> Sample:
    case.usual()
    return case(case.text(), sender=f"jane@{case.name}")


@good
def company(case: Case) -> Sample:
    case.usual("reject")
    message = case.text()
    link = f"https://www.{case.name}/angebot?id={case.n}&amp;x=%41"
    message.add_alternative(f'<p>Hello <a href="{link}">here</a></p>\n', subtype="html")
    return case(signed(wire(message), case.name))


@good
def newsletter(case: Case) -> Sample:
    """Sent by a service, signed by both; each recipient has a return path of its own."""
    service = f"mailing{case.n % 3}.example"
    case.world.host(f"o{case.n % 3}.mta.{service}", case.client)
    case.world.domain(service, "", "none")
    case.world.records["TXT", service] = ["v=spf1 ip4:60.0.0.0/6 -all"]
    case.world.domain(case.name, policy="reject")
    message = case.text(
        f"News <news@{case.name}>",
        List_Unsubscribe=f"<https://u.{service}/{case.n}>, <mailto:u@{service}>",
        List_Unsubscribe_Post="List-Unsubscribe=One-Click",
        Precedence="bulk",
    )
    images = "".join(
        f'<a href="https://t.{service}/c/{n}"><img src="http://i.{service}/{n}.gif"></a>'
        for n in range(20)
    )
    message.add_alternative(f"<html><body>{images}</body></html>\n", subtype="html")
    octets = signed(signed(wire(message), case.name), service)
    sender = f"b+user={US}@{service}"
    return case(octets, hello=f"o{case.n % 3}.mta.{service}", sender=sender)


@good
def mailing_list(case: Case) -> Sample:
    """The author's signature is broken: the list has changed subject and text."""
    case.usual()
    author = f"author{case.n}.example"
    case.world.domain(author, policy=("none", "quarantine", "reject")[case.n % 3])
    message = wire(
        case.text(f"Author <a@{author}>", List_Id=f"<dev.{case.name}>", Sender="l@x.test")
    )
    changed = signed(message, author).replace(b"Subject: ", b"Subject: [dev] ")
    return case(signed(changed + b"-- \r\nUnsubscribe\r\n", case.name), sender=f"dev-b@{case.name}")


@good
def forwarded(case: Case) -> Sample:
    """SPF fails, and what the author has signed is as it was."""
    author = f"friend{case.n}.example"
    case.usual()
    case.world.domain(author, policy="reject")
    message = case.text(f"b@{author}", Received=f"from x by {case.name}; {DATE}")
    return case(signed(wire(message), author), sender=f"b@{author}")


@good
def forwarded_unsigned(case: Case) -> Sample:
    author = f"old{case.n}.example"
    case.usual()
    case.world.domain(author, policy="none")
    return case(case.text(f"b@{author}"), sender=f"b@{author}")


@good
def bounce(case: Case) -> Sample:
    """A delivery status notification (RFC 3464)."""
    case.usual()
    author = f"Mail Delivery System <MAILER-DAEMON@out.{case.name}>"
    text = f"Reporting-MTA: dns; out.{case.name}\n\nFinal-Recipient: rfc822; a@x.test\n"
    text += "Action: failed\nStatus: 5.1.1\n"
    return case(report(case, author, "delivery-status", text), sender="")


@good
def receipt(case: Case) -> Sample:
    """A message disposition notification (RFC 8098)."""
    case.usual()
    text = f"Final-Recipient: rfc822; jane@{case.name}\nDisposition: manual-action; displayed\n"
    author = f"Jane <jane@{case.name}>"
    return case(report(case, author, "disposition-notification", text), sender="")


@good
def vacation(case: Case) -> Sample:
    case.usual()
    return case(case.text(Auto_Submitted="auto-replied"), sender="")


@good
def calendar(case: Case) -> Sample:
    case.usual()
    message = case.text()
    event = (
        "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\nEND:VCALENDAR"
    )
    message.add_alternative(event, subtype="calendar", params={"method": "REQUEST"})
    message.add_attachment(event.encode(), "application", "ics", filename="invite.ics")
    return case(message)


@good
def foreign(case: Case) -> Sample:
    """Charsets of the countries they are for, and encoded words."""
    case.usual()
    charsets = ("koi8-r", "iso-2022-jp", "gb2312", "iso-8859-1", "windows-1252", "shift_jis")
    words = ("Привет", "会議", "报告", "Grüße", "Crème brûlée", "ご連絡")
    charset, word = charsets[case.n % 6], words[case.n % 6]
    encoded = base64.b64encode(word.encode(charset)).decode()
    fields = [
        f"From: =?{charset}?B?{encoded}?= <x@{case.name}>",
        f"To: =?utf-8?Q?B=C3=BCcher?= <user@{US}>",
        f"Subject: =?{charset}?B?{encoded}?= =?{charset}?B?{encoded}?=",
        f"Date: {DATE}",
        "MIME-Version: 1.0",
        f"Content-Type: text/plain; charset={charset}",
        f"Content-Transfer-Encoding: {'8bit' if case.n % 2 else 'base64'}",
    ]
    body = word.encode(charset) + b"\r\n" if case.n % 2 else f"{encoded}\r\n".encode()
    return case(raw(fields, "") + body)


@good
def international(case: Case) -> Sample:
    """Addresses that are not ASCII (RFC 6531)."""
    case.usual()
    name = f"bücher{case.n}.test"
    ascii_name = f"xn--bcher{case.n}-kva.test"
    case.world.domain(ascii_name, case.client)
    case.world.domain(name.encode("idna").decode(), case.client)
    message = EmailMessage(policy=SMTPUTF8)
    message["From"], message["To"] = f"用户@{name}", f"bücher@{US}"
    message["Subject"], message["Date"] = "日本語", DATE
    message.set_content(TEXTS[5], cte="8bit")
    octets = message.as_bytes(policy=SMTPUTF8)
    return case(octets, sender=f"用户@{name}", recipients=(f"bücher@{US}",))


@good
def encrypted(case: Case) -> Sample:
    """OpenPGP (RFC 3156) or S/MIME (RFC 8551)."""
    case.usual()
    message = case.headed()
    armour = "-----BEGIN PGP MESSAGE-----\n\nhQEMA1\n=abcd\n-----END PGP MESSAGE-----\n"
    if case.n % 2:
        message.set_content(armour)
        message.add_attachment(armour.encode(), "application", "pgp-encrypted", filename="x.asc")
    else:
        octets = bytes(range(256)) * 40
        message.set_content(octets, "application", "pkcs7-mime", filename="smime.p7m")
    return case(message)


@good
def pgp_signed(case: Case) -> Sample:
    case.usual()
    message = case.text()
    signature = b"-----BEGIN PGP SIGNATURE-----\n\niQEz\n=abcd\n-----END PGP SIGNATURE-----\n"
    message.add_attachment(signature, "application", "pgp-signature", filename="signature.asc")
    return case(signed(wire(message), case.name))


@good
def nameless_server(case: Case) -> Sample:
    """Of a small firm, whose provider gives its address no name."""
    case.usual()
    del case.world.records["PTR", case.client]
    return case(case.text())


@good
def server_at_home(case: Case) -> Sample:
    """Behind a line whose name the provider has made from the address."""
    case.usual()
    case.world.host(f"{case.client.replace('.', '-')}.dyn.provider.example", case.client)
    return case(signed(wire(case.text()), case.name))


@good
def short_hello(case: Case) -> Sample:
    """An appliance that was never given its whole name."""
    case.usual()
    return case(case.text(), hello=f"mailserver{case.n}")


@good
def without_records(case: Case) -> Sample:
    """No SPF, DKIM or DMARC at all."""
    case.world.host(f"out.{case.name}", case.client)
    case.world.records["A", case.name] = ["192.0.2.26"]
    return case(case.text())


@good
def cron(case: Case) -> Sample:
    """A program writes as little as it may."""
    case.usual()
    sender = f"root@out.{case.name}"
    case.world.domain(f"out.{case.name}", case.client)
    fields = [f"From: {'root (Cron Daemon)' if case.n % 2 else 'Cron'} <{sender}>", f"Date: {DATE}"]
    fields[0] = f"From: {sender} (Cron Daemon)" if case.n % 2 else fields[0]
    return case(raw([*fields, "Subject: Cron <root@host> test -x /usr/sbin/x"]), sender=sender)


@good
def complaint(case: Case) -> Sample:
    """A report about spam that is said to be ours, with all that was in it (RFC 5965)."""
    case.usual()
    text = f"Feedback-Type: abuse\nReported-URI: http://www.listed{case.n}.test/pills\n"
    case.world.listed(f"listed{case.n}.test", LINK_LIST)
    message = report(case, f"fbl@{case.name}", "feedback-report", text)
    to = ("postmaster", "abuse")[case.n % 2]
    return case(message, recipients=(f"{to}@{US}",))


@good
def large(case: Case) -> Sample:
    case.usual()
    message = case.text()
    octets = bytes((i * 7 + case.n) % 256 for i in range(150_000))
    message.add_attachment(octets, "application", "pdf", filename="Größe.pdf")
    return case(signed(wire(message), case.name))


@good
def by_ipv6(case: Case) -> Sample:
    case.usual(client=f"2001:db8:{case.n + 1:x}::25")
    return case(signed(wire(case.text()), case.name))


@good
def shop(case: Case) -> Sample:
    """Names in From as shops write them."""
    case.usual("reject")
    names = (
        f'"Shop (no reply)" <no-reply@mail.{case.name}>',
        f"Shop & Co. <no-reply@mail.{case.name}>",
        f'"shop@{case.name}" <no-reply@mail.{case.name}>',
        f"=?utf-8?Q?Gesch=C3=A4ft?= <no-reply@mail.{case.name}>",
    )
    fields = [f"From: {names[case.n % 4]}", f"To: user@{US}", "Subject: Order", f"Date: {DATE}"]
    return case(signed(raw(fields), case.name), recipients=(f"user@{US}", f"sales@{US}"))


@good
def silent_dns(case: Case) -> Sample:
    """The name servers of the sender are down: nobody knows, and nobody is refused for good."""
    case.usual()
    broken = (f"s._domainkey.{case.name}", case.name, f"_dmarc.{case.name}")[case.n % 3]
    case.world.records["TXT", broken] = dns_failure()
    return case(signed(wire(case.text()), case.name))


@good
def odd_but_right(case: Case) -> Sample:
    """What RFC 5322 permits: long headers, empty lines at the end, groups, comments, resent."""
    case.usual()
    fields = [
        f"Resent-From: x@{case.name}",
        f"From: (a comment) Jane\r\n (another) Doe <jane@{case.name}> (and more)",
        "To: undisclosed-recipients:;",
        "Subject: " + "\r\n ".join(["long"] * 60),
        f"Date: {DATE}",
        "References: " + "\r\n ".join(f"<{n}@{case.name}>" for n in range(50)),
    ]
    return case(raw(fields, "\r\n.\r\n..\r\n\r\n".replace("\r\n.\r\n", "\r\n. \r\n") * 3))
