# SPDX-License-Identifier: MIT
"""Plugins that hand the message over, and what comes out of them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.conformance.cases.parts import HELLO, MAILDIR, RCPT, TEXT, a_mail, whole
from tests.conformance.dialogue import Case, Dialogue

# They write what they get as a file in a Maildir.
_QMAIL_QUEUE = (
    "#!/bin/sh",
    "exec 3<&1",
    "mkdir -p @MAIL@/new",
    "{ printf 'Return-Path: '; tr '\\0' ',' <&3; echo; cat; } >@MAIL@/new/$$",
)
_RSMTP = (
    "#!/bin/sh",
    "mkdir -p @MAIL@/new",
    "tr -d '\\r' | sed 's/^HELO .*/Return-Path: in MAIL/' >@MAIL@/new/$$",
)


def _queue(name: str, line: str, program: Sequence[str] = ()) -> Case:
    return Case(
        f"queue {name}",
        # A relay client, as others may not have an @ in the local part.
        {
            "plugins": ["relay", "rcpt_ok", line],
            "relayclients": ["127.0.0.1"],
            "program": program,
        },
        (
            whole("one", text=TEXT),
            whole("two recipients", RCPT, "RCPT TO:<b@example.test>"),
            whole("null sender", mail="MAIL FROM:<>"),
            whole("postmaster", "RCPT TO:<postmaster>"),
            whole("quoted", 'RCPT TO:<"a@b"@example.test>', mail='MAIL FROM:<"c@d"@example.com>'),
            whole("odd characters", "RCPT TO:<a/../b@example.test>"),
            whole("case", "RCPT TO:<User@Example.TEST>", mail="MAIL FROM:<A@B.Example>"),
            whole("dots", text="Subject: dots\n\n.\n..\n.x\n"),
            whole("8 bits", text="Subject: a\n\n\u00e4\n"),
            Dialogue("two messages", (HELLO, *a_mail(), *a_mail("RCPT TO:<b@example.test>"))),
        ),
    )


def _failing(name: str, line: str, *commands: str) -> Case:
    return Case(
        f"queue {name}",
        {
            "plugins": ["rcpt_ok", f"{line} @CONFIG@/program"],
            "program": ["#!/bin/sh", "cat >/dev/null", *commands],
        },
        (whole("a message"),),
    )


CASES = (
    _queue("maildir", MAILDIR),
    _queue("maildir for each recipient", f"{MAILDIR} %d/%l"),
    Case(
        "queue maildir patterns",
        {"plugins": ["rcpt_ok", f"{MAILDIR} %d/%u 770"]},
        (
            whole("slash", "RCPT TO:<a/b@example.test>"),
            whole("case", "RCPT TO:<A+b@Example.test>"),
            whole("many", *(f"RCPT TO:<{user}@example.test>" for user in "aba")),
        ),
    ),
    _queue("smtp-forward", "queue/smtp-forward 127.0.0.1 @PORT@"),
    _queue("qmail-queue", "queue/qmail-queue @CONFIG@/program", _QMAIL_QUEUE),
    _queue("exim-bsmtp", "queue/exim-bsmtp exim_path @CONFIG@/program", _RSMTP),
    Case(
        "queue next hop down",
        {"plugins": ["rcpt_ok", "queue/smtp-forward 127.0.0.1 1"]},
        (whole("a message"),),
    ),
    _failing("qmail-queue for now", "queue/qmail-queue", "exit 71"),
    _failing("qmail-queue for good", "queue/qmail-queue", "exit 31"),
    _failing("exim-bsmtp for now", "queue/exim-bsmtp exim_path", "echo 451 later", "exit 1"),
    _failing("exim-bsmtp for good", "queue/exim-bsmtp exim_path", "echo 550 never", "exit 1"),
    _failing("exim-bsmtp without a reply", "queue/exim-bsmtp exim_path", "exit 1"),
)
