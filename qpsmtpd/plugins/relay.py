# SPDX-License-Identifier: MIT
"""relay: say which clients may send mail to any destination.

    relay [only 1]

This is decided at connect, in the following order:

1. A client in the file `norelayclients` may not relay, whatever follows.
2. A client may relay if the daemon's environment has RELAYCLIENT, whatever its value (tcpserver
   sets it for each connection), unless the client came through a proxy of `proxy_networks`.
3. A client in the file `relayclients`, or in the constant database `morerelayclients.cdb`, may
   relay. So may ::1, this machine by IPv6, but 127.0.0.1 only if it is listed.

Relay clients are exempt from most other plugins' tests, and rcpt_ok accepts all their recipients.
Those of `relayclients` may have any number of connections open (`max_from_ip`, `max_from_network`).
Everybody else may relay only after authentication.

An entry of the files is an address, a network, or the beginning of an address with its final
separator: `192.0.2.1`, `192.0.2.0/24`, `192.0.`, `2001:db8::/32`, `2001:db8:`. Anything else is an
error, at start, and so is a network of all addresses. A network with host bits (192.0.2.1/24) is
taken for the whole network, with a warning. The keys of morerelayclients.cdb are
addresses and such beginnings (not networks); IPv6 addresses in the usual form, or in full
(`2001:0db8:0000:...`), which may be cut off after any digit.

With `only 1`, recipients are accepted for relay clients, and refused with 550 5.7.1 for others.

Differences from the Perl version: the first and last address of a network, and networks of one
address, count as well, and so do networks with host bits, which matched nothing; IPv6 entries need
not be written in full; networks work in norelayclients; an IPv6 beginning that ends within a group
is an error: write it as a network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from qpsmtpd.api import (
    HostList,
    IPAddress,
    IPNetwork,
    Plugin,
    Recipient,
    Session,
    Transaction,
    Verdict,
    accept,
    deny,
    opt,
    read_all,
    read_hosts,
)

_LOCAL = ipaddress.IPv6Address("::1")


@dataclass(frozen=True, kw_only=True)
class RelayOptions:
    """Options of relay."""

    only: bool = opt(False, doc="Accept recipients of relay clients, and no others.")


class Relay(Plugin[RelayOptions]):
    """The lists of clients that may relay."""

    files = {
        "relayclients": "Clients that may send mail to any destination: addresses, networks.",
        "morerelayclients.cdb": "Clients of `relayclients` as a constant database.",
        "norelayclients": "Clients that may not relay, even if `relayclients` lists them.",
    }

    @classmethod
    def may_accept_recipients(cls, options: RelayOptions) -> bool:
        return options.only

    async def start(self) -> None:
        config = self.services.config
        self._no_relay, self._relay = await read_all(
            read_hosts(config, "norelayclients"), self._read_relayclients()
        )
        self.own_clients = self._relay
        self._more = await config.mapping("morerelayclients")

    async def hook_connect(self, session: Session) -> Verdict | None:
        address = session.client_address
        if address in self._no_relay:
            session.relay_client = False
        elif self._named_by_tcpserver(session) or self._listed(address):
            session.relay_client = True
        return None

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if not self.options.only:
            return None
        if tx.session.relay_client:
            return accept()
        return deny("Relaying denied", status="5.7.1")

    def _named_by_tcpserver(self, session: Session) -> bool:
        # tcpserver sees the proxy, not the client behind it: it means the proxy.
        return "RELAYCLIENT" in self.services.environment and session.proxy is None

    async def _read_relayclients(self) -> HostList:
        return await read_hosts(self.services.config, "relayclients", _check_not_all)

    def _listed(self, address: IPAddress) -> bool:
        return (
            address in self._relay
            or address == _LOCAL
            or (bool(self._more) and any(key.encode() in self._more for key in _keys(address)))
        )


def _check_not_all(network: IPNetwork) -> None:
    if network.prefixlen == 0:
        raise ValueError("a network of all addresses makes an open relay")


def _keys(address: IPAddress) -> Iterator[str]:
    """The keys under which an address may be found in the constant database."""
    yield str(address)
    if address.version == 4:
        octets = str(address).split(".")
        yield from (".".join(octets[:count]) + "." for count in (3, 2, 1))
    else:
        full = address.exploded
        yield from (full[:end] for end in range(len(full), 0, -1) if full[end - 1] != ":")
