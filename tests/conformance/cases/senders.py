# SPDX-License-Identifier: MIT
"""Plugins that judge by the sender: badmailfrom, badmailfromto, rhsbl, resolvable_fromhost."""

from __future__ import annotations

from qpsmtpd.testing import dns_failure
from tests.conformance.cases.parts import HELLO, MAILDIR, PLUGINS, RCPT, a_mail, recipients, senders
from tests.conformance.dialogue import Case, Dialogue

BADMAILFROM = [
    "spammer@example.com",
    "Capital@example.com",
    "@bad.example",
    r"^bounce-.*@example\.org$ no bounces",
    "@reason.example we had nothing but spam from there",
    "user+tag@example.com",
]

CASES = (
    Case(
        "badmailfrom",
        {"plugins": ["badmailfrom", *PLUGINS], "badmailfrom": BADMAILFROM},
        (
            Dialogue(
                "senders",
                (
                    HELLO,
                    *senders(
                        "<spammer@example.com>",
                        "<SPAMMER@EXAMPLE.COM>",
                        "<capital@example.com>",
                        "<good@example.com>",
                        "<anybody@bad.example>",
                        "<anybody@sub.bad.example>",
                        "<bounce-1@example.org>",
                        "<Bounce-2@Example.org>",
                        "<x-bounce-1@example.org>",
                        "<x@reason.example>",
                        "<user+tag@example.com>",
                        "<useer-tag@example.com>",
                        "<>",
                    ),
                ),
            ),
            Dialogue(
                "refused, then RCPT", (HELLO, "MAIL FROM:<spammer@example.com>", RCPT, "DATA")
            ),
            Dialogue("refused, then another", (HELLO, "MAIL FROM:<a@bad.example>", *a_mail())),
        ),
    ),
    Case(
        "badmailfrom reject_type",
        {
            "plugins": ["badmailfrom reject_type temp", *PLUGINS],
            "badmailfrom": ["a@example.com"],
        },
        (Dialogue("temp", (HELLO, *senders("<a@example.com>"))),),
    ),
    Case(
        "badmailfrom disconnect",
        {
            "plugins": ["badmailfrom reject_type disconnect", *PLUGINS],
            "badmailfrom": ["a@example.com"],
        },
        (Dialogue("disconnect", (HELLO, *senders("<a@example.com>"))),),
    ),
    Case(
        "badmailfrom reject 0",
        {"plugins": ["badmailfrom reject 0", *PLUGINS], "badmailfrom": ["a@example.com"]},
        (Dialogue("accepted", (HELLO, *senders("<a@example.com>"))),),
    ),
    Case(
        "badmailfrom and relay clients",
        {
            "plugins": ["relay", "check_badmailfrom", *PLUGINS],
            "badmailfrom": ["a@example.com"],
            "relayclients": ["127.0.0.1"],
        },
        (
            Dialogue("immune", (HELLO, *senders("<a@example.com>"))),
            Dialogue("not immune", (HELLO, *senders("<a@example.com>")), client="127.0.0.2"),
        ),
    ),
    Case(
        "badmailfromto",
        {
            "plugins": ["badmailfromto", *PLUGINS],
            "badmailfromto": [
                "spammer@example.com\tuser@example.test",
                "@bad.example\tuser@example.test",
                "two@two.example\tuser@example.test",
                "@two.example\tother@example.test",
            ],
        },
        tuple(
            Dialogue(
                sender,
                (
                    HELLO,
                    f"MAIL FROM:<{sender}>",
                    RCPT,
                    "RCPT TO:<USER@example.test>",
                    "RCPT TO:<other@example.test>",
                    "RCPT TO:<postmaster>",
                ),
            )
            for sender in (
                "spammer@example.com",
                "Spammer@Example.com",
                "x@bad.example",
                "two@two.example",
                "good@example.com",
                "",
            )
        ),
    ),
    Case(
        "rhsbl",
        {"plugins": ["rhsbl", *PLUGINS], "rhsbl_zones": ["text.test", "address.test listed"]},
        (
            Dialogue(
                "senders",
                (HELLO, *senders("<a@one.example>", "<a@two.example>", "<a@good.example>", "<>")),
            ),
        ),
        dns={
            ("TXT", "one.example.text.test"): ["spam"],
            ("A", "one.example.text.test"): ["127.0.0.2"],
            ("A", "two.example.address.test"): ["127.0.0.2"],
        },
    ),
    Case(
        "resolvable_fromhost",
        {
            "plugins": ["resolvable_fromhost", *PLUGINS],
            "invalid_resolvable_fromhost": ["10.0.0.0/8"],
        },
        (
            Dialogue(
                "senders",
                (
                    HELLO,
                    *senders(
                        "<a@mx.example>",
                        "<a@address.example>",
                        "<a@nothing.example>",
                        "<a@badmx.example>",
                        "<a@badaddress.example>",
                        "<a@failing.example>",
                        "<a@[192.0.2.1]>",
                        "<>",
                    ),
                ),
            ),
        ),
        dns={
            ("MX", "failing.example"): dns_failure(),
            ("A", "failing.example"): dns_failure(),
            ("AAAA", "failing.example"): dns_failure(),
            ("MX", "mx.example"): [(10, "mail.mx.example")],
            ("A", "mail.mx.example"): ["192.0.2.1"],
            ("A", "address.example"): ["192.0.2.1"],
            ("MX", "badmx.example"): [(10, "mail.badmx.example")],
            ("A", "mail.badmx.example"): ["10.0.0.1"],
            ("A", "badaddress.example"): ["10.0.0.1"],
        },
    ),
    Case(
        "resolvable_fromhost hard",
        {"plugins": ["resolvable_fromhost reject_type perm", *PLUGINS]},
        (Dialogue("senders", (HELLO, *senders("<a@nothing.example>", "<a@failing.example>"))),),
        dns={
            ("MX", "failing.example"): dns_failure(),
            ("A", "failing.example"): dns_failure(),
            ("AAAA", "failing.example"): dns_failure(),
        },
    ),
    Case(
        "dont_require_anglebrackets",
        {"plugins": ["dont_require_anglebrackets", *PLUGINS]},
        (
            Dialogue("MAIL", (HELLO, *senders("a@example.com", "<a@example.com>", "a", ""))),
            Dialogue("MAIL with parameters", (HELLO, *senders("a@example.com SIZE=1"))),
            Dialogue(
                "RCPT",
                (HELLO, *recipients("user@example.test", "postmaster", "user", "x@y.example")),
            ),
            Dialogue(
                "delivered",
                (HELLO, *a_mail("RCPT TO:user@example.test", mail="MAIL FROM:a@b.example")),
            ),
        ),
    ),
    Case(
        "parse_addr_withhelo",
        {"plugins": ["parse_addr_withhelo", "rcpt_ok", MAILDIR]},
        tuple(
            Dialogue(
                f"after {hello}",
                (
                    f"{hello} client.example",
                    *senders("<a@example.com> SIZE=1", "<a@example.com>", "a@example.com", "", "x"),
                    *recipients("<user@example.test>", "<user@example.test> X=1", "postmaster"),
                ),
            )
            for hello in ("HELO", "EHLO")
        ),
    ),
)
