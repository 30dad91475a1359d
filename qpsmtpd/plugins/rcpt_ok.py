# SPDX-License-Identifier: MIT
"""rcpt_ok: accept recipients of our own domains, and refuse to relay for strangers.

The chain of RCPT needs a plugin that says yes; this is it, and it is the last one. It accepts

- every recipient of a relay client (plugin relay, or a client that has authenticated);
- a recipient in our own domain, the name in the file `me`; `<postmaster>` alone is there;
- a recipient in a domain of the file `rcpthosts`, one a line. A line with a leading dot
  (`.example.com`) stands for all names below that domain, but not for the domain itself;
- a recipient in a domain that is a key of the database `morercpthosts.cdb`, in lower case, an
  international one as `xn--...`.

Everybody else gets 550 5.7.1 Relaying denied. Upper and lower case are the same, and so are the two
ways to write an international domain (`bücher.example`, `xn--bcher-kva.example`: RFC 5890).

Unless told otherwise it also refuses recipients of strangers whose local part names another
destination: `user%other.example@us`, `other.example!user@us`, `"user@other.example"@us`. Mail
systems behind us may follow such a route, and they trust us.

A line of `rcpthosts` that is no domain is an error, at start.

Differences from the Perl version: routed addresses are refused (`allow_routed_addresses yes` takes
them as before). Clients and senders on a white list may not relay: lists of good hosts are full of
hosts that send other people's mail, and a sender can be forged. Who may relay is listed in
`relayclients`. International domains are compared in one form.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from qpsmtpd.api import (
    ConfigError,
    Entry,
    Plugin,
    Recipient,
    Transaction,
    Verdict,
    accept,
    deny,
    opt,
)

_is_route = re.compile(r"[%@]|!.", re.DOTALL).search
_LABEL = r"[0-9A-Za-z_\xa1-\U0010ffff-]+"
_is_domain = re.compile(rf"\.?{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Za-z:.]+\]").fullmatch


@dataclass(frozen=True, kw_only=True)
class RcptOkOptions:
    """Options of rcpt_ok."""

    allow_routed_addresses: bool = opt(
        False, doc="Whether strangers may write to user%other.example@us and the like."
    )


class RcptOk(Plugin[RcptOkOptions]):
    """The gate of the relay: local recipients, and relay clients."""

    async def start(self) -> None:
        config = self.services.config
        entries = [_domain_of(entry) for entry in await config.entries("rcpthosts")]
        self._domains = frozenset([canonical(self.services.me), *entries])
        self._suffixes = tuple(domain for domain in entries if domain.startswith("."))
        self._more = await config.mapping("morercpthosts")

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if tx.session.relay_client:
            return accept()
        address = recipient.address
        if not self._is_local(address.domain or self.services.me):
            return deny("Relaying denied", status="5.7.1")
        if _is_route(address.local_part) and not self.options.allow_routed_addresses:
            return deny("Routed addresses are not accepted here", status="5.7.1")
        return accept()

    def _is_local(self, domain: str) -> bool:
        name = canonical(domain)
        return name in self._domains or name.endswith(self._suffixes) or name.encode() in self._more


def canonical(domain: str) -> str:
    """The domain in lower case, its labels as A-labels (RFC 5890 section 2.3.2.1).

    Different names stay different: the mappings of the older IDNA (RFC 3490), which make `straße`
    and `strasse` one domain, would let mail for a domain pass that is not ours.
    """
    domain = domain.lower()
    if domain.isascii():
        return domain
    return ".".join(map(_a_label, unicodedata.normalize("NFC", domain).split(".")))


def _a_label(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")


def _domain_of(entry: Entry) -> str:
    domain = entry.text.removesuffix(".")
    if not _is_domain(domain):
        raise ConfigError(
            entry.where,
            f"{entry.text!r} is no domain (example.com), nor .example.com for the names below it",
        )
    return canonical(domain)
