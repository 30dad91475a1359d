# SPDX-License-Identifier: MIT
"""Files of the configuration: their syntax, several plugins of a kind, and what is an error."""

from __future__ import annotations

from tests.conformance.cases.parts import (
    HELLO,
    MAIL,
    MAILDIR,
    PLUGINS,
    RCPT,
    recipients,
    senders,
    whole,
)
from tests.conformance.dialogue import Case, Dialogue

_DOWN = "queue/smtp-forward 127.0.0.1 1"
_FAILING = ("#!/bin/sh", "cat >/dev/null", "exit 71")
_BAD_SENDER = ["a@example.com"]


def _wrong(name: str, *plugins: str, **files: list[str]) -> Case:
    """Something is wrong in a file: whether the server starts, and delivers then."""
    return Case(f"wrong {name}", {"plugins": [*plugins, *PLUGINS], **files}, (whole("a message"),))


CASES = (
    Case(
        "plugins file",
        {
            "plugins": [
                "# a comment",
                "   badmailfrom   reject 1",
                "",
                "$include more",
                "rcpt_map:1 domain one.test file @CONFIG@/one",
                "rcpt_map:2 domain two.test file @CONFIG@/two",
                "rcpt_ok",
                "$include @CONFIG@/method",
            ],
            "more": ["# nothing", "badrcptto"],
            "method": [MAILDIR],
            "badmailfrom": ["  # indented comment", "  a@example.com  reason  ", "# b@example.com"],
            "badrcptto": ["bad@example.test"],
            "one": ["a@one.test OK yes"],
            "two": ["a@two.test OK yes"],
            "rcpthosts": ["  example.test  ", "# other.test", "one.test", "two.test"],
        },
        (
            Dialogue("senders", (HELLO, *senders("<a@example.com>", "<b@example.com>"))),
            Dialogue(
                "recipients",
                (
                    HELLO,
                    *recipients(
                        "<user@example.test>",
                        "<bad@example.test>",
                        "<user@other.test>",
                        "<a@one.test>",
                        "<b@one.test>",
                        "<a@two.test>",
                        "<b@two.test>",
                    ),
                ),
            ),
        ),
    ),
    Case(
        "no rcpthosts",
        {"plugins": PLUGINS, "rcpthosts": []},
        (Dialogue("recipients", (HELLO, *recipients("<a@example.test>", "<a@mx.example>"))),),
    ),
    Case(
        "second queue plugin after one that is down",
        {"plugins": ["rcpt_ok", _DOWN, MAILDIR]},
        (whole("a message"),),
    ),
    Case(
        "second queue plugin after one that fails",
        {
            "plugins": ["rcpt_ok", "queue/qmail-queue @CONFIG@/program", MAILDIR],
            "program": _FAILING,
        },
        (whole("a message"),),
    ),
    Case(
        "whitelist per_recipient",
        {
            "plugins": ["whitelist per_recipient 1", "badmailfrom", "badrcptto", *PLUGINS],
            "whitelistsenders": ["friend@bad.example"],
            "whitelistrcpt": ["abuse@example.test"],
            "badmailfrom": ["@bad.example"],
            "badrcptto": ["abuse@example.test", "user@example.test"],
        },
        (
            Dialogue("sender", (HELLO, "MAIL FROM:<friend@bad.example>")),
            Dialogue("recipients", (HELLO, MAIL, RCPT, "RCPT TO:<abuse@example.test>")),
        ),
    ),
    _wrong("argument", "badmailfrom rejct 1", badmailfrom=_BAD_SENDER),
    _wrong("number of arguments", "badmailfrom reject", badmailfrom=_BAD_SENDER),
    _wrong("surplus argument", "badmailfrom surplus 1", badmailfrom=_BAD_SENDER),
    _wrong("comment", "badmailfrom # a comment", badmailfrom=_BAD_SENDER),
    _wrong("badmailfrom", "badmailfrom", badmailfrom=["example.com"]),
    _wrong("badrcptto", "badrcptto", badrcptto=["user"]),
    _wrong("badhelo", "helo", badhelo=["*.example"]),
    _wrong("relayclients", "relay", relayclients=["127.0.0.1/24"]),
    _wrong("relayclients prefix", "relay", relayclients=["127.0.0"]),
    _wrong("hosts_allow", "hosts_allow", hosts_allow=["127.0.0.1 REFUSE"]),
    _wrong("rcpt_regexp", "rcpt_regexp", rcpt_regexp=["/user/"]),
    _wrong("flat_auth_pw", "auth/auth_flat_file", flat_auth_pw=["user"]),
    _wrong("databytes", databytes=["many"]),
    _wrong("rcpthosts", rcpthosts=["example.test", "*.example.com"]),
)
