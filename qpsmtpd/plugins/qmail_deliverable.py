# SPDX-License-Identifier: MIT
"""qmail_deliverable: refuse recipients that qmail cannot deliver to.

    qmail_deliverable [server HOST:PORT]
    qmail_deliverable server smtproutes:[HOST:]PORT

asks qmail-deliverabled, the daemon of the Perl distribution Qmail::Deliverable, which knows qmail's
users, aliases and virtual domains and those of vpopmail. A recipient that it calls undeliverable
gets 550 5.1.1, and costs the client a point of karma; so does a mailing list of ezmlm that somebody
writes to without a sender. Whatever else it says, the recipient is taken: also if the domain is not
local, if a program would decide, or if delivery is not possible for now. `reject 0` and `reject
naughty` are as with other plugins.

With `smtproutes:`, the server for a recipient is on the host that qmail's control file smtproutes
(`routes`) names for the domain; for others it is HOST, or nobody is asked.

Recipients that other plugins have accepted are asked about, wherever the line is, if they are in
our own domains (the files `rcpthosts`, `morercpthosts.cdb` and `me`). Exempt clients are not
checked. While the daemon is down, does not answer in time, or not with a number, recipients are
taken; with `on_error defer` they get 451 4.3.0. It is asked again after a second, and then less and
less often, at least every ten seconds; the log says when it is down and when it works again.

`vpopmail_ext` has no effect, as it has none in the Perl version: the daemon decides that.

Differences from the Perl version: that asked about recipients in other domains too, if the line was
above rcpt_ok.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import (
    OUR_DOMAINS,
    PLACE_FORMS,
    ConfigError,
    Finding,
    Place,
    Plugin,
    Recipient,
    RejectOptions,
    Seconds,
    System,
    Transaction,
    Verdict,
    deny,
    opt,
    our_domains,
    parse_mailbox,
    parse_place,
)
from qpsmtpd.recipients.qmail import (
    MAILING_LIST,
    MEANINGS,
    NOT_DELIVERABLE,
    PORT,
    Routes,
    ask,
    ask_once,
)
from qpsmtpd.recipients.table import CONSEQUENCE, OnError, unverified
from qpsmtpd.scanners import ScannerError, ScannerWire, Service

NO_MAILBOX = "Sorry, no mailbox by that name"
NO_BOUNCES = "Mailing lists do not accept null senders"

#: What `server` is to be with smtproutes: the host for other domains, and the port of all.
_routed = re.compile(r"smtproutes:(?:(.+?):)?([0-9]{1,5})").fullmatch

_SERVER_FORMS = f"{PLACE_FORMS}, or smtproutes:[HOST:]PORT"


def _servers(text: str) -> tuple[Place | None, int]:
    """The server for all other domains, and with smtproutes the port, else 0.

    Raises a ValueError that says what would be right.
    """
    routed = _routed(text)
    try:
        if routed is None:
            return parse_place(text, PORT), 0
        port = parse_place(routed[2]).port
        return (parse_place(f"{routed[1]}:{port}") if routed[1] else None), port
    except ValueError:
        raise ValueError(_SERVER_FORMS) from None


@dataclass(frozen=True, kw_only=True)
class QmailDeliverableOptions(RejectOptions):
    """Options of qmail_deliverable."""

    server: str = opt(
        f"127.0.0.1:{PORT}",
        check=_servers,
        doc=f"Where qmail-deliverabled listens: {_SERVER_FORMS}.",
    )
    routes: Path = opt(
        Path("/var/qmail/control/smtproutes"), doc="The file that smtproutes: is about."
    )
    on_error: OnError = opt(
        "pass",
        doc="What becomes of recipients while the daemon is down, too slow, or gives no sensible "
        "answer: defer them (451), or take them.",
    )
    timeout: Seconds = opt(
        Seconds(10),
        least=0.1,
        most=110,
        doc="How long one question may take. It has to be less than the hook_timeout of the line.",
    )
    connections: int = opt(
        4, least=1, doc="How many questions each worker asks one daemon at once; others wait."
    )
    vpopmail_ext: bool = opt(False, doc="Has no effect.")


class QmailDeliverable(Plugin[QmailDeliverableOptions]):
    """Recipients, in the opinion of qmail-deliverabled."""

    files = OUR_DOMAINS

    async def start(self) -> None:
        self._ours = await our_domains(self.services)
        if self.options.vpopmail_ext:
            self.services.config.warn("", "vpopmail_ext has no effect: the daemon decides that")
        await self._read_places()
        self._daemons = {place: self._daemon(place) for place in self._places.values()}

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether each daemon answers."""
        await self._read_places()
        somebody = parse_mailbox(f"postmaster@{self.services.me}")
        for place in dict.fromkeys(self._places.values()):
            subject = f"{self.name} {place}"
            try:
                number = await ask_once(place, somebody)
            except ScannerError as error:
                yield Finding.error(subject, str(error), CONSEQUENCE[self.options.on_error])
            else:
                yield Finding.ok(subject, f"answers: {_meaning(number)}")

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        address = recipient.address
        if address.domain is None or address.domain not in self._ours or self.immune(tx.session):
            return None
        place = self._places.get(self._routes.host(address.domain))
        if place is None:
            return None
        try:
            number = await self._daemons[place].ask(lambda wire: ask(wire, str(place), address))
        except ScannerError as error:
            return unverified(self.log, self.options.on_error, recipient, error)
        self.log.info("%s to=%r", _meaning(number), str(recipient))
        return self._verdict(tx, number)

    def _verdict(self, tx: Transaction, number: int | None) -> Verdict | None:
        if number == MAILING_LIST and tx.reverse_path is None:
            tx.session.adjust_karma(-1)
            return deny(NO_BOUNCES, status="5.7.1")
        if number != NOT_DELIVERABLE:
            return None
        tx.session.adjust_karma(-1)
        return self.reject(tx.session, NO_MAILBOX, status="5.1.1", default="perm")

    # --- whom to ask ------------------------------------------------------------------------

    async def _read_places(self) -> None:
        """Find out the daemon for each host of smtproutes, and that for all others, under ""."""
        place, port = _servers(self.options.server)
        self._places = {"": place} if place else {}
        self._routes = Routes(await self.services.run_blocking(self._read_routes) if port else ())
        for host in sorted(self._routes.hosts):
            try:
                self._places[host] = parse_place(f"{host}:{port}")
            except ValueError:
                file = self.services.config.path(self.options.routes)
                self.services.config.warn(str(file), f"{host!r} is not a host, and is not asked")

    def _read_routes(self) -> list[str]:
        path = self.services.config.path(self.options.routes)
        try:
            return path.read_text("utf-8", "replace").splitlines()
        except OSError as error:
            raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error

    def _daemon(self, place: Place) -> Service:
        options = self.options
        return Service(
            [place],
            _nothing,
            self.services.clock,
            timeout=options.timeout,
            connections=options.connections,
        )


async def _nothing(_wire: ScannerWire) -> None:
    """Whoever takes connections may be asked."""


def _meaning(number: int | None) -> str:
    if number is None:
        return "cannot be told: the daemon cannot read the address"
    return MEANINGS.get(number, f"unknown answer 0x{number:02x}")
