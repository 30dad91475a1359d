# SPDX-License-Identifier: MIT
"""Plugins that decide on recipients, and who may relay."""

from __future__ import annotations

from tests.conformance.cases.parts import HELLO, MAILDIR, PLUGINS, a_mail, recipients
from tests.conformance.dialogue import Case, Dialogue

_RELAY = ["relay", *PLUGINS]
_ELSEWHERE = (HELLO, *recipients("<user@example.test>", "<user@elsewhere.example>"))


def _relay(
    name: str, *entries: str, norelay: tuple[str, ...] = (), client: str = "127.0.0.1"
) -> Case:
    return Case(
        f"relay {name}",
        {"plugins": _RELAY, "relayclients": entries, "norelayclients": norelay},
        (Dialogue("elsewhere", _ELSEWHERE, client=client),),
    )


CASES = (
    Case(
        "rcpt_ok",
        {"plugins": PLUGINS, "rcpthosts": ["example.test", "Upper.Example", ".suffix.example"]},
        (
            Dialogue(
                "recipients",
                (
                    HELLO,
                    *recipients(
                        "<user@example.test>",
                        "<USER@EXAMPLE.TEST>",
                        "<user@sub.example.test>",
                        "<user@upper.example>",
                        "<user@sub.suffix.example>",
                        "<user@sub.sub.suffix.example>",
                        "<user@suffix.example>",
                        "<user@xsuffix.example>",
                        "<user@mx.example>",
                        "<postmaster>",
                        "<postmaster@elsewhere.example>",
                        "<user@elsewhere.example>",
                        "<user@[127.0.0.1]>",
                    ),
                ),
            ),
            Dialogue(
                "routed",
                (
                    HELLO,
                    *recipients(
                        "<user%elsewhere.example@example.test>",
                        "<elsewhere.example!user@example.test>",
                        '<"user@elsewhere.example"@example.test>',
                        "<@example.test:user@elsewhere.example>",
                        "<@elsewhere.example:user@example.test>",
                        "<user@elsewhere.example@example.test>",
                    ),
                ),
            ),
        ),
    ),
    Case(
        "badrcptto",
        {
            "plugins": ["badrcptto", *PLUGINS],
            "badrcptto": [
                "former@example.test",
                "gone@example.test gave notice",
                "@old.example.test",
                r"^test\d+@example\.test$",
                r"UPPER-.*@example\.test$",
            ],
            "rcpthosts": ["example.test", ".example.test"],
        },
        (
            Dialogue(
                "recipients",
                (
                    HELLO,
                    *recipients(
                        "<former@example.test>",
                        "<Former@Example.test>",
                        "<gone@example.test>",
                        "<user@old.example.test>",
                        "<user@sub.old.example.test>",
                        "<test12@example.test>",
                        "<Test12@example.test>",
                        "<xtest12@example.test>",
                        "<upper-1@example.test>",
                        "<user@example.test>",
                        "<postmaster>",
                    ),
                ),
            ),
            Dialogue(
                "one of two",
                (HELLO, *a_mail("RCPT TO:<gone@example.test>", "RCPT TO:<a@example.test>")),
            ),
        ),
    ),
    Case(
        "rcpt_map",
        {
            "plugins": ["rcpt_map domain example.test file @CONFIG@/map", *PLUGINS],
            "map": [
                "user@example.test OK yes",
                "bare@example.test OK",
                "Upper@example.test OK yes",
                "former@example.test DENY gave notice",
                "soft@example.test DENYSOFT later",
                "other@example.test DECLINED plugins",
                "away@example.test DENY_DISCONNECT go away",
            ],
            "rcpthosts": ["example.test", "second.test"],
        },
        (
            Dialogue(
                "recipients",
                (
                    HELLO,
                    *recipients(
                        "<user@example.test>",
                        "<User@Example.Test>",
                        "<bare@example.test>",
                        "<upper@example.test>",
                        "<former@example.test>",
                        "<soft@example.test>",
                        "<other@example.test>",
                        "<unlisted@example.test>",
                        "<unlisted@second.test>",
                        "<postmaster>",
                        "<away@example.test>",
                    ),
                ),
            ),
        ),
    ),
    Case(
        "rcpt_regexp",
        {
            "plugins": ["rcpt_regexp", *PLUGINS],
            "rcpt_regexp": [
                "user@elsewhere.example OK",
                r"/^user-\d+@/ DENY one message only",
                r"/@soft\.test$/ DENYSOFT",
                r"/^hard@/ DENY_DISCONNECT",
                "later@example.test DECLINED",
                "/later/ DENY",
            ],
        },
        (
            Dialogue(
                "recipients",
                (
                    HELLO,
                    *recipients(
                        "<user@elsewhere.example>",
                        "<USER@elsewhere.example>",
                        "<user-1@example.test>",
                        "<USER-1@example.test>",
                        "<x@soft.test>",
                        "<later@example.test>",
                        "<later2@example.test>",
                        "<other@example.test>",
                        "<other@elsewhere.example>",
                        "<hard@example.test>",
                    ),
                ),
            ),
        ),
    ),
    _relay("address", "127.0.0.1"),
    _relay("other address", "127.0.0.2"),
    _relay("prefix", "127."),
    _relay("longer prefix", "127.0.0."),
    _relay("prefix without a dot", "192.0.2.1", "12.0."),
    _relay("network", "127.0.0.0/8"),
    _relay("small network", "127.0.0.0/29", client="127.0.0.2"),
    _relay("other network", "192.0.2.0/24"),
    _relay("one address as network", "127.0.0.1/32"),
    _relay("first address", "127.0.0.4/30", client="127.0.0.4"),
    _relay("last address", "127.0.0.4/30", client="127.0.0.7"),
    _relay("norelayclients", "127.", norelay=("127.0.0.1",)),
    _relay("norelayclients prefix", "127.0.0.1", norelay=("127.0.",)),
    _relay("nobody"),
    Case(
        "relay only",
        {"plugins": ["relay only 1", *PLUGINS], "relayclients": ["127.0.0.1"]},
        (
            Dialogue("a relay client", _ELSEWHERE),
            Dialogue("another", _ELSEWHERE, client="127.0.0.2"),
        ),
    ),
    Case(
        "relay only and log-in",
        {
            "plugins": ["relay only 1", "auth/auth_flat_file", *PLUGINS],
            "flat_auth_pw": ["a@example.test:pass"],
        },
        (
            Dialogue(
                "logged in", (HELLO, "AUTH PLAIN AGFAZXhhbXBsZS50ZXN0AHBhc3M=", *_ELSEWHERE[1:])
            ),
            Dialogue("not logged in", _ELSEWHERE),
        ),
    ),
    Case(
        "whitelist",
        {
            "plugins": ["whitelist", "badmailfrom", "badrcptto", *PLUGINS],
            "whitelisthosts": ["127.0.0.2", "127.0.3."],
            "whitelistsenders": ["friend@bad.example", "friends.example"],
            "whitelistrcpt": ["abuse@example.test", "white.test"],
            "badmailfrom": ["@bad.example", "@friends.example"],
            "badrcptto": ["abuse@example.test", "user@example.test"],
        },
        tuple(
            Dialogue(
                f"{sender} from {client}",
                (
                    HELLO,
                    f"MAIL FROM:<{sender}>",
                    "RCPT TO:<user@example.test>",
                    "RCPT TO:<abuse@example.test>",
                    "RCPT TO:<x@white.test>",
                    "RCPT TO:<x@elsewhere.example>",
                ),
                client=client,
            )
            for sender, client in (
                ("x@bad.example", "127.0.0.1"),
                ("x@bad.example", "127.0.0.2"),
                ("x@bad.example", "127.0.0.20"),
                ("x@bad.example", "127.0.3.1"),
                ("friend@bad.example", "127.0.0.1"),
                ("x@friends.example", "127.0.0.1"),
                ("x@good.example", "127.0.0.1"),
            )
        ),
    ),
    Case("no decision about recipients", {"plugins": [MAILDIR]}, ()),
    Case("no queue plugin", {"plugins": ["rcpt_ok"]}, ()),
)
