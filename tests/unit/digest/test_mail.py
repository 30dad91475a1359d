# SPDX-License-Identifier: MIT
from __future__ import annotations

import email
import email.policy
import io
from email.message import EmailMessage

import pytest

from qpsmtpd.digest.mail import compose
from qpsmtpd.digest.page import page
from qpsmtpd.digest.text import lines_of
from qpsmtpd.mail.address import parse_mailbox
from tests.unit.digest.examples import (
    a_report,
    parsed,
)

SENDER = parse_mailbox("postmaster@mx.example")
TO = parse_mailbox("anna@example.test")


@pytest.mark.parametrize("kind", ["daily", "shadow"])
async def test_mail(kind: str) -> None:
    report = await a_report(kind)
    data = compose(report, page(report, {}), SENDER, TO, 1_800_000_000.0)
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert max(map(len, data.split(b"\r\n"))) <= 998
    data.decode("ascii")
    mail = email.message_from_bytes(data, policy=email.policy.SMTP)
    assert not mail.defects
    assert mail.get_content_type() == "multipart/alternative"
    assert (mail["To"], mail["Auto-Submitted"]) == ("anna@example.test", "auto-generated")
    assert mail["From"].addresses[0].addr_spec == "postmaster@mx.example"
    assert str(mail["Message-ID"]).endswith("@mx.example>")
    text, html = mail.iter_parts()
    assert isinstance(text, EmailMessage)
    assert isinstance(html, EmailMessage)
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert text.get_content().splitlines() == list(lines_of(report, io.StringIO()))
    parsed(html.get_content())
    assert not text.defects + html.defects
