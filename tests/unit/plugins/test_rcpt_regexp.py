# SPDX-License-Identifier: MIT
"""rcpt_regexp: the first rule that matches decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import (
    Address,
    ConfigError,
    Entry,
    Recipient,
    Verdict,
    accept,
    defer,
    deny,
)
from qpsmtpd.plugins.rcpt_regexp import RcptRegexp, _rule
from qpsmtpd.testing import a_plugin, a_recipient, a_transaction

FILE = [
    "Good@Example.com OK",
    "spared@list.test\tDECLINED",
    r"/^user-\d+@/ DENY  for one message only ",
    r"/@LIST\.test$/ DENYSOFT",
    "hard@example.com DENY_DISCONNECT",
]


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("good@example.com", accept()),
        ("GOOD@EXAMPLE.COM", accept()),
        ("user-12@example.com", deny("for one message only")),
        ("anyone@list.test", defer()),
        ("hard@example.com", deny(disconnect=True)),
        ("spared@list.test", None),
        ("a.good@example.com", None),
        ("user-@example.com", None),
        ("postmaster", None),
    ],
)
async def test_rules(address: str, verdict: Verdict | None) -> None:
    plugin = await a_plugin(RcptRegexp, config={"rcpt_regexp": FILE})
    assert await plugin.hook_rcpt(a_transaction(), a_recipient(address)) == verdict


WRITTEN = r"/[%＠]|\.\.$/"


@pytest.mark.parametrize("address", [Address("u％x", "b.c"), Address("u", "b..")])
@pytest.mark.parametrize(
    ("word", "verdict"), [("DENY", deny()), ("DENYSOFT", defer()), ("OK", None), ("DECLINED", None)]
)
async def test_what_only_the_client_wrote_is_refused_and_never_admitted(
    address: Address, word: str, verdict: Verdict | None
) -> None:
    config = {"rcpt_regexp": [f"{WRITTEN} {word}", "/never/ DENY"]}
    plugin = await a_plugin(RcptRegexp, config=config)
    assert await plugin.hook_rcpt(a_transaction(), Recipient(address)) == verdict
    # A DECLINED that matched would spare it the next rule.
    config = {"rcpt_regexp": [f"{WRITTEN} DECLINED", "/b/ DENY"]}
    plugin = await a_plugin(RcptRegexp, config=config)
    assert await plugin.hook_rcpt(a_transaction(), Recipient(address)) == deny()


@pytest.mark.parametrize("line", ["a@b.c", "a@b.c MAYBE", "/(/ DENY", "/a DENY", "// DENY", ""])
async def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError, match="rcpt_regexp:1: "):
        await a_plugin(RcptRegexp, config={"rcpt_regexp": [line]})


@given(st.text(), st.sampled_from(["OK", "DENY", "NO"]))
def test_any_line_is_read_or_refused(pattern: str, word: str) -> None:
    try:
        rule = _rule(Entry(f"{pattern} {word}", "rcpt_regexp:1"))
    except ConfigError:
        return
    assert rule.verdict in (accept(), deny(), None) or rule.verdict is not None
