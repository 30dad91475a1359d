# SPDX-License-Identifier: MIT
"""Selection: which decisions somebody wants to see."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.privacy import hashed
from qpsmtpd.lists.hosts import parse_hosts
from qpsmtpd.mail.address import address_key
from qpsmtpd.mail.ip import IPNetwork


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What all decisions have that are selected; "" and None mean any.

    since, until: seconds since the epoch.
    client: a network that the client is in.
    address: of the sender, a recipient, or a user; @DOMAIN for all of a domain.
    plugin: which decided; or, with a name only, which had something against it (`mode=shadow`).
    about: the id of a session or transaction, the queue id of the next hop, or a Message-ID.
    text: anywhere in what was said or decided, in any case.
    secret: the key under which addresses are hashed, if they are.
    """

    since: float = 0.0
    until: float = float("inf")
    client: IPNetwork | None = None
    address: str = ""
    plugin: str = ""
    outcome: str = ""
    about: str = ""
    text: str = ""
    secret: bytes | None = None

    def has(self, decision: Decision) -> bool:
        """Whether a decision is selected."""
        return (
            self.since <= decision.time <= self.until
            and self.outcome in ("", decision.outcome)
            and (not self.plugin or _concerns(decision, self.plugin))
            and (self.client is None or _is_in(decision.ip, self.client))
            and (not self.about or self.about in ids_of(decision))
            and (not self.address or self._has_address(decision))
            and (not self.text or self.text.casefold() in _texts(decision).casefold())
        )

    def _has_address(self, decision: Decision) -> bool:
        wanted = address_key(self.address)
        domain = wanted.rpartition("@")[2]
        names = {address_key(name) for name in addresses_of(decision)}
        if wanted.startswith("@"):
            return any(name.endswith(wanted) for name in names)
        secret = hashed(self.address, self.secret) if self.secret else ""
        return wanted in names or bool(secret and {secret, f"{secret}@{domain}"} & names)


def parse_client(text: str) -> IPNetwork:
    """An address or a network, as elsewhere in the configuration.  Raises ValueError."""
    return parse_hosts(text)


def meanings(text: str) -> list[Selection]:
    """What somebody may mean by a text: an id, an address, a domain, a client."""
    found = [Selection(about=text), Selection(address=text)]
    if "@" not in text:
        found.append(Selection(address=f"@{text}"))
    with suppress(ValueError):
        found.append(Selection(client=parse_client(text)))
    return found


def ids_of(decision: Decision) -> set[str]:
    """Everything that names a decision."""
    session = ".".join(decision.id.split(".")[:3])
    message_id = decision.message_id
    return {decision.id, session, decision.next_hop_id, message_id, message_id.strip("<>")} - {""}


def addresses_of(decision: Decision) -> list[str]:
    """The addresses in it, and its user."""
    names = (decision.sender, decision.about, decision.user, *decision.recipients)
    return [name for name in names if name]


def _is_in(ip: str, network: IPNetwork) -> bool:
    """Whether a client is in a network.  Perhaps only the network of the client was kept."""
    try:
        client = parse_hosts(ip)
    except ValueError:
        return False
    return client.version == network.version and client.overlaps(network)


def _concerns(decision: Decision, plugin: str) -> bool:
    return plugin == decision.plugin or any(
        said.plugin == plugin and said.verdict in ("deny", "defer") for said in decision.trail
    )


def _texts(decision: Decision) -> str:
    return "\n".join(
        (
            *(decision.reply, decision.reason, decision.name, decision.helo, decision.message_id),
            decision.results,
            *(said.reason for said in decision.trail),
        )
    )
