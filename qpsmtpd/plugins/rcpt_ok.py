# SPDX-License-Identifier: MIT
"""rcpt_ok: accept recipients of our own domains, and refuse to relay for strangers.

RCPT needs a plugin that accepts recipients; this is it, and it should come last. It accepts

- every recipient of a relay client (one that the plugin relay lists, or that has logged in);
- a recipient in our own domain, the name in the file `me`, to which `<postmaster>` alone belongs;
- a recipient in a domain of the file `rcpthosts`, one a line. A line with a leading dot
  (`.example.com`) stands for all names below that domain, but not for the domain itself;
- a recipient in a domain that is a key of the database `morercpthosts.cdb`, in lower case.

All others get 550 5.7.1 Relaying denied. Case does not matter, nor does the spelling of an
international domain (`bücher.example`, `xn--bcher-kva.example`: RFC 5890).

By default it also refuses recipients whose local part names another destination, unless the client
may relay: `user%other.example@us`, `other.example!user@us`, `"user@other.example"@us`. The mail
systems that we deliver to may follow such a route, and they trust us.

A line of `rcpthosts` that is not a domain is an error, at start.

Differences from the Perl version: routed addresses are refused (`allow_routed_addresses yes` takes
them as before). Clients and senders on an allowlist may not relay: lists of good hosts are full of
hosts that send other people's mail, and a sender can be forged. The file `relayclients` lists those
who may. International domains are compared in one form.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.api import (
    OUR_DOMAINS,
    Plugin,
    Recipient,
    Transaction,
    Verdict,
    accept,
    deny,
    opt,
    our_domains,
)


@dataclass(frozen=True, kw_only=True)
class RcptOkOptions:
    """Options of rcpt_ok."""

    allow_routed_addresses: bool = opt(
        False, doc="Whether clients that may not relay can write to user%other.example@us etc."
    )


class RcptOk(Plugin[RcptOkOptions]):
    """The gate of the relay: local recipients, and relay clients."""

    remedy = (
        "the domain has to be in the file rcpthosts if its mail comes here, and the client in"
        " relayclients if it may relay"
    )

    accepts_recipients = True
    files = OUR_DOMAINS

    async def start(self) -> None:
        self._local = await our_domains(self.services)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if tx.session.relay_client:
            return accept()
        address = recipient.address
        if (address.domain or self.services.me) not in self._local:
            return deny("Relaying denied", status="5.7.1")
        if address.is_route and not self.options.allow_routed_addresses:
            return deny("Routed addresses are not accepted here", status="5.7.1")
        return accept()
