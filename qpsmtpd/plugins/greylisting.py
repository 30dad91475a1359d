# SPDX-License-Identifier: MIT
"""greylisting: put off mail from clients that nobody knows yet (RFC 6647).

    greylisting [black_timeout 50m] [suspects all] [sender 1]
                [recipient 1] ...

A mail server tries again after a temporary refusal; much of what sends spam does not. A client that
is not known is refused with 451 4.7.1 until `black_timeout` has passed since its first attempt.
When it tries again after that, within `grey_timeout`, its mail is taken, and once a message of it
has been delivered, it is known for `white_timeout` after the last one.

**Who is known.** A client is recognised by its network (`prefix`, `prefix6`), since large senders
try again from another machine; with `sender 1` and `recipient 1`, along with the sender and the
recipient. If the sender's domain vouches for the client (SPF), it is recognised by that domain as
well, from whatever network it comes; the DNS is asked about that only if the client would have to
wait. With `deny_late message` the domains that have signed the message (DKIM) count too. Where
senders or recipients are looked at, a network that has had `good_messages` messages delivered is
known for all of them.

**Who never waits:** relay clients and users who have logged in; clients and senders on an allowlist
(plugins whitelist, dns_whitelist_soft); this machine; clients with a good history (plugin karma);
clients in the files that `greylist_exclude_files` names. These are written as for postgrey:
addresses, networks, names (with all names below them), regular expressions between slashes. Put the
plugin after the others and before `rcpt_ok`.

**Only suspects.** With `suspects`, only clients with one of these reasons wait; `all` means any:

    nameless   its address has no name in the DNS that has this address
    dynamic    its name looks as if a provider had made it from the
               address, or like a home's
    helo       its HELO name has no dot, or is an address
    listed     a DNS list in the file `greylist_zones` has it; lists too
               weak to refuse by
    karma      it has lost more karma than it gained, now or before
               (plugin karma)

A DNS that does not answer is no reason. Old forms of this, for what ident/p0f and ident/geoip have
found out: `p0f genre,windows,distance,8` has only clients wait that match one of the pairs (`genre`
and `link`: a regular expression; `distance`: more hops than this; `uptime`: less than this);
`geoip US,CA` spares clients in these countries.

The refusal comes at MAIL; with `recipient 1` or `per_recipient 1`, at RCPT. It comes at DATA with
`deny_late 1`, or if there is no sender: servers that ask whether a recipient exists do not get that
far. It does not come at DATA if all recipients are on an allowlist. With `deny_late message` it
comes after the message, for the price of its transmission.

How long mail was delayed is logged with each message that had to wait, and once an hour each worker
logs how many messages were delayed and for how long.

The memory is in the store (the file `store`), shared by all workers and machines, and everything in
it ends by itself. A network that causes many entries in an hour is then recognised by itself
alone. While the store is down, nobody waits. A plugin that is loaded twice has two memories.

Old forms: the file `denysoft_greylist` has options, one a line, for what the plugin's line does not
say. `mode` is denysoft (enforce), testonly (reject 0) or off, besides what it means for every
plugin. `db_dir`, `redis`, `nfslock`, `upgrade` and `per_recipient_db` have no effect: old databases
are not read, so clients are learned anew.

Differences from the Perl version: it recognised clients by their exact address. There clients never
became known (1.0), or nothing worked at all (0.94); `grey_timeout` had no effect, and here less
than two days counts as two days, as some servers try again only after a day. The reply is 451
everywhere; clients without a sender are always refused at DATA.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from qpsmtpd.api import (
    CLIENTS,
    DKIM_RESULTS,
    SPF_RESULT,
    ClientList,
    ConfigError,
    DnsList,
    Entry,
    Finding,
    Note,
    Plugin,
    Recipient,
    RejectOptions,
    ReversePath,
    Seconds,
    Session,
    SpfQuery,
    SpfResult,
    Store,
    System,
    Transaction,
    Verdict,
    canonical_domain,
    check_host,
    check_lists,
    compile_pattern,
    literal_address,
    looks_dynamic,
    looks_like_address,
    network_of,
    opt,
    reversed_address,
    time_limit,
    with_defaults,
)
from qpsmtpd.metrics.catalogue import GREYLIST_DELAY
from qpsmtpd.metrics.counting import FIGURES

TEXT = "This mail is temporarily denied"

#: Seconds within which whoever tries again is recognised, at least: some retry after a day.
LEAST_WINDOW = 2 * 86400.0

#: Entries that a network may cause in an hour before it is recognised by itself alone, and the
#: prefix of the network that is meant, by version of IP.
MOST_NEW = 1000
_HOUR = 3600.0
_COUNTED = {4: 24, 6: 48}

#: Domains that have signed a message and are looked up.
MOST_SIGNERS = 3

#: Seconds after which an entry is written again when it is used, so that it lives on.
RENEWAL = 86400.0

#: How the databases of the Perl version are named, and where they are.
_OLD_FILES = ("greylist.dbm", "denysoft_greylist.dbm")
_OLD_DIRECTORY = Path("/var/lib/qpsmtpd/greylisting")

Reason = Literal["nameless", "dynamic", "helo", "listed", "karma"]
_REASONS: tuple[Reason, ...] = ("karma", "helo", "nameless", "dynamic", "listed")

#: What ident/p0f and ident/geoip have found out, and how many recipients are on the allowlist.
P0F = Note[Mapping[str, Any]]("p0f")
COUNTRY = Note[str]("geoip_country")
ALLOWED_RECIPIENTS = Note[int]("whitelist.recipients")


@dataclass(frozen=True, kw_only=True)
class GreylistingOptions(RejectOptions):
    """Options of greylisting."""

    remote_ip: bool = opt(True, doc="Whether clients are recognised by their network.")
    sender: bool = opt(False, doc="Whether the sender's address counts as well.")
    recipient: bool = opt(False, doc="Whether the recipient's address counts as well.")
    per_recipient: bool = opt(False, doc="Whether to decide at RCPT.")
    prefix: int = opt(24, least=8, most=32, doc="Bits of an IPv4 address that are its network.")
    prefix6: int = opt(64, least=16, most=128, doc="Bits of an IPv6 address that are its network.")
    domains: bool = opt(True, doc="Whether SPF and DKIM make domains recognised.")
    good_messages: int = opt(
        5, least=0, doc="Delivered messages that make a network known for all senders; 0 for never."
    )
    black_timeout: Seconds = opt(Seconds(3000), doc="How long a client has to wait.")
    grey_timeout: Seconds = opt(
        Seconds(LEAST_WINDOW), doc="How long a first attempt is remembered; at least two days."
    )
    white_timeout: Seconds = opt(
        Seconds(36 * 86400), least=1, doc="How long a client is known after its last message."
    )
    suspects: tuple[Literal["all", "nameless", "dynamic", "helo", "listed", "karma"], ...] = opt(
        (), doc="Reasons to have a client wait; without any, everybody unknown waits."
    )
    timeout: Seconds = opt(
        Seconds(5), doc="How long the DNS may take to find reasons, and for SPF."
    )
    deny_late: Literal["0", "1", "message"] = opt(
        "0", doc="Whether to refuse at DATA (1), or after the message."
    )
    p0f: tuple[str, ...] = opt((), doc="Pairs of what p0f has to say of those who wait.")
    geoip: tuple[str, ...] = opt((), doc="Countries whose clients do not wait.")
    mode: Literal["enforce", "shadow", "tag", "denysoft", "testonly", "off"] = opt(
        "enforce",
        doc="enforce or denysoft refuses; shadow and testonly only log; tag adds a header field "
        "X-Qpsmtpd-Tag; off does nothing.",
    )
    db_dir: str = opt("", doc="Has no effect; where an old database is looked for.")
    redis: str = opt("", doc="Has no effect: write redis://HOST into the file store.")
    nfslock: str = opt("", doc="Has no effect.")
    upgrade: str = opt("", doc="Has no effect.")
    per_recipient_db: str = opt("", doc="Has no effect.")

    def check(self) -> Iterator[str]:
        if self.reject_type not in ("", "temp", "soft", "temp_disconnect"):
            yield f"reject_type {self.reject_type}: greylisting must not refuse for good"
        try:
            read_criteria(self.p0f)
        except (ConfigError, ValueError) as error:
            yield f"p0f: {error}"


class _State(NamedTuple):
    """What is remembered of somebody unknown.

    waiting: whether the time to wait has not passed.  first: when it first tried, None if never.
    """

    waiting: bool
    first: bytes | None

    @property
    def may_pass(self) -> bool:
        return self.first is not None and not self.waiting


class Memory:
    """Who has tried when, and who is known; all of it in the store.

    A key has up to three entries: `wait` while it has to wait, `seen` from its first attempt on,
    and `known`.  They end by the time of the store, so no clock on a wall matters for decisions;
    the values have such times only for the log, and to see whether an entry needs to be renewed.
    """

    def __init__(self, store: Store, options: GreylistingOptions) -> None:
        self._store = store
        self._black = options.black_timeout
        #: Seconds for which a first attempt is remembered.
        self.window = max(options.grey_timeout, LEAST_WINDOW, options.black_timeout * 2)
        self._white = options.white_timeout

    async def known(self, key: str) -> bytes | None:
        """What was written when this key became known; None if it is not."""
        return await self._store.get(f"known/{key}")

    async def state(self, key: str) -> _State:
        """What is remembered of a key that is not known."""
        waiting, first = await asyncio.gather(
            self._store.get(f"wait/{key}"), self._store.get(f"seen/{key}")
        )
        return _State(waiting is not None, first)

    async def begin(self, key: str, now: float) -> None:
        """Remember a first attempt; whoever tries meanwhile changes nothing of it.

        In this order: who finds `seen` without `wait` may pass.
        """
        await self._store.add(f"wait/{key}", b"", self._black)
        await self._store.add(f"seen/{key}", b"%d" % now, self.window)

    async def make_known(self, key: str, now: float) -> None:
        """A message of this key was delivered."""
        await self._store.put(f"known/{key}", b"%d" % now, self._white)

    async def count_new(self, network: str) -> int:
        """Count a first attempt from a network; how many there were within the hour."""
        return await self._store.increment(f"new/{network}", 1, _HOUR)

    async def good_messages(self, network: str) -> int:
        """How many messages of a network were delivered lately."""
        return _count_in(await self._store.get(f"good/{network}"))

    async def add_good_message(self, network: str, most: int) -> None:
        """Count a delivered message."""

        def one_more(old: bytes | None) -> bytes:
            return b"%d" % min(_count_in(old) + 1, most)

        await self._store.update(f"good/{network}", one_more, self._white)


def _count_in(value: bytes | None) -> int:
    """What was written; 0 for what nobody of us has written."""
    return int(value) if value and value.isdigit() and len(value) < 10 else 0


class Tally:
    """How long mail was delayed, as one process has seen it since the last report."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._accepted = self._put_off = 0
        self._delays: list[float] = []

    def put_off(self) -> None:
        """An attempt was refused."""
        self._put_off += 1

    def delivered(self, delay: float | None) -> None:
        """A message was delivered, after a delay or without one."""
        self._accepted += 1
        if delay is not None:
            self._delays.append(delay)

    def is_due(self, now: float) -> bool:
        """Whether an hour has passed."""
        return now >= self._since + _HOUR

    def __bool__(self) -> bool:
        return bool(self._accepted or self._put_off)

    def __str__(self) -> str:
        delays = self._delays
        share = 100 * len(delays) / self._accepted if self._accepted else 0.0
        middle = statistics.median(delays) if delays else 0.0
        return (
            f"accepted={self._accepted} delayed={len(delays)} share={share:.1f}% "
            f"median_delay={middle:.0f} longest_delay={max(delays, default=0.0):.0f} "
            f"attempts_put_off={self._put_off}"
        )


@dataclass(slots=True)
class Passing:
    """Keys that become known with the delivery, and when a client that has waited first tried."""

    keys: set[str] = field(default_factory=set)
    first: bytes | None = None


class Greylisting(Plugin[GreylistingOptions]):
    """Has unknown clients wait."""

    remedy = (
        "a mail server tries again by itself, after some minutes; `suspects` on its line has "
        "only those wait that give a reason"
    )

    files = {
        "denysoft_greylist": "Options of greylisting, one a line, that its line does not give.",
        "greylist_exclude_files": "Files of clients that need not wait, in the format of postgrey.",
        "greylist_zones": "DNS lists of clients, for `suspects listed`.",
    }

    after = ("relay", "whitelist", "dns_whitelist_soft", "karma", "ident/p0f", "ident/geoip")

    async def start(self) -> None:
        config = self.services.config
        self.options = with_defaults(self.options, await config.entries("denysoft_greylist"))
        self._apply_mode()
        self._at_rcpt = self.options.recipient or self.options.per_recipient
        self._suspects = [r for r in _REASONS if {r, "all"} & set(self.options.suspects)]
        self._lists = await self._read_lists()
        entries = await config.entries("greylist_exclude_files")
        self._excluded = ClientList(await asyncio.to_thread(self._read_excluded, entries))
        self._countries = frozenset(country.lower() for country in self.options.geoip)
        self._criteria = read_criteria(self.options.p0f)
        self._memory = Memory(self.services.store.scoped(self.name), self.options)
        self._tally = Tally(self.services.clock.monotonic())
        self._passing = Note[Passing](f"{self.name}.passing")
        self._late = Note[list[Recipient | None]](f"{self.name}.late")
        self._warn_of_old_forms()

    async def stop(self) -> None:
        self._report()

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the lists of `greylist_zones` answer, and whether an old database is left."""
        zones = [found.zone for found in await self._read_lists()]
        async for finding in check_lists(self.services.resolver, zones, CLIENTS, "greylist_zones"):
            yield finding
        for path in filter(system.exists, _old_databases(self.options)):
            text = "is of the Perl version and is not read: clients are learned anew"
            yield Finding.notice(str(path), text, "Remove it unless you may go back.")

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        return None if self._at_rcpt else await self._judge(tx, None)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return await self._judge(tx, recipient) if self._at_rcpt else None

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        return None if self.options.deny_late == "message" else self._refusal_if_late(tx)

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if self.options.deny_late != "message" or await self._is_signed_by_known(tx):
            return None
        return self._refusal_if_late(tx)

    async def hook_queue_post(self, tx: Transaction) -> Verdict | None:
        if not self._is_on or self._is_spared(tx.session):
            return None
        passing, now = tx.notes.get(self._passing) or Passing(), self.services.clock.now()
        self._note_delivery(passing, now)
        await asyncio.gather(*(self._memory.make_known(key, now) for key in passing.keys))
        if self._counts_good_mail and tx.session.karma >= 0:
            network = self._network(tx.session)
            await self._memory.add_good_message(network, self.options.good_messages)
        return None

    # --- who has to wait --------------------------------------------------------------------

    async def _judge(self, tx: Transaction, recipient: Recipient | None) -> Verdict | None:
        """The refusal, unless the client need not wait, or is refused later."""
        if not self._is_on or self._is_spared(tx.session) or await self._passes(tx, recipient):
            return None
        if self.options.deny_late == "0" and tx.reverse_path is not None:
            return self._refusal(tx.session)
        waiting = tx.notes.get(self._late)
        if waiting is None:
            waiting = tx.notes[self._late] = []
        waiting.append(recipient)
        return None

    def _is_spared(self, session: Session) -> bool:
        """Whether the client need not wait, as far as this shows without asking anybody."""
        return bool(
            self.immune(session)
            or session.auth_user
            or session.client_is_local
            or (session.karma_history or 0) > 0
            or self._excluded.has_address(session.client_address)
            or session.notes.get(COUNTRY, "").lower() in self._countries
            or (self._criteria and not _matches(self._criteria, session.notes.get(P0F, {})))
        )

    async def _passes(self, tx: Transaction, recipient: Recipient | None) -> bool:
        """Whether the client is known, has waited, or need not wait."""
        network = self._network(tx.session)
        key = self._key(tx, network if self.options.remote_ip else "", recipient)
        known = await self._memory.known(key)
        if known is not None and not self._is_old(known):
            return True
        if known is not None or await self._need_not_wait(tx.session, network):
            self._let_pass(tx, key)
            return True
        if await self._has_waited(tx, key):
            return True
        domain = await self._vouching_domain(tx)
        if not (domain and await self._is_known_domain(tx, domain, recipient)):
            return False
        self._let_pass(tx, key)
        return True

    async def _need_not_wait(self, session: Session, network: str) -> bool:
        if self._counts_good_mail:
            good = await self._memory.good_messages(network)
            if good >= self.options.good_messages:
                return True
        return await self._has_excluded_name(session) or not await self._is_suspect(session)

    async def _has_waited(self, tx: Transaction, key: str) -> bool:
        """Whether the time to wait is over; it begins now if this is the first attempt."""
        state = await self._memory.state(key)
        if state.may_pass:
            self._let_pass(tx, key, state.first)
            return True
        return state.first is None and await self._has_begun(tx, key)

    async def _has_begun(self, tx: Transaction, key: str) -> bool:
        """Remember a first attempt; True if it may pass, for its network has waited."""
        now, network = self.services.clock.now(), self._network(tx.session, _COUNTED)
        if await self._memory.count_new(network) <= MOST_NEW:
            await self._memory.begin(key, now)
            return False
        state = await self._memory.state(f"many/{network}")
        if state.first is None:
            self.log.warning("too many first attempts, recognised as a whole network=%s", network)
            await self._memory.begin(f"many/{network}", now)
        return state.may_pass

    def _let_pass(self, tx: Transaction, key: str, first: bytes | None = None) -> None:
        """Note that a key becomes known when the message has been delivered."""
        passing = tx.notes.get(self._passing)
        if passing is None:
            passing = tx.notes[self._passing] = Passing()
        passing.keys.add(key)
        passing.first = passing.first or first

    def _is_old(self, written: bytes) -> bool:
        """Whether what is known has to be written again, to be remembered for longer."""
        return not 0 <= self.services.clock.now() - _time(written) < RENEWAL

    def _key(self, tx: Transaction, client: str, recipient: Recipient | None) -> str:
        """What an attempt is recognised by."""
        parts = [client] if client else []
        if self.options.sender:
            parts.append(tx.reverse_path.key if tx.reverse_path else "")
        if self.options.recipient and recipient is not None:
            parts.append(recipient.address.key)
        return ":".join(parts)

    def _network(self, session: Session, bits: Mapping[int, int] | None = None) -> str:
        """The network of a client, with these bits or those of the options."""
        address = session.client_address
        prefix = (bits or {4: self.options.prefix, 6: self.options.prefix6})[address.version]
        return network_of(address, prefix)

    # --- domains ----------------------------------------------------------------------------

    async def _vouching_domain(self, tx: Transaction) -> str:
        """The sender's domain if it vouches for the client (SPF), else ""."""
        sender = tx.reverse_path
        domain = sender.domain if sender else None
        if sender is None or not domain or literal_address(domain) or not self._uses_domains:
            return ""
        result = tx.notes.get(SPF_RESULT)
        if result is None:
            result = await self._spf(tx.session, domain, sender.local_part)
        return result.domain if result.result == "pass" and "all" not in result.mechanism else ""

    async def _spf(self, session: Session, domain: str, local_part: str) -> SpfResult:
        hello, me = canonical_domain(session.hello_host), self.services.me
        query = SpfQuery(session.client_address, domain, local_part, "mailfrom", hello, me)
        resolver = self.services.resolver.limited(seconds=self.options.timeout)
        return await check_host(query, resolver, self.services.clock)

    async def _is_known_domain(
        self, tx: Transaction, domain: str, recipient: Recipient | None
    ) -> bool:
        """Whether a domain is known, or has waited; its time begins with its first attempt."""
        key = self._key(tx, f"@{domain}", recipient)
        if await self._memory.known(key) is None:
            return await self._has_waited(tx, key)
        self._let_pass(tx, key)
        return True

    async def _is_signed_by_known(self, tx: Transaction) -> bool:
        """Whether those who have to wait need not, for a known domain has signed the message.

        That makes no network known, as anybody can send a signed message once more.
        """
        if not self._uses_domains:
            return False
        results = tx.notes.get(DKIM_RESULTS, ())
        signers = sorted({r.domain for r in results if r.result == "pass" and not r.partial})
        for recipient in tx.notes.get(self._late, ()):
            known = [
                await self._is_known_domain(tx, signer, recipient)
                for signer in signers[:MOST_SIGNERS]
            ]
            if not any(known):
                return False
        return True

    # --- reasons ----------------------------------------------------------------------------

    async def _has_excluded_name(self, session: Session) -> bool:
        if not self._excluded.has_names:
            return False
        name = await session.resolve_client_name()
        return name is not None and self._excluded.has_name(name)

    async def _is_suspect(self, session: Session) -> bool:
        """Whether there is one of the reasons; everybody is suspect if none was asked for."""
        for reason in self._suspects:
            if await self._holds(reason, session):
                self.log_about(session, "suspect reason=%s", reason)
                return True
        return not self._suspects

    async def _holds(self, reason: Reason, session: Session) -> bool:
        match reason:
            case "karma":
                return session.karma < 0 or (session.karma_history or 0) < 0
            case "helo":
                return _is_odd_hello(session.hello_host)
            case "nameless":
                await session.resolve_client_name()
                return session.iprev in ("fail", "permerror")
            case "dynamic":
                name = await session.resolve_client_name() or session.reverse_name
                return name is not None and looks_dynamic(name, session.client_address)
            case "listed":
                return await self._is_listed(session)

    async def _is_listed(self, session: Session) -> bool:
        entry = reversed_address(session.client.ip)
        try:
            with time_limit(self.options.timeout):
                return any(await asyncio.gather(*(found.codes(entry) for found in self._lists)))
        except TimeoutError:
            return False

    # --- what is said -----------------------------------------------------------------------

    def _refusal_if_late(self, tx: Transaction) -> Verdict | None:
        """The refusal that was kept for later, unless all recipients are on an allowlist."""
        if not tx.notes.get(self._late):
            return None
        if tx.notes.get(ALLOWED_RECIPIENTS, 0) == len(tx.recipients):
            return None
        return self._refusal(tx.session)

    def _refusal(self, session: Session) -> Verdict | None:
        self._tally.put_off()
        self._report_if_due()
        verdict = self.reject(session, TEXT, status="4.7.1", default="temp", reason="unknown")
        # Within a session that goes on, one code everywhere.
        return replace(verdict, code=451) if verdict and not verdict.disconnect else verdict

    def _note_delivery(self, passing: Passing, now: float) -> None:
        delay = None if passing.first is None else now - _time(passing.first)
        if delay is not None and 0 <= delay <= self._memory.window:
            self.log.info("delivered after waiting delay=%.0f", delay)
            FIGURES.measure(GREYLIST_DELAY, delay)
        self._tally.delivered(delay)
        self._report_if_due()

    def _report_if_due(self) -> None:
        if self._tally.is_due(self.services.clock.monotonic()):
            self._report()

    def _report(self) -> None:
        if self._tally:
            self.log.info("report %s", self._tally)
        self._tally = Tally(self.services.clock.monotonic())

    # --- configuration ----------------------------------------------------------------------

    def _apply_mode(self) -> None:
        options = self.options
        if options.mode in ("shadow", "tag"):
            self.mode = options.mode
        elif options.mode == "testonly":
            self.options = options = replace(options, reject="0")
        self._is_on = options.mode != "off" and (
            options.remote_ip or options.sender or options.recipient
        )
        #: By domain instead of by network.
        self._uses_domains = options.domains and options.remote_ip
        self._counts_good_mail = bool(
            options.good_messages and (options.sender or options.recipient)
        )

    async def _read_lists(self) -> list[DnsList]:
        services = self.services
        zones = await services.config.lines("greylist_zones")
        return [
            DnsList(zone, services.resolver, services.clock, unlisted=CLIENTS[1]) for zone in zones
        ]

    def _read_excluded(self, files: Iterable[Entry]) -> list[Entry]:
        """The entries of all files of clients that need not wait."""
        found: list[Entry] = []
        for file in files:
            path = self.services.config.path(file.text)
            try:
                lines = path.read_text("utf-8").split("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(file.where, f"{path} cannot be read ({error})") from None
            for number, line in enumerate(lines, start=1):
                text = line.partition("#")[0].strip()
                found += [Entry(text, f"{path}:{number}")] if text else []
        return found

    def _warn_of_old_forms(self) -> None:
        options, warn = self.options, self.services.config.warn
        if options.mode != "off" and not self._is_on:
            warn("", "has nothing to recognise clients by (remote_ip, sender, recipient)")
        if options.redis:
            warn(
                self.name, f"write redis://{options.redis} into the file store: redis has no effect"
            )
        if options.grey_timeout < LEAST_WINDOW:
            warn(
                self.name, f"grey_timeout {options.grey_timeout} counts as {Seconds(LEAST_WINDOW)}"
            )


# --- p0f ------------------------------------------------------------------------------------

Criterion = Callable[[Mapping[str, Any]], bool]


def read_criteria(words: Sequence[str]) -> list[Criterion]:
    """The criteria of the option p0f, of which one has to hold.  Raises ValueError."""
    return [_criterion(name, value) for name, value in zip(words[::2], words[1::2], strict=True)]


def _criterion(name: str, value: str) -> Criterion:
    if name in ("genre", "link", "detail"):
        search = compile_pattern(value, f"p0f {name}").search
        return lambda found: bool(search(str(found.get(name, ""))))
    if name in ("distance", "uptime") and value.isascii() and value.isdigit():
        limit = int(value)
        if name == "distance":
            return lambda found: _number(found, name, 0) > limit
        return lambda found: _number(found, name, limit) < limit
    raise ValueError(
        f"{name},{value} is not genre, link or detail with an expression, "
        "or distance or uptime with a number"
    )


def _number(found: Mapping[str, Any], name: str, default: int) -> int:
    value = found.get(name)
    return value if isinstance(value, int) else default


def _matches(criteria: Iterable[Criterion], found: Mapping[str, Any]) -> bool:
    return any(criterion(found) for criterion in criteria)


# --- others ---------------------------------------------------------------------------------


def _is_odd_hello(name: str) -> bool:
    """Whether a HELO name is an address, or not a name within a domain."""
    name = canonical_domain(name)
    return "." not in name or looks_like_address(name) or literal_address(name) is not None


def _time(written: bytes) -> float:
    """The time in a value of ours; long ago if it is not."""
    return float(written) if written.isdigit() else 0.0


def _old_databases(options: GreylistingOptions) -> list[Path]:
    directory = Path(options.db_dir) if options.db_dir else _OLD_DIRECTORY
    return [directory / name for name in _OLD_FILES]
