# SPDX-License-Identifier: MIT
"""Negotiation: what a milter may do, which steps it wants to hear of, and which it answers.

We offer all that we know in a version; the milter takes a part of it (libmilter's mfapi.h).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qpsmtpd.milter import packets
from qpsmtpd.milter.packets import (
    Negotiate,
    Packet,
)

#: The versions of the protocol that we speak.
OLDEST, NEWEST = 2, 6


class Action(enum.IntFlag):
    """What a milter may do to a message."""

    ADD_HEADERS = 0x1
    CHANGE_BODY = 0x2
    ADD_RECIPIENTS = 0x4
    DELETE_RECIPIENTS = 0x8
    CHANGE_HEADERS = 0x10
    QUARANTINE = 0x20
    CHANGE_SENDER = 0x40
    ADD_RECIPIENTS_WITH = 0x80
    CHOOSE_MACROS = 0x100


class Step(enum.IntFlag):
    """Steps that are left out (NO_), or not answered (MUTE_), and other habits."""

    NO_CONNECT = 0x1
    NO_HELO = 0x2
    NO_MAIL = 0x4
    NO_RCPT = 0x8
    NO_BODY = 0x10
    NO_HEADERS = 0x20
    NO_END_OF_HEADERS = 0x40
    MUTE_HEADERS = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400
    REFUSED_RECIPIENTS = 0x800
    MUTE_CONNECT = 0x1000
    MUTE_HELO = 0x2000
    MUTE_MAIL = 0x4000
    MUTE_RCPT = 0x8000
    MUTE_DATA = 0x10000
    MUTE_UNKNOWN = 0x20000
    MUTE_END_OF_HEADERS = 0x40000
    MUTE_BODY = 0x80000
    LEADING_SPACE = 0x100000


NOTHING = Step(0)


class Stage(enum.IntEnum):
    """Stages for which a milter may choose its macros."""

    CONNECT = 0
    HELO = 1
    MAIL = 2
    RCPT = 3
    DATA = 4
    END_OF_MESSAGE = 5
    END_OF_HEADERS = 6


_ACTIONS_OF_2 = (
    Action.ADD_HEADERS
    | Action.CHANGE_BODY
    | Action.ADD_RECIPIENTS
    | Action.DELETE_RECIPIENTS
    | Action.CHANGE_HEADERS
    | Action.QUARANTINE
)
_STEPS_OF_2 = Step(0x7F)
_STEPS_OF_3 = _STEPS_OF_2 | Step.NO_UNKNOWN
_STEPS_OF_4 = _STEPS_OF_3 | Step.NO_DATA
_ALL_ACTIONS = Action(0x1FF)
_ALL_STEPS = Step(0x1FFFFF)

_STEPS = {2: _STEPS_OF_2, 3: _STEPS_OF_3, 4: _STEPS_OF_4, 5: _STEPS_OF_4, 6: _ALL_STEPS}


@dataclass(frozen=True, slots=True)
class Telling:
    """How a milter hears of one kind of packet.

    stage: of its macros; None if there are none.  left_out, mute: what the milter can choose.
    """

    stage: Stage | None
    left_out: Step = NOTHING
    mute: Step = NOTHING


#: Each command that a milter answers.
TELLING: Mapping[type[Packet], Telling] = {
    packets.Connect: Telling(Stage.CONNECT, Step.NO_CONNECT, Step.MUTE_CONNECT),
    packets.Helo: Telling(Stage.HELO, Step.NO_HELO, Step.MUTE_HELO),
    packets.Mail: Telling(Stage.MAIL, Step.NO_MAIL, Step.MUTE_MAIL),
    packets.Rcpt: Telling(Stage.RCPT, Step.NO_RCPT, Step.MUTE_RCPT),
    packets.Data: Telling(Stage.DATA, Step.NO_DATA, Step.MUTE_DATA),
    packets.Header: Telling(None, Step.NO_HEADERS, Step.MUTE_HEADERS),
    packets.EndOfHeaders: Telling(
        Stage.END_OF_HEADERS, Step.NO_END_OF_HEADERS, Step.MUTE_END_OF_HEADERS
    ),
    packets.Body: Telling(None, Step.NO_BODY, Step.MUTE_BODY),
    packets.EndOfMessage: Telling(Stage.END_OF_MESSAGE),
    packets.Unknown: Telling(None, Step.NO_UNKNOWN, Step.MUTE_UNKNOWN),
}


class NegotiationError(ValueError):
    """The milter wants what was not offered; the text says what."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides have agreed on.

    macros: the names that the milter has chosen for a stage, in place of the usual ones.
    """

    version: int
    actions: Action
    steps: Step
    macros: Mapping[Stage, tuple[str, ...]] = field(default_factory=dict)

    def hears(self, kind: type[Packet]) -> bool:
        """Whether the milter wants to be told of this."""
        return not self.steps & TELLING[kind].left_out

    def answers(self, kind: type[Packet]) -> bool:
        """Whether the milter answers when it is told of this."""
        return not self.steps & TELLING[kind].mute


def offer(version: int = NEWEST) -> Negotiate:
    """All that we know in a version of the protocol."""
    actions = _ALL_ACTIONS if version == NEWEST else _ACTIONS_OF_2
    return Negotiate(version, int(actions), int(_STEPS[version]))


def agree(offered: Negotiate, answer: Negotiate) -> Agreement:
    """What comes of the milter's answer.  Raises NegotiationError."""
    if not OLDEST <= answer.version <= offered.version:
        raise NegotiationError(f"speaks version {answer.version} of the protocol")
    if foreign := answer.actions & ~offered.actions:
        raise NegotiationError(f"wants actions that were not offered ({foreign:#x})")
    if foreign := answer.steps & ~offered.steps:
        raise NegotiationError(f"wants steps that were not offered ({foreign:#x})")
    # A milter of an older version does not know the steps that came later.
    unknown_to_it = (_STEPS_OF_4 & ~_STEPS[answer.version]) if answer.version < NEWEST else NOTHING
    return Agreement(
        answer.version,
        Action(answer.actions),
        Step(answer.steps) | unknown_to_it,
        dict(_chosen(answer)),
    )


def settle(
    offered: Negotiate, steps: Step, macros: Mapping[Stage, Sequence[str]]
) -> tuple[Negotiate, Agreement]:
    """A milter's answer to an offer, and what comes of it: of the steps, those that were offered.

    All actions that were offered are taken.  Raises NegotiationError for a version that is too old.
    """
    if offered.version < OLDEST:
        raise NegotiationError(f"offers version {offered.version} of the protocol")
    version = min(offered.version, NEWEST)
    actions = Action(offered.actions & _ALL_ACTIONS)
    agreed = Step(offered.steps & steps)
    wanted: tuple[tuple[int, bytes], ...] = ()
    if Action.CHOOSE_MACROS in actions:
        wanted = tuple((int(stage), " ".join(names).encode()) for stage, names in macros.items())
    answer = Negotiate(version, int(actions), int(agreed), wanted)
    return answer, Agreement(version, actions, agreed)


def _chosen(answer: Negotiate) -> list[tuple[Stage, tuple[str, ...]]]:
    """The macros that were chosen; those of stages that we do not know do not matter."""
    known = {int(stage) for stage in Stage}
    return [
        (Stage(stage), tuple(names.decode("ascii", "replace").replace(",", " ").split()))
        for stage, names in answer.macros
        if stage in known
    ]
