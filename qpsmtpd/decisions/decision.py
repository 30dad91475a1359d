# SPDX-License-Identifier: MIT
"""Decision: what became of one message, or of one command that was refused, and who said what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from qpsmtpd.mail import verdict
from qpsmtpd.mail.trail import Answer

#: Characters of a text that are kept, recipients of one message, and answers of one trail.
MOST_TEXT = 200
MOST_RECIPIENTS = 20
MOST_ANSWERS = 30

#: Of a second: so exactly are times kept.
_TICKS = 10_000

#: Made once: to make an encoder costs more than to use it.
_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

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


class Decision(NamedTuple):
    """One decision.

    time: seconds since the epoch.
    id: of the transaction, or of the session if it had none.
    hook: "message" for the answer to a whole message, else the hook that refused.
    about: what was refused before there was a message: a recipient, a sender, a host.
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
    recipients: tuple[str, ...]
    recipient_count: int
    size: int
    seconds: float
    message_id: str
    next_hop_id: str
    trail: tuple[Said, ...]

    def encode(self) -> bytes:
        """As a line of JSON, without the line end; ASCII, whatever clients have sent.

        Times are whole numbers in it: to write a float takes ten times as long.
        """
        time, *texts, seconds, message_id, next_hop_id, trail = self
        said = [(*texts, int(seconds * _TICKS)) for *texts, seconds in trail]
        begin, lasted = int(time * _TICKS), int(seconds * _TICKS)
        return _json((begin, *texts, lasted, message_id, next_hop_id, said)).encode("ascii")

    @classmethod
    def decode(cls, line: bytes) -> Decision:
        """The decision of such a line.  Raises ValueError."""
        values = json.loads(line)
        if not isinstance(values, list) or len(values) != len(cls._fields):
            raise ValueError("not a decision")
        decision = cls(*values)
        return decision._replace(
            time=decision.time / _TICKS,
            seconds=decision.seconds / _TICKS,
            recipients=tuple(decision.recipients),
            trail=tuple(_read_said(*said) for said in decision.trail),
        )

    def as_dict(self) -> dict[str, Any]:
        """By the names of the fields, for other programs."""
        return {**self._asdict(), "trail": [said._asdict() for said in self.trail]}


def outcome_of(code: int) -> Outcome:
    """What a reply code means for the message."""
    if code < 400:
        return "accepted"
    return "deferred" if code < 500 else "refused"


def said_in(answers: Sequence[Answer]) -> tuple[Said, ...]:
    """The answers of a trail; of a long one the first and the last."""
    if len(answers) > MOST_ANSWERS:
        half = MOST_ANSWERS // 2
        answers = [*answers[:half], *answers[-half:]]
    return tuple([_said(*answer) for answer in answers])


def _read_said(
    hook: str, plugin: str, outcome: str, verdict: str, reason: str, ticks: float
) -> Said:
    return Said(hook, plugin, outcome, verdict, reason, ticks / _TICKS)


def _said(plugin: str, hook: str, value: Any, outcome: str, seconds: float) -> Said:
    if not isinstance(value, verdict.Verdict):
        return Said(hook, plugin, outcome, "", "", seconds)
    if value.decision is verdict.Decision.ACCEPT:
        said = "accept"
    else:
        said = "deny" if value.decision is verdict.Decision.DENY else "defer"
    reason = (value.reason or value.text)[:MOST_TEXT]
    return Said(hook, plugin, outcome, said, reason, seconds)
