# SPDX-License-Identifier: MIT
"""uribl: judge messages by DNS lists of the hosts that links in them lead to (SURBL, URIBL, DBL).

    uribl [action add-header|deny|denysoft|log] [timeout 30]
          [check_headers yes|no]
          [public_suffix_list FILE] [max_domains N]

File `uribl_zones`, one list a line: its zone, which of its answers count, and what to do then. Both
may be left out:

    multi.surbl.example    8,16,64,128          deny
    multi.uribl.example    2                    add-header
    dbl.example.org        127.0.1.[2..99]      denysoft

Which answers count is given by numbers, of which one has to have a bit in common with the answer
(Perl's masks; 0 and less stand for all bits), or by codes as for dnsbl. Without them every answer
counts, except that of a DBL (a zone with the label dbl) only 127.0.1.2 to 127.0.1.99 do: the others
are about honest sites that somebody has abused.

    action      what becomes of a message with a listed link
    add-header  it gets a field `X-URIBL-Match: NAME in ZONE: TEXT`
    deny        it is refused with 552 5.7.1
    denysoft    it is deferred with 452 4.7.1
    log         the log has a line, as it has in the other cases as well

The default is the action of the plugin's line, or add-header; with `reject 1` or `reject naughty`
there it is deny. With `reject 0`, deny and denysoft only log. The first list in the file that wants
a refusal decides. The text is that of the list (its TXT record).

Links are looked for in all parts of the message that are text or HTML (also attached files of that
kind, and attached messages), whatever their encoding and charset, and with `check_headers` in the
header fields that people see. A link is what a mail program makes one of, so `www.example.com`
without http counts. Escapes are undone (`%65`, `&#101;`, full-width characters, U-labels, numbers
that stand for an address: `http://3221225985/`), and what is behind a redirector is seen in its
parameters. Of a message at most `max_text` is read, and of one with more than 1000 parts the rest
as plain text.

Asked for is the domain that somebody has registered, and the name one label below; of `max_domains`
names at most, links with `//` first. With `public_suffix_list` that file says where domains are
registered; in Debian the package publicsuffix has
/usr/share/publicsuffix/public_suffix_list.dat. Without it `co.uk` and its like are known, and
names without http count only if their top-level domain is a country's or a usual one. Domains in
the file `uribl_whitelist_domains` are not asked for, nor is anything below them.

IP addresses are looked up unless `checkip no` says otherwise, but never in a DBL, whose operators
forbid it.

All lists are asked at the same time, and have `timeout` together. One that does not answer, fails,
or makes no sense lists nothing: an answer has to be within 127.0.0.0/8, but not 127.0.0.1 or
127.255.255.0/24, and a list that has the domain `invalid` has everybody (RFC 5782 section 5) and
is not asked for an hour. That is logged once an hour. While a list is down, nobody waits for it,
as with dnsbl.

A listed link costs the client a point of karma. Exempt clients are not tested, nor are messages for
postmaster and abuse alone: complaints contain such links. With `mode=shadow` the message is not
changed.

Differences from the Perl version: there, escapes were undone line by line in all that the message
consists of, so that base64 hid everything, and attachments that are not text were searched. Every
parent domain of a host was asked for, and of some countries never the domain itself
(`example.ca`). Answers of lists that are closed or refuse us counted, as did all of a DBL.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from qpsmtpd.api import (
    DOMAINS,
    Codes,
    ConfigError,
    DnsList,
    DomainList,
    Entry,
    Finding,
    Headers,
    Message,
    Note,
    Plugin,
    RejectMode,
    RejectOptions,
    RejectType,
    Seconds,
    Size,
    System,
    Transaction,
    Verdict,
    check_lists,
    is_among,
    made_of,
    opt,
    read_codes,
    read_each,
    read_public_suffixes,
    reversed_address,
)
from qpsmtpd.content.headertext import readable_text
from qpsmtpd.content.linkhosts import LinkHost
from qpsmtpd.content.links import LinkFinder
from qpsmtpd.content.mimereader import MimeReader
from qpsmtpd.content.registered import DomainRules, with_parents

Action = Literal["add-header", "deny", "denysoft", "log"]

FIELD = "X-URIBL-Match"
STATUS = "5.7.1"

#: What is listed: names and zones, for plugins below.
URIBL_MATCHES = Note[tuple[tuple[str, str], ...]]("uribl_matches")

#: Octets that are read before others have a turn: at worst for 8 ms.
_SLICE = 8192
#: Fields that are added to one message.
_MOST_FIELDS = 10

_ALL_BITS = 0x00FFFFFF
_ACTIONS: dict[str, Action] = {
    "add-header": "add-header",
    "deny": "deny",
    "denysoft": "denysoft",
    "log": "log",
}
_is_mask = re.compile(r"-?[0-9]{1,10}(?:,-?[0-9]{1,10})*").fullmatch
_is_dbl = re.compile(r"(?:.*\.)?dbl\..*").fullmatch
_REPUTATION_OF_DBL = read_codes("127.0.1.[2..99]", "")

_refuses = re.compile(r"(?<!\S)reject[ =](?:1|naughty)(?!\S)").search
_has_action = re.compile(r"(?<!\S)action[ =]").search

#: They get complaints, with the links that the complaint is about.
_SPARED = frozenset({"postmaster", "abuse"})

#: Every HTML message may mention them.
_EVERYWHERE = ("w3.org", "schemas.microsoft.com")


@dataclass(frozen=True, kw_only=True)
class UriblOptions(RejectOptions):
    """Options of uribl."""

    reject: RejectMode = opt(
        "1",
        doc="With 0, deny and denysoft only log; naughty leaves the refusal to the plugin naughty. "
        "1 and naughty on the line make deny the action of lists that do not have their own.",
    )
    action: Action = opt(
        "add-header", doc="What becomes of a message with a listed link; a list can have its own."
    )
    timeout: Seconds = opt(Seconds(30), doc="How long all lists together may take.")
    check_headers: bool = opt(
        False, was=("scan_headers",), doc="Whether links in header fields count as well."
    )
    mask: int = opt(
        -1,
        doc="The bits of an answer that count where a list has none of its own; 0 means all.",
    )
    checkip: bool = opt(True, doc="Whether links to IP addresses are looked up.")
    max_domains: int = opt(20, least=1, most=200, doc="How many names a message is judged by.")
    max_text: Size = opt(
        Size(2 << 20), least=1024, doc="How much text of a message is read, in its encoding."
    )
    public_suffix_list: Path | None = opt(
        None, doc="A list of public suffixes, which says where domains are registered."
    )

    @staticmethod
    def rewrite(words: Sequence[str]) -> list[str]:
        """`reject 1` without an action means that listed links are to be refused."""
        line = " ".join(words)
        return ["action", "deny", *words] if _refuses(line) and not _has_action(line) else [*words]


class Listing(NamedTuple):
    """A list: which of its answers count, as bits or as codes, and what to do then."""

    list: DnsList
    mask: int
    codes: Codes | None
    action: Action

    @property
    def has_addresses(self) -> bool:
        """Whether it may be asked for IP addresses."""
        return not _is_dbl(self.list.zone)

    def counts(self, answers: Sequence[str]) -> bool:
        """Whether one of these answers counts."""
        if self.codes is not None:
            return any(is_among(answer, self.codes) for answer in answers)
        return any(int(IPv4Address(answer)) & self.mask for answer in answers)


class Match(NamedTuple):
    """A name that is listed, as it is shown and as the list was asked for it."""

    listing: Listing
    name: str
    entry: str


class Uribl(Plugin[UriblOptions]):
    """Lists of what links lead to, in the DNS."""

    files = {
        "uribl_zones": "DNS lists of domains in links: zone, answers that count, action.",
        "uribl_whitelist_domains": "Domains that links may always lead to.",
    }

    async def start(self) -> None:
        config = self.services.config
        self._lists = await self._read_lists()
        allowed = await config.entries("uribl_whitelist_domains")
        self._allowed = await made_of(allowed, partial(DomainList, also=_EVERYWHERE))
        path = self.options.public_suffix_list
        self._rules = DomainRules(
            await asyncio.to_thread(read_public_suffixes, config.path(path)) if path else None
        )

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether there are lists, each answers, and lists what it must (RFC 5782 section 5)."""
        zones = [listing.list.zone for listing in await self._read_lists()]
        resolver = self.services.resolver
        async for finding in check_lists(
            resolver, zones, DOMAINS, "uribl_zones", idle_without=True
        ):
            yield finding

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if tx.message is None or not self._lists or self.immune(tx.session) or _is_complaint(tx):
            return None
        names = self._names(await self._hosts(tx, tx.message))
        if not names:
            return None
        self.log.debug("asking for names=%r", list(names))
        deadline = asyncio.get_running_loop().time() + self.options.timeout
        matches = await self._matches(names, deadline)
        if not matches:
            return None
        tx.notes[URIBL_MATCHES] = tuple((each.name, each.listing.list.zone) for each in matches)
        tx.session.adjust_karma(-1)
        return await self._judge(tx, matches, deadline)

    # --- lists ----------------------------------------------------------------------------------

    async def _read_lists(self) -> list[Listing]:
        return read_each(await self.services.config.entries("uribl_zones"), self._listing)

    def _listing(self, entry: Entry) -> Listing:
        services = self.services
        zone, *words = entry.text.split()
        counting = words.pop(0) if words and words[0] not in _ACTIONS else ""
        action = words.pop(0) if words else self.options.action
        if words or action not in _ACTIONS:
            wanted = "ZONE [MASK,MASK...|CODES] [add-header|deny|denysoft|log]"
            raise ConfigError(entry.where, f"{entry.text!r} must be {wanted}")
        found = DnsList(zone, services.resolver, services.clock, unlisted=DOMAINS[1])
        if _is_mask(counting):
            return Listing(found, _mask(counting), None, _ACTIONS[action])
        codes = read_codes(counting, entry.where) if counting else None
        if codes is None and _is_dbl(found.zone):
            codes = _REPUTATION_OF_DBL
        return Listing(found, _mask(str(self.options.mask)), codes, _ACTIONS[action])

    # --- the message ----------------------------------------------------------------------------

    async def _hosts(self, tx: Transaction, message: Message) -> list[LinkHost]:
        """What the links of a message lead to."""
        finder = LinkFinder(self._rules.is_name)
        if self.options.check_headers:
            text = "\n".join(readable_text(Headers.parse(tx.received_header)))
            for start in range(0, len(text), _SLICE):
                finder.add(text[start : start + _SLICE])
                await asyncio.sleep(0)
            finder.end_part()
        reader = MimeReader(message.headers, finder)
        async for block in message.stream_body():
            for start in range(0, len(block), _SLICE):
                reader.feed(block[start : start + _SLICE])
                if reader.spent > self.options.max_text:
                    self.log.info("not all looked at max_text=%d", self.options.max_text)
                    return finder.hosts
                if len(block) > _SLICE:
                    await asyncio.sleep(0)
        reader.close()
        return finder.hosts

    def _names(self, links: Sequence[LinkHost]) -> dict[str, LinkHost]:
        """What lists are asked for: those domains that were registered come first."""
        wanted = list(filter(self._is_wanted, links))
        pairs = [
            *((self._registered(link), link) for link in wanted),
            *((self._rules.one_below(link), link) for link in wanted if isinstance(link, str)),
        ]
        names = {name: link for name, link in pairs if name}
        return dict(islice(names.items(), self.options.max_domains))

    def _is_wanted(self, link: LinkHost) -> bool:
        if not isinstance(link, str):
            return self.options.checkip
        return not any(parent in self._allowed for parent in with_parents(link))

    def _registered(self, link: LinkHost) -> str:
        return self._rules.registered(link) if isinstance(link, str) else str(link)

    # --- what lists say -------------------------------------------------------------------------

    async def _matches(self, names: dict[str, LinkHost], deadline: float) -> list[Match]:
        """What is listed, as far as is known in time; in the order of the lists and the names."""
        questions = [
            Match(listing, name, name if isinstance(host, str) else reversed_address(name))
            for listing in self._lists
            for name, host in names.items()
            if isinstance(host, str) or listing.has_addresses
        ]
        listed: set[Match] = set()

        async def ask(question: Match) -> None:
            answers = await question.listing.list.codes(question.entry)
            if question.listing.counts(answers):
                listed.add(question)

        await _until(deadline, map(ask, questions))
        return [question for question in questions if question in listed]

    async def _judge(
        self, tx: Transaction, matches: Sequence[Match], deadline: float
    ) -> Verdict | None:
        for match in matches:
            zone, action = match.listing.list.zone, match.listing.action
            self.log.info("listed name=%r by=%s action=%s", match.name, zone, action)
        shown = [each for each in matches if each.listing.action == "add-header"][:_MOST_FIELDS]
        refusing = [each for each in matches if each.listing.action in ("deny", "denysoft")][:1]
        texts = await self._descriptions([*shown, *refusing], deadline)
        if self.mode != "shadow":
            for match in reversed(shown):
                tx.add_header(FIELD, texts[match])
        for match in refusing:
            default: RejectType = "perm" if match.listing.action == "deny" else "temp"
            return self.reject(tx.session, texts[match], status=STATUS, default=default)
        return None

    async def _descriptions(self, matches: Sequence[Match], deadline: float) -> dict[Match, str]:
        """The name, the list, and what that says about it."""
        texts = {each: f"{each.name} in {each.listing.list.zone}" for each in matches}

        async def ask(match: Match) -> None:
            if said := await match.listing.list.reason(match.entry):
                texts[match] += f": {said}"

        await _until(deadline, map(ask, matches))
        return texts


async def _until(deadline: float, questions: Iterable[Awaitable[None]]) -> None:
    """Ask at the same time; what has not been answered by then is not waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await asyncio.gather(*questions)


def _mask(text: str) -> int:
    mask = 0
    for word in text.split(","):
        mask |= int(word) if int(word) >= 0 else _ALL_BITS
    return mask or _ALL_BITS


def _is_complaint(tx: Transaction) -> bool:
    """Whether all recipients are those that complaints are sent to."""
    local_parts = {recipient.address.local_part.lower() for recipient in tx.recipients}
    return bool(local_parts) and local_parts <= _SPARED
