# SPDX-License-Identifier: MIT
"""Finds what would have been refused, in one pass over the decisions of a period."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.decisions.book import Book
from qpsmtpd.decisions.decision import Decision, Said
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.decisions.sieve import sieve_for
from qpsmtpd.digest.digest import Period
from qpsmtpd.digest.gather import network_of, oldest_in, sender_of
from qpsmtpd.digest.levels import CHAINS, levels_above, present_level
from qpsmtpd.digest.shadow import KNOWN, Example, Hint, Objection, Restraint, Shadow
from qpsmtpd.terminal import shown

#: Of one plugin and hook: with something that speaks for them, and without.
_EXAMPLES = 3
#: Senders with their networks that are remembered.
MOST_SENDERS = 100_000
#: The hook in which plugins look at whole messages.
_WHOLE = "data_post"

_RESTRAINTS: dict[str, Restraint] = {"shadow": "shadow", "tag": "tag", "tolerated": "tolerated"}


async def shadow_of(
    book: Book,
    selection: Selection,
    files: ConfigFiles,
    *,
    now: float,
    host: str,
    privacy: Privacy,
    chains: Path = CHAINS,
) -> Shadow:
    """What would have been refused of what is selected, until now at the latest.

    files: the configuration, for the graded chain that is in use.  privacy: says what the network
    of a client is.  Raises StoreError and ConfigError.
    """
    period = Period(selection.since, min(selection.until, now))
    finder = _Finder(privacy)
    oldest = await oldest_in(book)
    async for decision in book.oldest_first(period.since, period.until, sieve_for([selection])):
        if selection.has(decision):
            finder.add(decision)
    objections = finder.objections()
    return Shadow(
        made=now,
        host=shown(host),
        period=period,
        oldest=oldest,
        damaged=book.damaged,
        decisions=finder.decisions,
        accepted=finder.accepted,
        objections=objections,
        directory=str(next(iter(files.directories), "")),
        present=present_level(files, chains),
        levels=levels_above(files, objections, chains),
    )


class _Finder:
    """What has been found so far."""

    def __init__(self, privacy: Privacy) -> None:
        self.decisions = 0
        self.accepted = 0
        self._privacy = privacy
        self._found: dict[tuple[str, str, Restraint], _Found] = {}
        self._senders = _Senders()
        self._deferred = _Senders()

    def add(self, decision: Decision) -> None:
        """Look at a decision."""
        self.decisions += 1
        accepted = decision.outcome == "accepted"
        self.accepted += accepted
        objections = {(said.plugin, said.hook): said for said in _restrained(decision)}
        who = _who(decision, self._privacy)
        if decision.outcome == "deferred":
            self._deferred.add(who)
        if objections:
            hints = tuple(self._hints(decision, who))
            for said in objections.values():
                self._of(said).add(decision, said, hints)
        elif accepted:
            self._senders.add(who)

    def _hints(self, decision: Decision, who: int) -> Iterator[Hint]:
        """What speaks for a message, whoever objects to it; the null sender is nobody."""
        results = decision.results.split()
        if decision.user:
            yield "logged in"
        if "dmarc=pass" in results:
            yield "DMARC passed"
        if any(each.startswith("allowlist=") for each in results):
            yield "allowlisted"
        if any(each.startswith("karma=") and each[6:].isdecimal() for each in results):
            yield "good karma"
        if decision.sender and self._deferred.messages(who):
            yield "came back"
        if decision.sender and self._senders.messages(who) >= KNOWN:
            yield "known"

    def objections(self) -> tuple[Objection, ...]:
        """What was found, the most frequent first."""
        found = (
            each.objection(shown(plugin), shown(hook), restraint)
            for (plugin, hook, restraint), each in self._found.items()
        )
        return tuple(sorted(found, key=lambda each: (-each.accepted, each[:2])))

    def _of(self, said: Said) -> _Found:
        key = said.plugin, said.hook, _RESTRAINTS[said.outcome]
        return self._found.setdefault(key, _Found())


class _Found:
    """The objections of one plugin in one hook."""

    def __init__(self) -> None:
        self._accepted = self._hinted = self._anyway = 0
        self._hints: Counter[Hint] = Counter()
        self._likely: deque[Example] = deque(maxlen=_EXAMPLES)
        self._others: deque[Example] = deque(maxlen=_EXAMPLES)

    def add(self, decision: Decision, said: Said, hints: tuple[Hint, ...]) -> None:
        if decision.outcome != "accepted":
            self._anyway += 1
            return
        example = _example(decision, said, hints)
        self._accepted += 1
        self._hinted += bool(example.hints)
        self._hints.update(example.hints)
        (self._likely if example.hints else self._others).append(example)

    def objection(self, plugin: str, hook: str, restraint: Restraint) -> Objection:
        return Objection(
            plugin=plugin,
            hook=hook,
            restraint=restraint,
            accepted=self._accepted,
            hinted=self._hinted,
            hints=tuple(self._hints.most_common()),
            anyway=self._anyway,
            examples=(*reversed(self._likely), *reversed(self._others)),
        )


class _Senders:
    """Whose messages there were how often; the oldest senders are forgotten."""

    def __init__(self) -> None:
        self._messages: OrderedDict[int, int] = OrderedDict()

    def add(self, who: int) -> None:
        if len(self._messages) >= MOST_SENDERS and who not in self._messages:
            self._messages.popitem(last=False)
        self._messages[who] = self._messages.get(who, 0) + 1

    def messages(self, who: int) -> int:
        """How many were from this sender."""
        return self._messages.get(who, 0)


def _who(decision: Decision, privacy: Privacy) -> int:
    return hash((sender_of(decision), network_of(decision.ip, privacy)))


def _restrained(decision: Decision) -> Iterator[Said]:
    """The refusals in its trail that had no effect."""
    for said in decision.trail:
        if said.outcome in _RESTRAINTS and said.verdict in ("deny", "defer"):
            yield said


def _example(decision: Decision, said: Said, hints: tuple[Hint, ...]) -> Example:
    others = tuple(dict.fromkeys(shown(each.plugin) for each in _content_with(decision, said)))
    looked: tuple[Hint, ...] = ("looked at",) if others else ()
    return Example(
        decision.time,
        shown(decision.id),
        shown(decision.ip),
        shown(decision.sender) or "<>",
        shown(decision.recipients[0]) if decision.recipients else "",
        shown(said.reason),
        hints + looked,
        others,
    )


def _content_with(decision: Decision, objector: Said) -> Iterator[Said]:
    """Who looked at the message for some time, and had no objection."""
    for said in decision.trail:
        if (said.hook, said.outcome) == (_WHOLE, "passed") and said.plugin != objector.plugin:
            yield said
