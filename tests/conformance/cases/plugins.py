# SPDX-License-Identifier: MIT
"""Plugins that look at the message, plugins that speak for others, and Debian's chain."""

from __future__ import annotations

import time
from email.utils import formatdate

from tests.conformance.cases.parts import (
    HELLO,
    MAIL,
    MAILDIR,
    PLUGINS,
    RCPT,
    TEXT,
    a_mail,
    whole,
)
from tests.conformance.dialogue import Case, Dialogue

_BODY = "\n\nHello.\n"
_DAY = 86400


def _dated(days: float) -> str:
    return f"From: a@example.com\nDate: {formatdate(time.time() + days * _DAY)}{_BODY}"


def _received(number: int) -> str:
    return "Received: from a by b; x\n" * number + f"From: a@example.com{_BODY}"


_HEADERS = (
    whole("complete", text=_dated(0)),
    whole("From missing", text=f"Subject: a{_BODY}"),
    whole("Date missing", text=f"From: a@example.com{_BODY}"),
    whole("From doubled", text=f"From: a@example.com\nFrom: b@example.com{_BODY}"),
    whole("from doubled", text=f"From: a@example.com\nfrom: b@example.com{_BODY}"),
    whole("Subject doubled", text=f"From: a@example.com\nSubject: a\nSubject: b{_BODY}"),
    whole("Received doubled", text=_received(2)),
    whole("old", text=_dated(-10)),
    whole("ahead", text=_dated(10)),
    whole("yesterday", text=_dated(-1)),
    whole("tomorrow", text=_dated(1)),
    whole("no date", text=f"From: a@example.com\nDate: soon{_BODY}"),
    whole("nothing", text=""),
    whole("body only", text="\nHello.\n"),
)


def _headers(arguments: str) -> Case:
    line = f"headers {arguments}".strip()
    return Case(line, {"plugins": [line, *PLUGINS]}, _HEADERS)


_BOUNCES = (
    whole("one recipient", mail="MAIL FROM:<>"),
    whole("two recipients", RCPT, "RCPT TO:<b@example.test>", mail="MAIL FROM:<>"),
    whole("Return-Path", mail="MAIL FROM:<>", text=f"Return-Path: <a@b.example>\n{TEXT}"),
    whole("empty Return-Path", mail="MAIL FROM:<>", text=f"Return-Path: <>\n{TEXT}"),
    whole("no bounce", RCPT, "RCPT TO:<b@example.test>"),
)


CASES = (
    _headers(""),
    _headers("reject 0"),
    _headers("require From,Date reject_type temp past 5 future 5"),
    _headers("past 0 future 0"),
    *(
        Case(
            line,
            {"plugins": [line, *PLUGINS]},
            tuple(
                whole(f"{hops} fields", text=_received(hops))
                for hops in (0, limit - 2, limit - 1, limit)
            ),
        )
        for line, limit in (("loop 5", 5), ("loop", 100), ("loop x", 100))
    ),
    Case(
        "check_loop",
        {"plugins": ["check_loop", *PLUGINS]},
        (whole("no field", text=_received(0)),),
    ),
    *(
        Case(line, {"plugins": [line, *PLUGINS]}, _BOUNCES)
        for line in (
            "bogus_bounce",
            "bogus_bounce log",
            "bogus_bounce deny",
            "bogus_bounce reject 1",
        )
    ),
    Case(
        "default of Debian",
        {
            "plugins": [
                "check_earlytalker wait 1 action log",
                "check_relay",
                "rhsbl",
                "dnsbl",
                "check_spamhelo",
                "check_badmailfrom",
                "check_badrcptto",
                "loop",
                "rcpt_ok",
                "$include @CONFIG@/method",
            ],
            "method": [MAILDIR],
            "relayclients": ["127.0.0.1"],
            "rcpthosts": ["$include @CONFIG@/hosts"],
            "hosts": ["example.test", "other.test"],
            "badhelo": ["aol.com"],
            "badmailfrom": ["spammer@example.com"],
            "badrcptto": ["bad@example.test"],
        },
        (
            Dialogue(
                "a stranger",
                (
                    HELLO,
                    *a_mail(),
                    "MAIL FROM:<spammer@example.com>",
                    MAIL,
                    "RCPT TO:<bad@example.test>",
                    "RCPT TO:<x@elsewhere.example>",
                ),
                client="127.0.0.2",
            ),
            Dialogue("a relay client", (HELLO, *a_mail("RCPT TO:<x@elsewhere.example>"))),
        ),
    ),
)
