# SPDX-License-Identifier: MIT
"""quiet_hours: defer mail for one domain during some hours."""

from dataclasses import dataclass
from datetime import datetime

from qpsmtpd.api import Domain, Plugin, Recipient, Transaction, Verdict, defer, opt


@dataclass(frozen=True, kw_only=True)
class Options:
    domain: Domain = opt(positional=True, doc="The domain that sleeps.")
    begin: int = opt(22, least=0, most=23, doc="First quiet hour.")
    end: int = opt(6, least=0, most=24, doc="First hour that is not quiet any more.")


class QuietHours(Plugin[Options]):
    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if recipient.address.domain != self.options.domain:
            return None
        hour = datetime.fromtimestamp(self.services.clock.now()).hour
        asleep = hour >= self.options.begin or hour < self.options.end
        return defer("Please try again in the morning", status="4.7.1") if asleep else None
