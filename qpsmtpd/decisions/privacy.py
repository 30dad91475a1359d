# SPDX-License-Identifier: MIT
"""What of a person is kept in decisions: whole addresses, only hashes of them, or only the domain.

A hash is keyed with a secret of the store, so that nobody can try all addresses on data that have
left it; anybody with the store has the secret too, and an address can still be searched for.
Texts of plugins and Message-IDs may repeat an address; there it is replaced as well.
"""

from __future__ import annotations

import hashlib
import socket
from ipaddress import ip_network
from typing import Literal, NamedTuple

from qpsmtpd.decisions.decision import Decision, Said
from qpsmtpd.mail.address import address_key

Addresses = Literal["whole", "hashed", "domain"]
Clients = Literal["whole", "network"]

#: Octets of a hash.
_HASH = 8


class Privacy(NamedTuple):
    """What is kept; prefix4 and prefix6 are the lengths of the networks of clients."""

    addresses: Addresses = "whole"
    clients: Clients = "whole"
    prefix4: int = 24
    prefix6: int = 64

    @property
    def hides(self) -> bool:
        """Whether anything is left out of a decision."""
        return self.addresses != "whole" or self.clients != "whole"

    def applied(self, decision: Decision, key: bytes) -> Decision:
        """The decision as it may be kept; `key` is the secret for hashes."""
        if self.clients == "network":
            decision = decision._replace(ip=self.network(decision.ip), name="", helo="")
        return decision if self.addresses == "whole" else self._hidden(decision, key)

    def network(self, ip: str) -> str:
        """The network of a client, in place of its address."""
        if ":" in ip:
            return str(ip_network(f"{ip}/{self.prefix6}", strict=False))
        try:
            number = int.from_bytes(socket.inet_pton(socket.AF_INET, ip), "big")
        except (OSError, ValueError):
            raise ValueError(f"{ip!r} is not an address") from None
        # A tenth of the time that ip_network takes: reports ask for a million of them.
        rest = 32 - self.prefix4
        first = (number >> rest << rest).to_bytes(4, "big")
        return f"{socket.inet_ntop(socket.AF_INET, first)}/{self.prefix4}"

    def address(self, address: str, key: bytes) -> str:
        """What is kept of an address; of what is none, such as "" or a host, all."""
        _, at, domain = address.rpartition("@")
        if self.addresses == "whole" or not at:
            return address
        if self.addresses == "domain":
            return f"*@{domain}"
        return f"{hashed(address, key)}@{domain}"

    def _user(self, name: str, key: bytes) -> str:
        if not name or "@" in name:
            return name
        return hashed(name, key) if self.addresses == "hashed" else "*"

    def _hidden(self, decision: Decision, key: bytes) -> Decision:
        named = (decision.sender, decision.about, decision.user, *decision.recipients)
        replaced = {name: self.address(name, key) for name in named if "@" in name}

        def hide(text: str) -> str:
            for name, new in replaced.items():
                text = text.replace(name, new).replace(name.lower(), new)
            return text

        return decision._replace(
            sender=hide(decision.sender),
            about=hide(decision.about),
            user=self._user(hide(decision.user), key),
            recipients=tuple(map(hide, decision.recipients)),
            reply=hide(decision.reply),
            reason=hide(decision.reason),
            message_id=hide(decision.message_id),
            trail=tuple(_hidden(said, hide(said.reason)) for said in decision.trail),
        )


def hashed(address: str, key: bytes) -> str:
    """The hash that stands for the local part of an address, however it is spelled."""
    text = address_key(address).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=key, digest_size=_HASH).hexdigest()


def _hidden(said: Said, reason: str) -> Said:
    return said if said.reason == reason else said._replace(reason=reason)
