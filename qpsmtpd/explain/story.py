# SPDX-License-Identifier: MIT
"""The story of a decision, in sentences."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from qpsmtpd.decisions.decision import Decision, Said
from qpsmtpd.decisions.output import COLOURS, shown_time
from qpsmtpd.mail.trail import CORE
from qpsmtpd.terminal import shown, styled

#: What was refused, by the hook that did, where its name says too little.
_WHAT = {
    "connect": "The connection",
    "pre_connection": "The connection",
    "helo": "Its HELO",
    "ehlo": "Its EHLO",
    "auth": "Its log-in",
    "mail": "The sender",
    "rcpt": "The recipient",
    "verify_recipient": "The recipient",
}
#: What became of an answer that did not decide.
EFFECTS = {
    "provisional": "",
    "shadow": "mode=shadow: it only would have",
    "tag": "mode=tag: a header field says so",
    "tolerated": "reject 0: it only would have",
    "naughty": "left to the plugin naughty",
    "fault": "it failed: see the log",
    "timeout": "it did not answer in time",
    "store": "the store did not answer",
}
#: What a plugin did, by its verdict.
VERBS = {"accept": "accepted", "deny": "refused", "defer": "deferred", "": "had no opinion"}


def story(decision: Decision) -> Iterator[str]:
    """What came, what became of it, and what was said on the way, for a terminal."""
    when = shown_time(decision.time) if decision.time else "At some time"
    yield styled(sys.stdout, "bold", f"{when}  {decision.id}")
    outcome = styled(sys.stdout, COLOURS[decision.outcome], decision.outcome)
    yield from (f"  {sentence}" for sentence in sentences(decision, outcome))
    if decision.trail:
        yield "  On the way:"
        yield from map(_said, decision.trail)


def sentences(decision: Decision, outcome: str) -> Iterator[str]:
    """What came, and what became of it; outcome: the word for that."""
    yield f"{_client(decision)}."
    if decision.hook == "message":
        yield _message(decision)
    if decision.results:
        yield shown(f"Checks found {', '.join(decision.results.split())}.")
    yield _end(decision, outcome)


def _client(decision: Decision) -> str:
    text = decision.ip or "Somebody"
    if decision.name:
        text += f" ({decision.name})"
    if decision.helo:
        text += f", which called itself {decision.helo},"
    text += " connected"
    if decision.tls:
        text += f" with {decision.tls}"
    if decision.user:
        text += f"{' and' if decision.tls else ','} logged in as {decision.user}"
    return shown(text)


def _message(decision: Decision) -> str:
    sender = f"<{decision.sender}>" if decision.sender else "the null sender <>"
    first = decision.recipients[0] if decision.recipients else "nobody"
    others = decision.recipient_count - 1
    more = f" and {others} other{'s' * (others > 1)}" if others > 0 else ""
    size = f", {decision.size} bytes" if decision.size else ""
    identity = f", Message-ID {decision.message_id}" if decision.message_id else ""
    return shown(f"Its message was from {sender}, to <{first}>{more}{size}{identity}.")


def _end(decision: Decision, outcome: str) -> str:
    what = "It" if decision.hook == "message" else _WHAT.get(decision.hook, decision.hook)
    about = f" {decision.about}" if decision.about and decision.hook != "message" else ""
    who = "qpsmtpd itself" if decision.plugin == CORE else f"the plugin {decision.plugin}"
    text = f"{shown(what + about)} was {outcome} by {shown(who)}: {shown(decision.reply)}"
    if decision.reason and decision.reason not in decision.reply:
        text += f" (the reason: {shown(decision.reason)})"
    if decision.next_hop_id:
        text += f". The mail system behind has it as {shown(decision.next_hop_id)}"
    return f"{text}."


def _said(said: Said) -> str:
    reason = f": {shown(said.reason)}" if said.reason else ""
    effect = f" ({effect})" if (effect := EFFECTS.get(said.outcome)) else ""
    time = f" after {said.seconds:.1f} s" if said.seconds >= 0.1 else ""
    return f"    {said.hook:18} {said.plugin} {VERBS[said.verdict]}{time}{effect}{reason}"
