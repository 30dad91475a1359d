# SPDX-License-Identifier: MIT
"""Plugin naughty: rejections that others have found, and what takes them back."""

from __future__ import annotations

from qpsmtpd.testing import Records, dns_failure
from tests.conformance.cases.parts import HELLO, MAIL, PLUGINS, RCPT, a_mail, message
from tests.conformance.dialogue import Case, Dialogue


def _naughty(arguments: str) -> Case:
    line = f"naughty {arguments}".strip()
    return Case(
        line,
        {
            "plugins": ["badmailfrom reject naughty", line, *PLUGINS],
            "badmailfrom": ["@bad.example"],
        },
        (
            Dialogue("bad", (HELLO, "MAIL FROM:<a@bad.example>", RCPT, "DATA", message())),
            Dialogue("good", (HELLO, *a_mail())),
        ),
    )


_DNS: Records = {
    ("TXT", "2.0.0.127.bl.test"): ["spam"],
    ("A", "2.0.0.127.bl.test"): ["127.0.0.2"],
    ("TXT", "bad.example.bl.test"): ["spam"],
    ("A", "bad.example.bl.test"): ["127.0.0.2"],
    ("MX", "failing.example"): dns_failure(),
    ("A", "failing.example"): dns_failure(),
    ("AAAA", "failing.example"): dns_failure(),
}


def _found_by(plugin: str, hello: str = HELLO, mail: str = MAIL) -> Case:
    """What a plugin has found without a reject_type of its own, and how that is rejected."""
    return Case(
        f"naughty after {plugin}",
        {
            "plugins": [f"{plugin} reject naughty", "naughty", *PLUGINS],
            "dnsbl_zones": ["bl.test"],
            "rhsbl_zones": ["bl.test"],
            "badmailfrom": ["@bad.example"],
            "badhelo": ["bad.example"],
        },
        (
            Dialogue("rejected", (hello, mail, RCPT), client="127.0.0.2"),
            Dialogue("DNS fails", (HELLO, "MAIL FROM:<a@failing.example>", RCPT)),
        ),
        dns=_DNS,
    )


CASES = (
    _naughty(""),
    _naughty("reject mail"),
    _naughty("reject data"),
    _naughty("reject data_post"),
    _naughty("reject rcpt reject_type perm"),
    _found_by("badmailfrom", mail="MAIL FROM:<a@bad.example>"),
    _found_by("helo", hello="EHLO bad.example"),
    _found_by("dnsbl"),
    _found_by("rhsbl", mail="MAIL FROM:<a@bad.example>"),
    _found_by("resolvable_fromhost", mail="MAIL FROM:<a@nothing.example>"),
    Case(
        "naughty and log-in",
        {
            "plugins": ["helo reject naughty", "auth/auth_flat_file", "naughty", *PLUGINS],
            "badhelo": ["bad.example"],
            "flat_auth_pw": ["a@example.test:pass"],
        },
        (
            Dialogue("not logged in", ("EHLO bad.example", MAIL, RCPT)),
            Dialogue(
                "logged in",
                ("EHLO bad.example", "AUTH PLAIN AGFAZXhhbXBsZS50ZXN0AHBhc3M=", *a_mail()),
            ),
        ),
    ),
    Case(
        "naughty and whitelist",
        {
            "plugins": ["dnsbl reject naughty", "whitelist", "naughty", *PLUGINS],
            "dnsbl_zones": ["bl.test"],
            "whitelistsenders": ["friend@good.example"],
        },
        (
            Dialogue(
                "friend", (HELLO, "MAIL FROM:<friend@good.example>", RCPT), client="127.0.0.2"
            ),
            Dialogue("stranger", (HELLO, MAIL, RCPT), client="127.0.0.2"),
        ),
        dns=_DNS,
    ),
    Case(
        "naughty and postmaster",
        {"plugins": ["dnsbl reject naughty", "naughty", *PLUGINS], "dnsbl_zones": ["bl.test"]},
        (
            Dialogue("user", (HELLO, MAIL, RCPT), client="127.0.0.2"),
            Dialogue("postmaster", (HELLO, *a_mail("RCPT TO:<postmaster>")), client="127.0.0.2"),
            Dialogue(
                "postmaster, then user",
                (HELLO, MAIL, "RCPT TO:<postmaster>", RCPT, "RCPT TO:<b@example.test>"),
                client="127.0.0.2",
            ),
        ),
        dns={
            ("TXT", "2.0.0.127.bl.test"): ["spam"],
            ("A", "2.0.0.127.bl.test"): ["127.0.0.2"],
        },
    ),
)
