# SPDX-License-Identifier: MIT
"""The mail that an aggregate report travels in (RFC 9990, Email; RFC 7489 section 7.2.1.1).

It is written by hand: email.message would encode long subjects and file names in ways that readers
of reports do not expect.  All of it is ASCII.
"""

from __future__ import annotations

import base64
from email.utils import formatdate

from qpsmtpd.mail.address import Address
from qpsmtpd.mailauth.aggregatexml import Report, total

_TEXT = """\
This is a DMARC aggregate report about {domain} for {day} (UTC).
It was made by {generator} at {organization} and counts {messages} messages.
Questions are answered at {email}.
"""


def compose(report: Report, to: Address, now: float) -> bytes:
    """The mail, with CRLF.

    It is from the address that answers questions, and non-delivery reports go there as well: what
    has no sender cannot pass SPF for the domain in From, and readers want reports that pass DMARC.

    now: seconds since the epoch.
    """
    boundary = f"=_{report.id}"
    lines = [
        f"From: {report.email}",
        f"To: {to.address}",
        f"Subject: {_folded(report.subject)}",
        f"Date: {formatdate(now)}",
        f"Message-ID: <{report.id}@{report.organization}>",
        # RFC 3834: nobody's vacation program is to answer.
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        *_text(report).splitlines(),
        "",
        f"--{boundary}",
        f'Content-Type: application/gzip; name="{report.file_name}"',
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment; filename="{report.file_name}"',
        "",
        *base64.encodebytes(report.compressed()).decode("ascii").splitlines(),
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def _folded(subject: str) -> str:
    """On several lines, as it may be too long for one; with the same words."""
    for word in (" Submitter:", " Report-ID:"):
        subject = subject.replace(word, f"\r\n{word}")
    return subject


def _text(report: Report) -> str:
    return _TEXT.format(
        domain=report.domain,
        day=report.day,
        generator=report.generator,
        organization=report.organization,
        messages=total(report.rows),
        email=report.email,
    )
