# SPDX-License-Identifier: MIT
"""Course: what happened when one message was tried, step by step."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from qpsmtpd.decisions.decision import Said, outcome_of
from qpsmtpd.mail.session import Transaction

#: What can come of it; "broken" if the conversation ended where it should not.
Result = Literal["accepted", "deferred", "refused", "broken"]

#: Exit status of the command, by the worst result.
EXIT_STATUS: dict[Result, int] = {"accepted": 0, "deferred": 3, "refused": 4, "broken": 5}


@dataclass
class Step:
    """A command of the client, what plugins answered, and the reply.

    stage: "connect", "HELO", "MAIL" and so on.  said: for the client, the command.
    """

    stage: str
    said: str
    reply: str = ""
    answers: list[Said] = field(default_factory=list)

    @property
    def code(self) -> int:
        """Of the reply; 0 if there was none."""
        return int(self.reply[:3]) if self.reply[:3].isdigit() else 0


@dataclass
class HandedOver:
    """What a next hop would have got.

    added, removed: header fields, compared with the message as it came.
    """

    plugin: str
    sender: str
    recipients: list[str]
    added: list[str]
    removed: list[str]

    @classmethod
    def of(cls, plugin: str, transaction: Transaction) -> HandedOver:
        """What this plugin would have handed over."""
        assert transaction.message is not None
        before = Counter(_fields(transaction.received_header))
        after = Counter(_fields(bytes(transaction.message.headers)))
        return cls(
            plugin,
            transaction.sender,
            [recipient.address.address for recipient in transaction.recipients],
            list((after - before).elements()),
            list((before - after).elements()),
        )


def _fields(section: bytes) -> list[str]:
    """The fields of a header section, unfolded as far as to one line each."""
    found: list[str] = []
    for line in section.decode("utf-8", "backslashreplace").split("\r\n"):
        if line[:1] in (" ", "\t") and found:
            found[-1] += f" {line.strip()}"
        elif line:
            found.append(line)
    return found


@dataclass
class Course:
    """All steps of one attempt; `name` is that of the message."""

    name: str
    steps: list[Step] = field(default_factory=list)
    handed_over: HandedOver | None = None
    #: Why the conversation broke off, if it did.
    broken: str = ""
    #: What plugins answered since the last step.
    pending: list[Said] = field(default_factory=list)

    def add(self, stage: str, said: str, reply: str) -> Step:
        """A command was answered: what plugins said meanwhile was about it."""
        step = Step(stage, said, reply, self.pending)
        self.pending = []
        self.steps.append(step)
        return step

    @property
    def deciding(self) -> Step | None:
        """The step that decided: the last one about the message, or the last refusal before it."""
        steps = [step for step in self.steps if step.stage not in ("QUIT", "STARTTLS")]
        return steps[-1] if steps else None

    @property
    def result(self) -> Result:
        """What came of it."""
        step = self.deciding
        if self.broken or step is None or not step.code:
            return "broken"
        if step.stage == "RCPT":
            # No recipient is left: the client comes back if it may for one of them.
            codes = [each.code for each in self.steps if each.stage == "RCPT"]
            return "deferred" if min(codes) < 500 else "refused"
        return outcome_of(step.code)

    @property
    def decided_by(self) -> str:
        """The plugin that refused, or took the message; "core" if it was none."""
        step = self.deciding
        if step is None:
            return ""
        wanted = ("accept",) if step.code < 400 else ("deny", "defer")
        found = [s.plugin for s in step.answers if s.outcome != "shadow" and s.verdict in wanted]
        return found[-1] if found else "core"

    @property
    def verdict(self) -> tuple[Any, ...]:
        """What a comparison looks at."""
        codes = tuple((step.stage, step.reply[:9]) for step in self.steps)
        handed = self.handed_over and (self.handed_over.sender, tuple(self.handed_over.recipients))
        return self.result, self.decided_by, codes, handed

    def as_dict(self) -> dict[str, Any]:
        """For other programs."""
        return {
            "name": self.name,
            "result": self.result,
            "decided_by": self.decided_by,
            "broken": self.broken,
            "steps": [
                {**asdict(step), "answers": [said._asdict() for said in step.answers]}
                for step in self.steps
            ],
            "handed_over": self.handed_over and asdict(self.handed_over),
        }


_course: ContextVar[Course | None] = ContextVar("course", default=None)


def begin(course: Course) -> None:
    """From here on, what plugins answer in this task belongs to this course."""
    _course.set(course)


def current() -> Course | None:
    """The course that this task belongs to."""
    return _course.get()
