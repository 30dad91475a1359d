# SPDX-License-Identifier: MIT
"""Verdicts: what a hook decides.

A hook returns None for "no opinion" (DECLINED in the Perl version) or a Verdict made by
`accept`, `deny` or `defer`.  The reply code follows from the hook (replies.py); a plugin chooses
the decision, the text and, where it knows better, the enhanced status code (RFC 3463).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace


class Decision(enum.Enum):
    """The three things a verdict can say."""

    ACCEPT = "accept"
    DENY = "deny"
    DEFER = "defer"


#: By themselves: to look a member up in its enum takes longer than what it is looked up for.
ACCEPT, DENY = Decision.ACCEPT, Decision.DENY


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision of a plugin.

    text: what the client reads, without code; "" means the default text of the hook; a newline
        makes a multi-line reply.
    status: enhanced status code such as "5.7.1"; "" means the default of the hook.
    disconnect: close the connection after the reply.
    code: the three-digit reply code where the hook's default is wrong; 0 means the default.
    tentative: counts only if no plugin further down the chain has an opinion.
    reason: why, for the log; it may say what the client should not know.
    for_each: of the hook `queue`, what becomes of the message for each of `tx.recipients`, in their
        order, if that is not the same; a client that speaks LMTP is told.
    """

    decision: Decision
    text: str = ""
    status: str = ""
    disconnect: bool = False
    code: int = 0
    tentative: bool = False
    reason: str = field(default="", compare=False)
    for_each: tuple[Verdict, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the verdict is an OK."""
        return self.decision is ACCEPT


_PLAIN = Verdict(ACCEPT)


def accept(text: str = "", *, status: str = "") -> Verdict:
    """OK: accept, and ask no further plugin of this hook."""
    if not text and not status:
        return _PLAIN
    return Verdict(ACCEPT, text, status)


def deny(
    text: str = "",
    *,
    status: str = "",
    disconnect: bool = False,
    code: int = 0,
    reason: str = "",
) -> Verdict:
    """DENY, or DENY_DISCONNECT: a permanent refusal."""
    return Verdict(Decision.DENY, text, status, disconnect, code, reason=reason)


def defer(
    text: str = "",
    *,
    status: str = "",
    disconnect: bool = False,
    code: int = 0,
    reason: str = "",
) -> Verdict:
    """DENYSOFT, or DENYSOFT_DISCONNECT: the client should try again later."""
    return Verdict(Decision.DEFER, text, status, disconnect, code, reason=reason)


_WORDS = {
    "OK": (Decision.ACCEPT, False),
    "DENY": (Decision.DENY, False),
    "DENYSOFT": (Decision.DEFER, False),
    "DENYHARD": (Decision.DENY, True),
    "DENY_DISCONNECT": (Decision.DENY, True),
    "DENYSOFT_DISCONNECT": (Decision.DEFER, True),
}

#: The return-code words that configuration files (hosts_allow, rcpt_map, …) may use.
VERDICT_WORDS = ("DECLINED", *_WORDS)


def verdict_from_word(word: str, text: str = "") -> Verdict | None:
    """Turn a return code of the Perl version, as written in a file, into a verdict.

    DECLINED gives None.  Raises ValueError for a word that is not a return code.
    """
    if word == "DECLINED":
        return None
    try:
        decision, disconnect = _WORDS[word]
    except KeyError:
        raise ValueError(f"{word!r} is not one of {', '.join(VERDICT_WORDS)}") from None
    return Verdict(decision, text, disconnect=disconnect)


def unless_another(verdict: Verdict) -> Verdict:
    """The verdict, which then counts only if no plugin further down the chain has an opinion.

    For a queue plugin that has certainly handed nothing over (DECLINED with a text, in Perl).
    """
    return replace(verdict, tentative=True)
