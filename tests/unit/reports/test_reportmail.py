# SPDX-License-Identifier: MIT
"""The mail of a report, read as its receiver reads it."""

from __future__ import annotations

import email
import email.policy
import gzip
import re
from dataclasses import replace
from email.message import EmailMessage
from typing import cast

from qpsmtpd.mail.address import parse_mailbox
from qpsmtpd.mailauth.aggregatexml import Report
from qpsmtpd.reports.reportmail import compose
from tests.unit.mailauth.reporting import PUBLISHED, a_report

TO = parse_mailbox("dmarc@author.test")
NOW = 1_800_000_000.0


def read(report: Report) -> EmailMessage:
    data = compose(report, TO, NOW)
    return email.message_from_bytes(data, policy=email.policy.SMTP)


def test_fields() -> None:
    report = a_report()
    mail = read(report)
    assert not mail.defects
    assert (mail["From"], mail["To"]) == ("reports@receiver.test", "dmarc@author.test")
    assert re.sub(r"\s+", " ", mail["Subject"]) == report.subject
    assert mail["Message-ID"] == f"<{report.id}@receiver.test>"
    assert mail["Date"] == "Fri, 15 Jan 2027 08:00:00 -0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["MIME-Version"] == "1.0"


def test_parts() -> None:
    report = a_report()
    text, attachment = cast(list[EmailMessage], read(report).get_payload())
    assert text.get_content_type() == "text/plain"
    assert "about author.test for 2027-01-15" in text.get_content()
    assert "counts 3 messages" in text.get_content()
    assert attachment.get_content_type() == "application/gzip"
    assert attachment.get_content_disposition() == "attachment"
    assert attachment.get_filename() == report.file_name
    content = attachment.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert gzip.decompress(content) == report.xml()


def test_lines() -> None:
    """The longest names do not make a line that SMTP does not take, nor an encoded word."""
    domain = ".".join(["x" * 60] * 4) + ".test"
    report = replace(a_report(published=replace(PUBLISHED, domain=domain)), organization=domain)
    data = compose(report, TO, NOW)
    lines = data.split(b"\r\n")
    assert max(map(len, lines)) < 998
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    assert data.isascii()
    assert b"=?" not in data
    _, attachment = cast(list[EmailMessage], read(report).get_payload())
    assert attachment.get_filename() == report.file_name


def test_subject_is_not_folded_within_a_domain() -> None:
    """A domain may look like a word of the subject."""
    published = replace(PUBLISHED, domain="submitter.report-id.test")
    report = a_report(published=published)
    assert re.sub(r"\s+", " ", read(report)["Subject"]) == report.subject
