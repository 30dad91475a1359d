# SPDX-License-Identifier: MIT
"""Decision: what became of one message, or of one command that was refused, and who said what.

Each becomes one text, whose fields stand behind one another with separators of ASCII between them:
every message pays for it, and this takes a quarter of the time that JSON does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from qpsmtpd.mail.trail import Answer
from qpsmtpd.mail.verdict import ACCEPT, DENY, Verdict

#: Characters of a text that are kept, recipients and results of one message, answers of one trail.
MOST_TEXT = 200
MOST_RECIPIENTS = 20
MOST_RESULTS = 20
MOST_ANSWERS = 30

#: Of a second: so exactly are times kept.
TICKS = 10_000
_TICK = 1 / TICKS

#: Behind each decision, and between its fields; no field has one of them.  Between recipients:
#: a command line with one is refused.
END = "\x1d"
UNIT = "\x1f"
RECORD = "\x1e"
_SEPARATORS = re.compile(f"[{END}{UNIT}]")

Outcome = Literal["accepted", "deferred", "refused"]


class Said(NamedTuple):
    """One answer of the trail.

    verdict: "accept", "deny" or "defer"; "" for a value that is none, or no opinion.
    """

    hook: str
    plugin: str
    outcome: str
    verdict: str
    reason: str
    seconds: float

    @classmethod
    def of(cls, answer: Answer) -> Said:
        """What is kept of an answer."""
        hook, plugin, outcome, verdict, reason, _ = said_in((answer,))
        return cls(hook, plugin, outcome, verdict, reason, answer.seconds)


_SAID = len(Said._fields)


class Decision(NamedTuple):
    """One decision.

    time: seconds since the epoch.
    id: of the transaction, or of the session if it had none.
    hook: "message" for the answer to a whole message, else the hook that refused.
    about: what was refused before there was a message: a recipient, a sender, a host.
    results: what was found about client and message until then: words such as "spf=pass",
        "dmarc=fail", "allowlist=client", "allowlist=sender", "karma=12" (of earlier sessions).
    recipients: the first ones that were accepted, of `recipient_count`.
    size: bytes.  seconds: since MAIL.
    """

    time: float
    id: str
    outcome: Outcome
    hook: str
    plugin: str
    reply: str
    reason: str
    ip: str
    name: str
    helo: str
    tls: str
    user: str
    sender: str
    about: str
    results: str
    recipients: tuple[str, ...]
    recipient_count: int
    size: int
    seconds: float
    message_id: str
    next_hop_id: str
    trail: tuple[Said, ...]

    def encode(self) -> str:
        """The text that is kept, without END."""
        time, *texts, recipients, count, size, seconds, message_id, next_hop_id, trail = self
        said: list[str] = []
        for *words, lasted in trail:
            said += (*words, ticks(lasted))
        begun, several = ticks(time), RECORD.join(recipients)
        numbers = str(count), str(size), ticks(seconds)
        return joined((begun, *texts, several, *numbers, message_id, next_hop_id, *said))

    @classmethod
    def decode(cls, text: str) -> Decision:
        """The decision of such a text.  Raises ValueError."""
        head = len(cls._fields) - 1
        fields, said = text.split(UNIT, head), []
        if len(fields) > head:
            said = fields.pop().split(UNIT)
        if len(fields) < head or len(said) % _SAID:
            raise ValueError("not a decision")
        time, id_, outcome, *texts, recipients, count, size, seconds, message_id, hop = fields
        values: tuple[Any, ...] = (
            int(time) / TICKS,
            id_,
            outcome,
            *texts,
            tuple(recipients.split(RECORD)) if recipients else (),
            int(count),
            int(size),
            int(seconds) / TICKS,
            message_id,
            hop,
            _read_trail(said),
        )
        return cls(*values)

    def as_dict(self) -> dict[str, Any]:
        """By the names of the fields, for other programs."""
        return {**self._asdict(), "trail": [said._asdict() for said in self.trail]}


def outcome_of(code: int) -> Outcome:
    """What a reply code means for the message."""
    if code < 400:
        return "accepted"
    return "deferred" if code < 500 else "refused"


def joined(fields: Sequence[str]) -> str:
    """The text of a decision: its fields in their order, and instead of a trail what `said_in`
    returns; times in ticks.
    """
    text = UNIT.join(fields)
    if text.count(UNIT) == len(fields) - 1 and END not in text:
        return text
    return UNIT.join([_SEPARATORS.sub("?", field) for field in fields])


def said_in(answers: Sequence[Answer]) -> list[str]:
    """The fields of the answers of a trail, one after the other; of a long one first and last."""
    if len(answers) > MOST_ANSWERS:
        half = MOST_ANSWERS // 2
        answers = [*answers[:half], *answers[-half:]]
    said: list[str] = []
    for answer in answers:
        value, seconds, word, reason = answer.value, answer.seconds, "", ""
        if value.__class__ is Verdict:
            word = "accept" if value.decision is ACCEPT else _refusal(value)
            reason = (value.reason or value.text)[:MOST_TEXT]
        lasted = "0" if seconds < _TICK else ticks(seconds)
        said += (answer.hook, answer.plugin, answer.outcome, word, reason, lasted)
    return said


def _refusal(value: Verdict) -> str:
    # No table: the hash of a member of an enum is computed in Python.
    return "deny" if value.decision is DENY else "defer"


def _read_trail(said: list[str]) -> tuple[Said, ...]:
    """The answers of these fields; column by column, as a report reads millions of them."""
    *words, lasted = (said[column::_SAID] for column in range(_SAID))
    seconds = [int(each) / TICKS for each in lasted]
    return tuple(map(Said._make, zip(*words, seconds, strict=True)))


def ticks(seconds: float) -> str:
    """Whole numbers: to write a float takes four times as long."""
    return str(int(seconds * TICKS))
