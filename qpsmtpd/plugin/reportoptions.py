# SPDX-License-Identifier: MIT
"""The options for DMARC reports: the plugin counts by them, the command `dmarc-report` sends.

How an address and a way to the mail system have to look is the same for the settings of reports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qpsmtpd.errors import AddressError
from qpsmtpd.mail.address import Address, parse_mailbox
from qpsmtpd.plugin.options import matching, opt

_is_place = re.compile(
    r"/\S+|(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(?:6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}"
    r"|[1-5]\d{4}|[1-9]\d{0,3})",
    re.ASCII,
).fullmatch


#: A way to hand reports to the mail system, as reports/handover.py understands it.
check_place = matching(_is_place, "HOST:PORT or the path of a program")


def check_address(text: str) -> None:
    """Raises ValueError for what is not an address with a domain, in ASCII."""
    try:
        address = parse_mailbox(text)
    except AddressError:
        address = None
    if address is None or address.has_literal:
        raise ValueError("an address (dmarc-reports@example.org)")


@dataclass(frozen=True, kw_only=True)
class DmarcReportOptions:
    """Whether and how aggregate reports are sent."""

    reporting: bool = opt(
        False,
        flag=True,
        doc="Whether to count messages for aggregate reports; needs report_sender and report_via.",
    )
    report_sender: str = opt(
        "",
        doc="The address that reports are from, where somebody reads non-delivery reports and "
        "questions. Its domain names the organization that reports.",
        check=check_address,
    )
    report_via: str = opt(
        "",
        doc="What takes the reports: HOST:PORT of an SMTP server that relays for this machine, or "
        "the path of a program like sendmail.",
        check=check_place,
    )
    report_recipients: bool = opt(
        False,
        flag=True,
        doc="Whether reports say to which domain messages were sent; those to several domains "
        "never do.",
    )

    @property
    def sender_of_reports(self) -> Address | None:
        """The address that reports are from; None if it is not given."""
        return parse_mailbox(self.report_sender) if self.report_sender else None

    @property
    def can_report(self) -> bool:
        """Whether reports are wanted, and all that they need is known."""
        return bool(self.reporting and self.report_sender and self.report_via)
