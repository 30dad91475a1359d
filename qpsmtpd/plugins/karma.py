# SPDX-License-Identifier: MIT
"""karma: remember how clients have behaved, and turn away those who have been naughty.

    karma [penalty_days 1] [strikes 3] [negative 1] [reject naughty|1|0]
          [reject_type ...]

Other plugins give points while a client is connected, and take some. A connection that ends with at
least `strikes` points was nice; one that has lost as many, or whose rejection was left to the
plugin naughty, was naughty. The history of a client is the number of its nice connections less that
of the naughty ones. With a naughty connection that makes it `-negative` or less, the client goes to
the penalty box: for `penalty_days` it is refused when it connects. If it was never nice, each
naughty connection beyond five adds a day, up to 30.

Points come from the plugins themselves: their manuals say so. More come from the file
`karma_awards`, one a line: a plugin, what it said (accept, deny, defer, or refuse for both), the
points, and perhaps the hook. The plugin `core` stands for what the daemon itself refuses:

    verify_recipients  deny    -1
    virus/clamdscan    refuse  -5
    core               deny    -1  auth

What a plugin with `reject 0` or `reject naughty` would refuse counts, with `mode shadow` it does
not. This plugin takes two points, once, if MAIL or RCPT lacks `<` after the colon, and gives or
takes what the file `karma_tlds` says about the sender's top level domain (`example:-3`); it gives a
point to clients whose history is above 10.

Besides,

- a message has `recipients` recipients if its client has neither points nor a good history: others
  get 452 4.5.3, which is not a refusal, as a client then sends the message to them once more;
- a client that has lost more than four points is refused at DATA, or after the message.

By default (`reject naughty`) all refusals are left to the plugin naughty, which belongs below; with
`reject 1` they are made at once, with 5.7.1 and the end of the connection. Clients that are exempt,
and this machine, have no karma. Put this plugin after `relay` and `whitelist` and above the others.

Other plugins find the history in `session.karma_history`, the points so far in `session.karma`, and
the record in the note `karma.record`. hosts_allow permits more connections by it, earlytalker does
not have clients with a good history wait, greylisting neither.

The records are in the store (the file `store`), for an IPv4 address or an IPv6 network of 64 bits,
until the client was away for `history_days`. While the store is down, nobody has a history.
`qpsmtpd karma` lists and changes them.

Old forms: `penalty_box` is penalty_days, `reject connect` is reject 1, `reject zombie` is reject
naughty. `db_dir` and `nfslock` have no effect: old databases are not read.

Differences from the Perl version: naughty connections count (there only `karma_tool` counted any).
A second recipient was refused for good. Every MAIL and RCPT without `<` cost two points, so that a
careless client was naughty at its first message. Before 1.0 some top level domains lost points
without being listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from qpsmtpd.api import (
    Answer,
    ClientRecord,
    ClientRecords,
    ConfigError,
    Decision,
    Entry,
    Finding,
    Note,
    ParsedPath,
    Plugin,
    Recipient,
    RejectMode,
    RejectOptions,
    RejectType,
    ReversePath,
    Session,
    System,
    Trail,
    Transaction,
    Verdict,
    canonical_domain,
    client_key,
    defer,
    opt,
    read_each,
)

_DAY = 86400.0

#: Points below which a message is refused.
_VERY_BAD = -4
#: A history above which a client gets a point, and below which its penalty grows.
_VERY_GOOD = 10
_REPEATED = -5
_MOST_DAYS = 30.0
_CARELESS = -2

#: What the database of the Perl version is called, and where it is.
_OLD_FILE = "karma.dbm"
_OLD_DIRECTORY = "/var/lib/qpsmtpd/karma"

#: Answers that count: what shadow and tag would refuse does not.
_COUNTED = frozenset({"decided", "provisional", "naughty", "tolerated"})

_is_points = re.compile(r"[+-]?\d{1,3}", re.ASCII).fullmatch


@dataclass(frozen=True, kw_only=True)
class KarmaOptions(RejectOptions):
    """Options of karma."""

    reject: RejectMode = opt(
        "naughty", doc="naughty leaves rejections to the plugin naughty; 1 rejects; 0 only logs."
    )
    reject_type: RejectType = opt(
        "disconnect", doc="How to reject: perm (5xx), temp (4xx), disconnect or temp_disconnect."
    )
    strikes: int = opt(3, least=1, doc="Points that make a connection nice, or naughty if lost.")
    negative: int = opt(
        1, least=1, doc="How bad a history has to be for a naughty connection to be punished."
    )
    penalty_days: float = opt(
        1.0, least=0, most=365, doc="Days in the penalty box.", was=("penalty_box",)
    )
    history_days: float = opt(
        30.0, least=1, most=3650, doc="Days until the record of a client that stays away ends."
    )
    recipients: int = opt(
        1, least=0, doc="Recipients of a message from a client without points; 0 means no limit."
    )
    db_dir: str = opt("", doc="Has no effect; where an old database is looked for.")
    nfslock: str = opt("", doc="Has no effect.")

    @staticmethod
    def rewrite(words: Sequence[str]) -> list[str]:
        """`reject connect` and `reject zombie` are the forms of older versions."""
        old = {("reject", "connect"): "1", ("reject", "zombie"): "naughty"}
        pairs = zip(["", *words], words, strict=False)
        return [old.get(pair, pair[1]) for pair in pairs]


#: What was remembered of the client when it connected.
RECORD = Note[ClientRecord]("karma.record")


class Award(NamedTuple):
    """Points for what a plugin says; an empty `hook` is any."""

    plugin: str
    decisions: frozenset[Decision]
    points: int
    hook: str = ""

    def points_for(self, answer: Answer) -> int:
        """The points for one answer."""
        verdict = answer.verdict
        applies = (
            verdict is not None
            and answer.outcome in _COUNTED
            and answer.plugin.partition(":")[0] == self.plugin
            and self.hook in ("", answer.hook)
            and verdict.decision in self.decisions
        )
        return self.points if applies else 0


_DECISIONS = {
    "accept": frozenset({Decision.ACCEPT}),
    "deny": frozenset({Decision.DENY}),
    "defer": frozenset({Decision.DEFER}),
    "refuse": frozenset({Decision.DENY, Decision.DEFER}),
}


class Karma(Plugin[KarmaOptions]):
    """Keeps the records, and refuses those who are in the penalty box."""

    remedy = "`qpsmtpd karma release IP` lets a client out of the penalty box"

    files = {
        "karma_awards": "Points for what plugins say: plugin, accept|deny|defer|refuse, points.",
        "karma_tlds": "Points for the top level domains of senders, after a colon.",
    }

    after = ("relay", "whitelist")

    async def start(self) -> None:
        config = self.services.config
        self._awards = read_each(await config.entries("karma_awards"), _award)
        self._tlds = dict(read_each(await config.entries("karma_tlds"), _tld))
        store = self.services.store.scoped(self.name)
        # A penalty must not outlive the record.
        days = max(self.options.history_days, self.options.penalty_days + _MOST_DAYS)
        self._records = ClientRecords(store, days)
        self._penalty = Note[int](f"{self.name}.penalty")
        self._careless = Note[bool](f"{self.name}.careless")
        self._seen = Note[int](f"{self.name}.seen")

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether an old database is left."""
        path = Path(self.options.db_dir or _OLD_DIRECTORY) / _OLD_FILE
        if system.exists(path):
            text = "is of the Perl version and is not read: clients begin without a history"
            yield Finding.notice(str(path), text, "Remove it unless you may go back.")

    async def hook_pre_connection(self, session: Session) -> Verdict | None:
        if session.client_is_local:
            return None
        client = client_key(session.client_address)
        record = session.notes[RECORD] = await self._records.get(client)
        session.karma_history = record.history
        # Who was never naughty is not in the box.
        penalty = await self._records.penalty(client) if record.naughty else None
        if penalty is not None:
            session.notes[self._penalty] = penalty
        return None

    async def hook_connect(self, session: Session) -> Verdict | None:
        if self._is_spared(session):
            return None
        if (session.karma_history or 0) > _VERY_GOOD:
            session.adjust_karma(1)
        end = session.notes.get(self._penalty)
        return None if end is None else self._refusal(session, self._penalty_text(end))

    async def hook_mail_parse(self, session: Session, argument: str) -> ParsedPath | None:
        self._judge_form(session, argument, "from:<")
        return None

    async def hook_rcpt_parse(self, session: Session, argument: str) -> ParsedPath | None:
        self._judge_form(session, argument, "to:<")
        return None

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        if self._tlds and sender is not None and not self._is_spared(tx.session):
            tx.session.adjust_karma(self._tlds.get(_top_level(sender.domain or ""), 0))
        return None

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        session, history, most = tx.session, tx.session.karma_history, self.options.recipients
        self._award_all(session)
        if self._is_spared(session) or history is None or history > 0 or session.karma > 0:
            return None
        if not most or len(tx.recipients) < most or self.options.reject == "0":
            return None
        reason = f"karma {session.karma}, history {history}"
        return defer("Too many recipients", status="4.5.3", code=452, reason=reason)

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        return self._judge(tx.session)

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        return self._judge(tx.session)

    async def hook_reset_transaction(self, tx: Transaction) -> None:
        self._award(tx.session, tx)

    async def hook_disconnect(self, session: Session) -> None:
        self._award(session, session)
        if self._is_spared(session):
            return
        is_penalized = self._penalty in session.notes
        naughty = not is_penalized and self._was_naughty(session)
        if not (session.karma or naughty or is_penalized):
            return
        nice = not naughty and session.karma >= self.options.strikes
        await self._count(session, naughty=naughty, nice=nice)

    # --- private ----------------------------------------------------------------------------

    def _is_spared(self, session: Session) -> bool:
        return session.client_is_local or self.immune(session)

    def _judge_form(self, session: Session, argument: str, wanted: str) -> None:
        """Take points, once, from a client that does not write `FROM:<` or `TO:<`."""
        if not argument.lower().startswith(wanted) and self._careless not in session.notes:
            session.notes[self._careless] = True
            session.adjust_karma(_CARELESS)

    def _judge(self, session: Session) -> Verdict | None:
        self._award_all(session)
        if session.karma >= _VERY_BAD or session.has_deferred_rejects or self._is_spared(session):
            return None
        return self._refusal(session, "Very bad karma")

    def _refusal(self, session: Session, text: str) -> Verdict | None:
        reason = f"karma {session.karma}, history {session.karma_history}"
        return self.reject(session, text, status="5.7.1", reason=reason)

    def _penalty_text(self, end: int) -> str:
        days = (end - self.services.clock.now()) / _DAY
        if 0 < days <= self.options.penalty_days + _MOST_DAYS:
            return f"You were naughty. You cannot connect for {days:.2f} more days."
        return "You were naughty. You cannot connect now."

    def _was_naughty(self, session: Session) -> bool:
        return session.karma <= -self.options.strikes or session.has_deferred_rejects

    async def _count(self, session: Session, *, naughty: bool, nice: bool) -> None:
        """Write down what became of a session, and punish its client if need be."""
        client, now = client_key(session.client_address), self.services.clock.now()

        def one_more(record: ClientRecord) -> ClientRecord:
            if record.session == session.id:
                return record
            return ClientRecord(
                record.naughty + naughty,
                record.nice + nice,
                record.connects + 1,
                int(now),
                session.id,
            )

        record = await self._records.change(client, one_more)
        self.log_about(
            session,
            "karma=%d naughty=%d nice=%d connects=%d",
            session.karma,
            record.naughty,
            record.nice,
            record.connects,
        )
        if naughty and record.history <= -self.options.negative:
            await self._punish(client, record, now)

    async def _punish(self, client: str, record: ClientRecord, now: float) -> None:
        days = self.options.penalty_days
        if not record.nice and record.history < _REPEATED:
            days += min(-record.history, _MOST_DAYS)
        if days:
            await self._records.capture(client, days, now)
            self.log.info("sent to the penalty box client=%s days=%g", client, days)

    # --- awards -----------------------------------------------------------------------------

    def _award_all(self, session: Session) -> None:
        self._award(session, session)
        if session.transaction is not None:
            self._award(session, session.transaction)

    def _award(self, session: Session, subject: Session | Transaction) -> None:
        """Give the points for what was said since the last time."""
        if not self._awards:
            return
        trail: Trail = subject.trail
        answers = islice(trail, subject.notes.get(self._seen, 0), None)
        session.adjust_karma(sum(a.points_for(said) for said in answers for a in self._awards))
        subject.notes[self._seen] = len(trail)


# --- files ----------------------------------------------------------------------------------


def _award(entry: Entry) -> Award:
    words = entry.text.split()
    if len(words) not in (3, 4) or words[1] not in _DECISIONS or not _is_points(words[2]):
        wanted = "PLUGIN accept|deny|defer|refuse POINTS [HOOK], such as: dnsbl refuse -1"
        raise ConfigError(entry.where, f"{entry.text!r} must be {wanted}")
    hook = "".join(words[3:]).replace("-", "_")
    return Award(words[0], _DECISIONS[words[1]], int(words[2]), hook)


def _tld(entry: Entry) -> tuple[str, int]:
    name, _, points = entry.text.partition(":")
    if not name.strip() or not _is_points(points.strip()):
        raise ConfigError(entry.where, f"{entry.text!r} must be TLD:POINTS, such as example:-3")
    return canonical_domain(name.strip().lstrip(".")), int(points)


def _top_level(name: str) -> str:
    """The last label of a canonical domain."""
    return name.rpartition(".")[2]
