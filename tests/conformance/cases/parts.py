# SPDX-License-Identifier: MIT
"""What many dialogues have in common."""

from __future__ import annotations

from collections.abc import Sequence

from tests.conformance.dialogue import Dialogue, Send, Step

MAILDIR = "queue/maildir @MAIL@"

#: The shortest list of plugins that delivers.
PLUGINS = ("rcpt_ok", MAILDIR)

HELLO = "EHLO client.example.test"
MAIL = "MAIL FROM:<sender@example.com>"
RCPT = "RCPT TO:<user@example.test>"
TEXT = "From: sender@example.com\nSubject: test\n\nHello.\n"


def message(text: str = TEXT, label: str = "message") -> Send:
    """A message of text with LF line ends, sent as it should be."""
    return Send(text.replace("\n", "\r\n").encode("latin-1") + b".\r\n", label=label)


def a_mail(*rcpts: str, mail: str = MAIL, text: str = TEXT) -> Sequence[Step]:
    """A whole transaction."""
    return (mail, *(rcpts or (RCPT,)), "DATA", message(text))


def whole(name: str, *rcpts: str, mail: str = MAIL, text: str = TEXT) -> Dialogue:
    """A dialogue that delivers one message."""
    return Dialogue(name, (HELLO, *a_mail(*rcpts, mail=mail, text=text)))


def senders(*paths: str) -> Sequence[Step]:
    """Each of these after MAIL FROM:, one after the other."""
    return [step for path in paths for step in (f"MAIL FROM:{path}", "RSET")]


def recipients(*paths: str) -> Sequence[Step]:
    """Each of these after RCPT TO:, in one transaction."""
    return (MAIL, *(f"RCPT TO:{path}" for path in paths))
