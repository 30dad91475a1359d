# SPDX-License-Identifier: MIT
"""dnsbl: refuse clients on DNS blocklists (RFC 5782).

    dnsbl [reject ...] [reject_type ...] [timeout 30]

File `dnsbl_zones`, one list a line, with the text that a listed client gets, where %IP% is its
address; without one the client gets what the list itself says (its TXT record):

    zen.example.org
    bl.example.net:see https://example.net/why?%IP%

All lists are asked at the same time, as soon as the client connects; the first in the file that has
it decides what it is told. A listed client loses a point of karma, and is refused with 550 5.7.1 in
place of the greeting. With `reject naughty` the plugin naughty refuses it later; in that case,
naming one of the recipients postmaster, abuse, mailer-daemon and root clears the client, so that it
can ask for help.

Lists can have weights, of which the sum has to reach `threshold`; those of allowlists are negative.
What a list says can be limited to some codes. Both are written as for Postfix's postscreen:

    bl.example.org*3
    weak.example.net=127.0.0.[2;4..6]*1:listed by several weak lists
    wl.example.com=127.0.[0..255].[1..3]*-2

A list counts as not listing the client if it does not answer within `timeout`, if it fails, or if
its answer makes no sense: an answer has to be within 127.0.0.0/8, but not 127.0.0.1 or
127.255.255.0/24. A list that has 127.0.0.1 has everybody (RFC 5782 section 5), and is not asked for
an hour then. All that is logged once an hour. One that has failed three times in a row is down:
nobody waits for it, but for one client after a second, and then less and less often, at least every
ten seconds. The log says when it is down and when it works again.

Exempt clients are not looked up, nor are those in the file `dnsbl_allow`: addresses, networks, and
beginnings of addresses (`192.0.2.`, `2001:db8:`).

When the daemon's environment has RBLSMTPD (tcpserver sets it for a connection), no list is asked.
Unless it is empty, the client is refused with its value; %IP% in it is the client's address, and
the first line of the file `dnsbl_rejectmsg` precedes it. This does not apply to clients behind a
proxy of `proxy_networks`.

Old forms: `dnsbl disconnect` (any reject_type alone), `reject connect`.

Differences from the Perl version: the texts of zones are used, with %IP% in them; answers of lists
that are closed or refuse us do not count; IPv6 clients are looked up; the lists are asked at the
same time, and the first in the file takes precedence.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from qpsmtpd.api import (
    CLIENTS,
    Codes,
    ConfigError,
    DnsList,
    Entry,
    Finding,
    Note,
    Plugin,
    Recipient,
    RejectOptions,
    Seconds,
    Session,
    System,
    Transaction,
    Verdict,
    check_lists,
    is_among,
    opt,
    read_codes,
    read_each,
    read_hosts,
    reversed_address,
    time_limit,
)

T = TypeVar("T")

_LINE = re.compile(r"(?P<zone>[^=*\s]+)(?:=(?P<codes>[^=*\s]+))?(?:\*(?P<weight>[+-]?\d{1,3}))?")

_CLEARED_BY = frozenset({"postmaster", "abuse", "mailer-daemon", "root"})


@dataclass(frozen=True, kw_only=True)
class DnsblOptions(RejectOptions):
    """Options of dnsbl."""

    timeout: Seconds = opt(Seconds(30), doc="How long each list may take.")
    threshold: int = opt(1, least=1, doc="The sum of weights from which a client is refused.")

    @staticmethod
    def rewrite(words: Sequence[str]) -> list[str]:
        """A reject_type alone, and `reject connect`, are the forms of older versions."""
        if len(words) == 1 and "=" not in words[0]:
            return ["reject_type", words[0]]
        pairs = zip(["", *words], words, strict=False)
        return ["1" if pair == ("reject", "connect") else pair[1] for pair in pairs]


class Listing(NamedTuple):
    """A list: its weight, what clients on it are told, and which codes count, None for all."""

    list: DnsList
    weight: int
    text: str
    codes: Codes | None

    def counts(self, answers: Sequence[str]) -> bool:
        """Whether one of these codes counts."""
        if self.codes is None:
            return bool(answers)
        return any(is_among(answer, self.codes) for answer in answers)


class Dnsbl(Plugin[DnsblOptions]):
    """Blocklists of clients in the DNS."""

    remedy = "whoever runs the list says on its web site why the address is there, and takes it off"

    files = {
        "dnsbl_zones": "DNS lists of clients, with the text of the refusal after a colon.",
        "dnsbl_allow": "Clients that are not looked up: addresses or networks.",
        "dnsbl_rejectmsg": "What precedes the value of RBLSMTPD in the reply.",
    }

    async def start(self) -> None:
        config = self.services.config
        self._lists = await self._read_lists()
        self._allowed = await read_hosts(config, "dnsbl_allow", dotless=True)
        self._prefix = await config.value("dnsbl_rejectmsg")
        #: The lookup under way, or done; one note for each instance of the plugin.
        self._lookup = Note[asyncio.Task[str]](f"{self.name}.lookup")

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether there are lists, each answers, and lists what it must (RFC 5782 section 5)."""
        zones = [listing.list.zone for listing in await self._read_lists()]
        resolver = self.services.resolver
        async for finding in check_lists(
            resolver, zones, CLIENTS, "dnsbl_zones", idle_without=True
        ):
            yield finding

    async def hook_pre_connection(self, session: Session) -> Verdict | None:
        if self._applies(session):
            self._started(session)
        return None

    async def hook_connect(self, session: Session) -> Verdict | None:
        if variable := self._variable(session):
            text = f"{self._prefix} {variable}".strip()
            return self._reject(session, text, "RBLSMTPD is set")
        if not self._applies(session):
            return None
        text = await asyncio.shield(self._started(session))
        if not text:
            return None
        session.adjust_karma(-1)
        return self._reject(session, text, text)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        session = tx.session
        if session.has_deferred_rejects and recipient.address.local_part.lower() in _CLEARED_BY:
            self.log.info("cleared recipient=%r", str(recipient))
            session.deferred_rejects.clear()
            session.deferred_type = ""
        return None

    async def _read_lists(self) -> list[Listing]:
        return read_each(await self.services.config.entries("dnsbl_zones"), self._listing)

    def _listing(self, entry: Entry) -> Listing:
        services = self.services
        place, _, text = entry.text.partition(":")
        match = _LINE.fullmatch(place.strip())
        if match is None:
            wanted = "ZONE[=CODES][*WEIGHT][:TEXT], such as bl.example.net=127.0.0.[2..4]*2"
            raise ConfigError(entry.where, f"{entry.text!r} must be {wanted}")
        found = DnsList(match["zone"], services.resolver, services.clock, unlisted=CLIENTS[1])
        codes = read_codes(match["codes"], entry.where) if match["codes"] else None
        return Listing(found, int(match["weight"] or 1), text.strip(), codes)

    def _variable(self, session: Session) -> str | None:
        """RBLSMTPD.  tcpserver sees the proxy, not the client behind it: it means the proxy."""
        return self.services.environment.get("RBLSMTPD") if session.proxy is None else None

    def _applies(self, session: Session) -> bool:
        return not (
            not self._lists
            or self._variable(session) is not None
            or self.immune(session)
            or (self._allowed and session.client_address in self._allowed)
        )

    def _started(self, session: Session) -> asyncio.Task[str]:
        task = session.notes.get(self._lookup)
        if task is None:
            task = session.begin(self._find(session))
            session.notes[self._lookup] = task
        return task

    async def _find(self, session: Session) -> str:
        """What a listed client is told; "" when no list has it."""
        ip, lists = session.client.ip, self._lists
        entry = reversed_address(ip)
        asking = [self._in_time(each.list.codes, entry) for each in lists]
        # One list is asked without further tasks.
        answers = [await asking[0]] if len(asking) == 1 else await asyncio.gather(*asking)
        listings = [
            each for each, codes in zip(lists, answers, strict=True) if each.counts(codes or [])
        ]
        score = sum(listing.weight for listing in listings)
        if listings:
            zones = ",".join(listing.list.zone for listing in listings)
            self.log_about(session, "listed by=%s score=%d", zones, score)
        if score < self.options.threshold:
            return ""
        first = next(listing for listing in listings if listing.weight > 0)
        said = first.text or await self._in_time(first.list.reason, entry)
        return said or f"Client {ip} is listed by {first.list.zone}"

    async def _in_time(self, ask: Callable[[str], Awaitable[T]], entry: str) -> T | None:
        try:
            with time_limit(self.options.timeout):
                return await ask(entry)
        except TimeoutError:
            return None

    def _reject(self, session: Session, text: str, reason: str) -> Verdict | None:
        text = text.replace("%IP%", session.client.ip)
        return self.reject(session, text, status="5.7.1", default="perm", reason=reason)
