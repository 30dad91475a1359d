# SPDX-License-Identifier: MIT
"""A report as mail: plain text, and the same as HTML, for whoever prefers that (RFC 2046)."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from qpsmtpd.digest.sections import Report
from qpsmtpd.digest.text import lines_of
from qpsmtpd.mail.address import Address


def compose(report: Report, html: str, sender: Address, to: Address, now: float) -> bytes:
    """The message, with CRLF.

    html: the page.  now: seconds since the epoch.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = HeaderAddress(report.title, addr_spec=sender.address)
    message["To"] = HeaderAddress(addr_spec=to.address)
    message["Subject"] = f"{report.title}, {report.subtitle}"
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = make_msgid(domain=sender.domain)
    # RFC 3834: nobody's vacation program is to answer.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(lines_of(report, io.StringIO())) + "\n")
    message.add_alternative(html, subtype="html")
    return message.as_bytes()
