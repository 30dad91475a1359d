# SPDX-License-Identifier: MIT
"""parse_addr_withhelo takes no parameters from clients of HELO."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import ParsedPath, Verdict
from qpsmtpd.plugins.parse_addr_withhelo import ParseAddrWithhelo, _parse
from qpsmtpd.testing import a_plugin, a_session


async def mail(argument: str) -> ParsedPath | Verdict | None:
    plugin = await a_plugin(ParseAddrWithhelo)
    return await plugin.hook_mail_parse(a_session(helo="client.example"), argument)


async def rcpt(argument: str) -> ParsedPath | Verdict | None:
    plugin = await a_plugin(ParseAddrWithhelo)
    return await plugin.hook_rcpt_parse(a_session(helo="client.example"), argument)


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("FROM:<a@b.c>", "<a@b.c>"),
        ("from: <a@b.c> ", "<a@b.c>"),
        ("FROM:<>", "<>"),
        ("FROM:", "<>"),
        ("FROM: ", "<>"),
        ("FROM:a@b.c", "a@b.c"),
        ('FROM:<"a> b"@c>', '<"a> b"@c>'),
    ],
)
async def test_mail(argument: str, path: str) -> None:
    assert await mail(argument) == ParsedPath(path, {})


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("TO:<a@b.c>", "<a@b.c>"),
        ("TO:a@b.c", "a@b.c"),
        ("TO:Postmaster", "Postmaster"),
        ("TO:abuse", "abuse"),
        ("TO:<postmaster>", "<postmaster>"),
    ],
)
async def test_rcpt(argument: str, path: str) -> None:
    assert await rcpt(argument) == ParsedPath(path, {})


@pytest.mark.parametrize(
    "argument", ["FROM:<a@b.c> SIZE=1", "FROM:a@b.c SIZE=1", "FROM:<a@b.c>X", "FROM:<> BODY=7BIT"]
)
async def test_parameters_of_mail(argument: str) -> None:
    verdict = await mail(argument)
    assert isinstance(verdict, Verdict)
    assert verdict.text == "No parameters allowed in MAIL after HELO"


async def test_parameters_of_rcpt() -> None:
    verdict = await rcpt("TO:<a@b.c> NOTIFY=NEVER")
    assert isinstance(verdict, Verdict)
    assert verdict.text == "No parameters allowed in RCPT after HELO"


@pytest.mark.parametrize("argument", ["", "TO:<a@b.c>", "FROM", "FROM:user", "FROM:<a@b.c"])
async def test_mail_that_is_none(argument: str) -> None:
    assert isinstance(await mail(argument), Verdict)


@pytest.mark.parametrize("argument", ["FROM:<a@b.c>", "TO:", "TO:user", 'TO:"a'])
async def test_rcpt_that_is_none(argument: str) -> None:
    assert isinstance(await rcpt(argument), Verdict)


async def test_ehlo_is_not_looked_at() -> None:
    plugin = await a_plugin(ParseAddrWithhelo)
    session = a_session(ehlo="client.example")
    assert await plugin.hook_mail_parse(session, "FROM:<a@b.c> SIZE=1") is None
    assert await plugin.hook_rcpt_parse(session, "TO:<a@b.c> SIZE=1") is None


@given(st.text('<>"\\@ a.\t'))
def test_what_is_accepted_is_all_that_was_sent(rest: str) -> None:
    parsed = _parse(f"TO:{rest}", "RCPT", "TO:")
    assert isinstance(parsed, Verdict) or parsed == ParsedPath(rest.strip(), {})
