# SPDX-License-Identifier: MIT
"""The trail: who said what about a session or a transaction, and who decided.

The chain records every answer of a plugin that matters, and the core its own refusals, as the
plugin "core".  A transaction has a trail of its own; what is said outside of one is in the trail
of the session.  The summary line of a message reads it, and so do tools that explain a decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from qpsmtpd.mail.verdict import ACCEPT, Verdict

#: Who refuses when no plugin does.
CORE = "core"

#: At most this many answers are kept in a trail; a client may name a thousand recipients.
MOST_ANSWERS = 200

#: What became of an answer:
#: decided      it ended the hook
#: provisional  it counts only if no later plugin has an opinion
#: passed       the plugin had no opinion; kept if it was slow
#: tolerated    it would refuse, but for `reject 0`
#: naughty      it left the refusal to the plugin naughty
#: shadow, tag  it would refuse, but for the `mode` on its line
#: fault        the plugin failed
#: timeout      the plugin did not answer in time
#: store        the store did not answer: no opinion
Outcome = Literal[
    "decided",
    "provisional",
    "passed",
    "tolerated",
    "naughty",
    "shadow",
    "tag",
    "fault",
    "timeout",
    "store",
]

_BROKEN = frozenset({"fault", "timeout"})
_ENDING = frozenset({"decided", "fault", "timeout", "store"})


# A NamedTuple takes three times as long to make, and each message has several.
@dataclass(slots=True)
class Answer:
    """What one plugin answered in one hook; nobody changes it.

    value: the verdict, or what a hook supplies in place of one; None means no opinion.
    seconds: how long it took.
    """

    plugin: str
    hook: str
    value: Any = None
    outcome: Outcome = "decided"
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict | None:
        """The value, if it is a verdict."""
        return self.value if isinstance(self.value, Verdict) else None

    @property
    def refused(self) -> bool:
        """Whether the verdict is a refusal."""
        value = self.value
        return isinstance(value, Verdict) and value.decision is not ACCEPT

    @property
    def broken(self) -> bool:
        """Whether the plugin failed or was too slow; the value is then the consequence."""
        return self.outcome in _BROKEN

    @property
    def ends(self) -> bool:
        """Whether no later plugin is asked."""
        return self.value is not None and self.outcome in _ENDING

    @property
    def reason(self) -> str:
        """Why, for the log: the reason of the verdict, else the text that the client reads."""
        verdict = self.verdict
        return "" if verdict is None else verdict.reason or verdict.text


class Trail:
    """The answers in order.

    answers: not to be changed by others.
    decision: the answer that decided last.
    hook: the hook that is being run.
    omitted: how many answers were left out, because there were too many.
    """

    __slots__ = ("answers", "decision", "hook", "omitted")

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.decision: Answer | None = None
        self.hook = ""
        self.omitted = 0

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def add(self, answer: Answer) -> None:
        """Record an answer."""
        if len(self.answers) < MOST_ANSWERS:
            self.answers.append(answer)
        else:
            self.omitted += 1

    def decide(self, answer: Answer) -> None:
        """Record the answer that ends a hook."""
        self.add(answer)
        self.decision = answer

    @property
    def decided_by(self) -> str:
        """The name of the plugin that decided last, or "core"."""
        return CORE if self.decision is None else self.decision.plugin
