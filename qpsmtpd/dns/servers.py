# SPDX-License-Identifier: MIT
"""Servers: the name servers in the order in which they are asked, and whether any answers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from qpsmtpd.dns.nameserver import NameServer
from qpsmtpd.dns.udpport import Turn
from qpsmtpd.plugin.services import Clock

log = logging.getLogger(__name__)


class Servers:
    """The name servers of a resolver.  The log says once that none answers, and once that one does.

    Those that keep silent are asked after the others.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn = Turn()
        self._servers: dict[tuple[str, int], NameServer] = {}
        self._order: list[NameServer] = []
        self._rotate = False
        #: Whether the last look-up got no answer from anybody.
        self.all_silent = False

    def __str__(self) -> str:
        return ", ".join(map(str, self._servers.values())) or "none"

    def use(self, addresses: Sequence[tuple[str, int]], *, rotate: bool = False) -> None:
        """Use these from now on; one whose address is impossible is logged and left out.

        rotate: each question begins with the next one.  The caller sees to it that nobody waits for
        those that are not used any more.
        """
        before, self._servers = self._servers, {}
        for address in addresses:
            try:
                self._servers[address] = before.get(address) or self._open(*address)
            except OSError as error:
                log.warning("name_server=%r is left out error=%s", address[0], error.strerror)
        self._order = list(self._servers.values())
        self._rotate = rotate
        for address in before.keys() - self._servers.keys():
            before[address].close()

    def _open(self, host: str, port: int) -> NameServer:
        return NameServer(host, port, self._clock, self._turn)

    def in_order(self) -> list[NameServer]:
        """The name servers for a question, the first to be asked first."""
        if len(self._order) < 2:
            return self._order
        if self._rotate:
            self._order.append(self._order.pop(0))
        first = [server for server in self._order if server.may_be_first()]
        return first + [server for server in self._order if server not in first]

    def note(self, *, answered: bool) -> None:
        """A look-up came to its end, with or without a word from any name server."""
        if answered and self.all_silent:
            log.warning("a name server answers again servers=%s", self)
        elif not answered and not self.all_silent:
            log.warning("no name server answers servers=%s", self)
        self.all_silent = not answered

    def close(self) -> None:
        """Close the sockets."""
        for server in self._servers.values():
            server.close()
