# SPDX-License-Identifier: MIT
"""rcpt_socketmap: refuse recipients that a server of socketmap does not know.

    rcpt_socketmap /run/mail-users.sock users
    rcpt_socketmap 192.0.2.7:8461,192.0.2.8:8461 users canary postmaster@example.com

socketmap is the protocol by which Postfix and Sendmail look up tables in servers
(socketmap_table(5)); where Postfix has `socketmap:unix:/run/mail-users.sock:users`, this plugin has
the first of the lines above. Of several places, the first that works is asked. The key is the
address of the recipient in lower case, an international domain as `xn--...`; with `delimiter` and
`catch_all`, user@example.com without the extension and @example.com follow. OK, whatever the value,
means that the recipient is known. NOTFOUND for all keys is 550 5.1.1 No such user here.

Only recipients that other plugins have accepted are looked up, wherever the line is, and only those
in our own domains (the files `rcpthosts`, `morercpthosts.cdb` and `me`), or in those of the option
`domains`. So nobody can write to other domains because the server knows them. For several maps
write `rcpt_socketmap:1`, `rcpt_socketmap:2` and so on, each with its `domains`; if a domain is in
more than one, all but the last have `unknown next`.

While no server is there, answers in time and in the protocol, or answers with anything else (TEMP,
TIMEOUT, PERM), recipients get 451 4.3.0, so that the client tries again later, or are taken with
`on_error pass`. It is asked again after a second, and then less and less often, at least every ten
seconds; the log says when it is down and when it works again. A server that has lost its data may
still say NOTFOUND: name an address that it certainly knows as `canary`.

Differences from the Perl version: the Perl version has no such plugin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from qpsmtpd.api import (
    OUR_DOMAINS,
    PLACE_FORMS,
    ConfigError,
    Finding,
    Place,
    Plugin,
    Recipient,
    System,
    Transaction,
    Verdict,
    matching,
    opt,
    our_domains,
    parse_place,
    parse_places,
    socket_denied,
)
from qpsmtpd.recipients import RecipientTable, TableOptions, check_backend
from qpsmtpd.recipients.socketmap import SocketMap


@dataclass(frozen=True, kw_only=True)
class RcptSocketmapOptions(TableOptions):
    """Options of rcpt_socketmap."""

    server: tuple[str, ...] = opt(
        (),
        positional=True,
        check=parse_place,
        doc=f"Where the server listens: {PLACE_FORMS}. Of several, the first that works is asked.",
    )
    map: str = opt(
        "",
        positional=True,
        check=matching(lambda text: text.isascii() and text.isprintable(), "the name of a map"),
        doc="The name of the map.",
    )


class RcptSocketmap(Plugin[RcptSocketmapOptions]):
    """Recipients, in the opinion of a server of socketmap."""

    files = OUR_DOMAINS

    async def start(self) -> None:
        ours = await our_domains(self.services)
        self._table = RecipientTable(self, self.options, self._backends(), ours)

    async def stop(self) -> None:
        await self._table.close()

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether each server answers."""
        for backend in self._backends():
            place = backend.place
            if place.path and (found := socket_denied(system, f"{self.name} {place}", place.path)):
                yield found
                continue
            if place.path:
                backend = replace(backend, place=Place(path=str(system.path(place.path))))
            yield await check_backend(self.name, self.options, backend)

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return await self._table.judge(tx, recipient)

    def _backends(self) -> list[SocketMap]:
        options = self.options
        if not options.server or not options.map:
            raise ConfigError(self.name, "needs the place of a server, and the name of a map")
        return [SocketMap(place, options.map) for place in parse_places(options.server)]
