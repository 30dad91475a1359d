# SPDX-License-Identifier: MIT
"""Shadow: what would have been refused, had more been switched on.

It is found in the trails of the decisions, so it knows of those checks alone that were asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from qpsmtpd.digest.digest import Period

#: Why something was not refused: `mode=shadow`, `mode=tag` or `reject 0` on the line.
Restraint = Literal["shadow", "tag", "tolerated"]

#: What speaks for a message that would have been refused:
#: logged in    its user had logged in
#: DMARC passed the author's domain vouches for it
#: allowlisted  its client or its sender is on a list that exempts it from other checks
#: good karma   its client has behaved well before
#: came back    the sender had been deferred, and its client came back, as mail systems do
#: known        KNOWN messages of its sender, from the same network, were accepted before, without
#:              an objection
#: looked at    other plugins looked at the whole message for some time, as scanners do, and had no
#:              objection
Hint = Literal[
    "logged in", "DMARC passed", "allowlisted", "good karma", "came back", "known", "looked at"
]

#: Messages that make a sender known.
KNOWN = 3


class Example(NamedTuple):
    """A message that was accepted, and would not have been.

    id: of the transaction.  others: the plugins that had no objection.
    """

    time: float
    id: str
    ip: str
    sender: str
    recipient: str
    reason: str
    hints: tuple[Hint, ...]
    others: tuple[str, ...]


class Objection(NamedTuple):
    """What one plugin would have refused or deferred in one hook.

    accepted: messages that were accepted, and would not have been.  hinted: those of them for
    which something speaks; hints: how often which.  anyway: decisions that went against the client
    all the same.  examples: the last ones for which something speaks, then the last others.
    """

    plugin: str
    hook: str
    restraint: Restraint
    accepted: int
    hinted: int
    hints: tuple[tuple[Hint, int], ...]
    anyway: int
    examples: tuple[Example, ...]


class Difference(NamedTuple):
    """A line that a graded chain has, and the present configuration has not.

    present: the line with the same plugin that there is, "" if there is none.
    objections: of that plugin, as the present line has them: a hint at what the other would say.
    """

    line: str
    present: str
    objections: tuple[Objection, ...]


class Level(NamedTuple):
    """A graded chain above the present one; path: its file."""

    name: str
    path: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """What would have been refused in a period.

    made, host, oldest, damaged: as in Digest.  decisions: how many there were, accepted: of them.
    directory: of the configuration.  present: the graded chain that is in use, "" if it is none.
    levels: those above it; none is known where their files are not.
    """

    made: float
    host: str
    period: Period
    oldest: float | None
    damaged: int
    decisions: int
    accepted: int
    objections: tuple[Objection, ...]
    directory: str
    present: str
    levels: tuple[Level, ...]
