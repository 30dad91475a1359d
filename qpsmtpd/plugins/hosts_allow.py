# SPDX-License-Identifier: MIT
"""hosts_allow: limit the connections of each client, and admit or refuse networks.

A client with more connections open than the setting `max_from_ip` permits is told with 451 4.7.0 to
try again later, and disconnected. If the plugin karma knows the client, a good history (above 5)
permits 3 more connections, and a bad one just a single connection. If `max_from_ip` is 0 there is
no limit. Beyond those 3, the daemon turns the client away with 421 before it asks plugins; clients
in the file `admission_exempt`, and relay clients, are not counted.

Then the file `hosts_allow` is searched, one entry a line; the first that matches decides:

    192.0.2.0/24    DENY        go away
    198.51.100.7    DENYSOFT
    2001:db8::/32   DECLINED

An entry is an address, a network or the beginning of an address (`192.0.2.`), then a return code of
the Perl version (DENY 550, DENYSOFT 451; OK and DECLINED admit the client), then the text that a
refused client gets. Invalid entries are an error, at start.

Differences from the Perl version: IPv6 in both parts; it also runs under tcpserver, where only
the file counts.
"""

from __future__ import annotations

from qpsmtpd.api import (
    ConfigError,
    Entry,
    IPNetwork,
    NoOptions,
    Plugin,
    Session,
    Verdict,
    defer,
    read_each,
    read_network,
    verdict_from_word,
)

_GOOD_HISTORY = 5
_EXTRA_CONNECTIONS = 3


class HostsAllow(Plugin[NoOptions]):
    """The limit of connections and the list of networks."""

    files = {"hosts_allow": "Clients that are admitted or refused: network, code, text."}

    after = ("karma",)

    beyond_max_from_ip = _EXTRA_CONNECTIONS

    async def start(self) -> None:
        entries = await self.services.config.entries("hosts_allow")
        self._rules = read_each(entries, self._rule)

    async def hook_pre_connection(self, session: Session) -> Verdict | None:
        limit = _limit(session)
        if limit and session.connections_from_client > limit:
            self.log.info(
                "fail client=%s connections=%d limit=%d",
                session.client.ip,
                session.connections_from_client,
                limit,
            )
            return defer("Too many connections from you, try again later", status="4.7.0")
        return self._listed(session)

    def _listed(self, session: Session) -> Verdict | None:
        address = session.client_address
        for network, verdict in self._rules:
            if address in network:
                return verdict
        return None

    def _rule(self, entry: Entry) -> tuple[IPNetwork, Verdict | None]:
        words = entry.text.split(None, 2)
        network = read_network(self.services.config, words[0], entry.where)
        if len(words) < 2:
            raise ConfigError(entry.where, f"write a code such as DENY or OK after {words[0]!r}")
        try:
            return network, verdict_from_word(words[1], "".join(words[2:]))
        except ValueError as error:
            raise ConfigError(entry.where, str(error)) from None


def _limit(session: Session) -> int:
    """How many connections the client may have; 0 means no limit."""
    limit, history = session.max_connections_from_client, session.karma_history
    if not limit or history is None:
        return limit
    return limit + _EXTRA_CONNECTIONS if history > _GOOD_HISTORY else limit if history > 0 else 1
