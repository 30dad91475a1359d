# SPDX-License-Identifier: MIT
"""rcpt_ok: accept recipients of our own domains, and refuse to relay for strangers.

The chain of RCPT needs a plugin that says yes; this is it, and it is the last one. It accepts

- every recipient of a relay client (plugin relay, or a client that has authenticated);
- a recipient in our own domain, the name in the file `me`; `<postmaster>` alone is there;
- a recipient in a domain of the file `rcpthosts`, one a line. A line with a leading dot
  (`.example.com`) stands for all names below that domain, but not for the domain itself;
- a recipient in a domain that is a key of the database `morercpthosts.cdb`, in lower case.

Everybody else gets 550 5.7.1 Relaying denied. Upper and lower case are the same, and so are the two
ways to write an international domain (`bücher.example`, `xn--bcher-kva.example`: RFC 5890).

Unless told otherwise it also refuses recipients of strangers whose local part names another
destination: `user%other.example@us`, `other.example!user@us`, `"user@other.example"@us`. Mail
systems behind us may follow such a route, and they trust us.

A line of `rcpthosts` that is not a domain is an error, at start.

Differences from the Perl version: routed addresses are refused (`allow_routed_addresses yes` takes
them as before). Clients and senders on a white list may not relay: lists of good hosts are full of
hosts that send other people's mail, and a sender can be forged. Who may relay is listed in
`relayclients`. International domains are compared in one form.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.api import (
    DomainList,
    Plugin,
    Recipient,
    Transaction,
    Verdict,
    accept,
    deny,
    opt,
)


@dataclass(frozen=True, kw_only=True)
class RcptOkOptions:
    """Options of rcpt_ok."""

    allow_routed_addresses: bool = opt(
        False, doc="Whether strangers may write to user%other.example@us and the like."
    )


class RcptOk(Plugin[RcptOkOptions]):
    """The gate of the relay: local recipients, and relay clients."""

    accepts_recipients = True
    files = {
        "rcpthosts": "Domains that mail is taken for; .example.com is what is below it.",
        "morercpthosts.cdb": "Domains of `rcpthosts` as a constant database.",
    }

    async def start(self) -> None:
        config = self.services.config
        self._local = DomainList(
            await config.entries("rcpthosts"),
            also=[self.services.me],
            database=await config.mapping("morercpthosts"),
        )

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if tx.session.relay_client:
            return accept()
        address = recipient.address
        if (address.domain or self.services.me) not in self._local:
            return deny("Relaying denied", status="5.7.1")
        if address.is_route and not self.options.allow_routed_addresses:
            return deny("Routed addresses are not accepted here", status="5.7.1")
        return accept()
