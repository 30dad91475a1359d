# SPDX-License-Identifier: MIT
"""whitelist: exempt clients, senders and recipients from filtering.

    whitelist [per_recipient]

Files, one entry a line:

- `whitelisthosts`: client addresses (`192.0.2.1`), networks (`192.0.2.0/24`, `2001:db8::/32`), or
  beginnings of addresses (`192.0.2.`, `2001:db8:`). Such a client is exempt from the other plugins'
  tests as long as it is connected, and gains 5 points of karma. So does every client when the
  daemon's environment has WHITELISTCLIENT, except those behind a proxy of `proxy_networks`;
- `whitelisthelo`: names in HELO or EHLO that are not tested by plugins further down the list;
- `whitelistsenders`: addresses, or domains with or without an @ in front, of envelope senders. Mail
  from them is exempt from the other plugins' tests. Senders are easily forged;
- `whitelistrcpt`: likewise for recipients. **They are accepted**, and plugins further down are not
  asked, not even rcpt_ok: do not list others' domains, or the daemon relays to them. A domain does
  not stand for addresses in it that are routed on, such as `user%other.example@us`.

Whatever is listed ends its hook (connect, HELO, MAIL, RCPT), so put this plugin before those whose
tests are to be spared. With `per_recipient` hosts and senders are looked up at RCPT instead, after
the connect, HELO and MAIL tests have been made; `whitelisthelo` then has no effect.

An entry of `whitelisthosts` that is neither an address nor a network is an error, at start.

Differences from the Perl version: clients and senders on an allowlist may not relay (the plugin
relay permits that). There `192.0.2.1` also stood for 192.0.2.10. `merge` is understood, but has no
effect: there are no allowlists of individual users.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.api import (
    AddressSet,
    HelloList,
    Note,
    Plugin,
    Recipient,
    ReversePath,
    Session,
    Transaction,
    Verdict,
    accept,
    made_of,
    opt,
    read_hosts,
)

#: How many recipients of the transaction are on the allowlist.
RECIPIENTS = Note[int]("whitelist.recipients")
#: The client was found on the allowlist, and got its karma.
CREDITED = Note[bool]("whitelist.credited")


@dataclass(frozen=True, kw_only=True)
class WhitelistOptions:
    """Options of whitelist."""

    per_recipient: bool = opt(False, doc="Look everything up at RCPT.", flag=True)
    merge: bool = opt(False, doc="Accepted for old configurations; has no effect.", flag=True)


class Whitelist(Plugin[WhitelistOptions]):
    """The allowlists of hosts, names, senders and recipients."""

    files = {
        "whitelisthelo": "Names in HELO and EHLO that are exempt from tests.",
        "whitelisthosts": "Clients that are exempt from tests: addresses, networks.",
        "whitelistrcpt": "Recipients that are accepted without tests.",
        "whitelistsenders": "Senders that are exempt from tests; easily forged.",
    }

    @classmethod
    def may_accept_recipients(cls, options: WhitelistOptions) -> bool:
        return True

    async def start(self) -> None:
        config = self.services.config
        self._hosts = await read_hosts(config, "whitelisthosts", dotless=True)
        self._hello_hosts = await made_of(await config.entries("whitelisthelo"), HelloList)
        self._senders = await made_of(await config.entries("whitelistsenders"), AddressSet)
        self._recipients = await made_of(await config.entries("whitelistrcpt"), AddressSet)

    async def hook_connect(self, session: Session) -> Verdict | None:
        return None if self.options.per_recipient else self._check_client(session)

    async def hook_helo(self, session: Session, host: str) -> Verdict | None:
        if self.options.per_recipient or host not in self._hello_hosts:
            return None
        return accept()

    hook_ehlo = hook_helo

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        return None if self.options.per_recipient else self._check_sender(tx, sender)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if self.options.per_recipient:
            # Only marked: accepting here would let them relay.
            self._check_client(tx.session)
            self._check_sender(tx, tx.reverse_path)
        if recipient.address not in self._recipients:
            return None
        tx.notes[RECIPIENTS] = tx.notes.get(RECIPIENTS, 0) + 1
        return accept()

    def _check_client(self, session: Session) -> Verdict | None:
        # tcpserver sees the proxy, not the client behind it: it means the proxy.
        everybody = "WHITELISTCLIENT" in self.services.environment and session.proxy is None
        if not (everybody or session.client_address in self._hosts):
            return None
        if CREDITED not in session.notes:
            session.notes[CREDITED] = True
            session.whitelisted_host = session.client.ip
            session.adjust_karma(5)
        return accept()

    def _check_sender(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        if sender is None or sender not in self._senders:
            return None
        tx.whitelisted_sender = True
        return accept()
