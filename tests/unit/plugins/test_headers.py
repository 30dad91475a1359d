# SPDX-License-Identifier: MIT
"""headers: required and singular fields, dates, and who is exempt."""

from __future__ import annotations

from email.utils import format_datetime, formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import Transaction, Verdict, defer, deny
from qpsmtpd.plugins.headers import SINGULAR, HeaderCheck, _seconds
from qpsmtpd.testing import FakeClock, a_plugin, a_session, a_transaction

CLOCK = FakeClock()
NOW = formatdate(CLOCK.now())


def a_mail(fields: str, **lent: object) -> Transaction:
    session = a_session(relay_client=bool(lent.get("relay_client")))
    return a_transaction(session=session, message=f"{fields}\n\nbody\n")


async def verdict_on(tx: Transaction, line: str = "") -> Verdict | None:
    return await (await a_plugin(HeaderCheck, line, clock=CLOCK)).hook_data_post(tx)


def days(number: float) -> str:
    return f"From: a@b.c\nDate: {formatdate(CLOCK.now() + number * 86400)}"


async def test_good_message() -> None:
    tx = a_mail(f"From: a@b.c\nDate: {NOW}\nReceived: x\nReceived: y")
    assert await verdict_on(tx, "require From,Date past 5 future 5") is None
    assert tx.session.karma == 0


async def test_required_fields() -> None:
    tx = a_mail("Subject: x")
    assert await verdict_on(tx) == deny("The header field From is missing", status="5.6.0")
    assert tx.session.karma == -1
    missing_date = deny("The header field Date is missing", status="5.6.0")
    assert await verdict_on(a_mail("From: a@b.c"), "require From,Date") == missing_date
    assert await verdict_on(a_mail("From: a@b.c"), "require from") is None


@pytest.mark.parametrize("name", SINGULAR)
async def test_singular_fields(name: str) -> None:
    tx = a_mail(f"{name}: 1\n{name.upper()}: 2", relay_client=False)
    assert await verdict_on(tx, f"require {name}") == deny(
        f"There is more than one header field {name}, see RFC 5322 section 3.6", status="5.6.0"
    )


@pytest.mark.parametrize(
    ("line", "offset", "passes"),
    [
        ("", 6, True),
        ("", -600, True),
        ("future 2", 6, False),
        ("future 2", 3, False),
        ("future 2", 1, True),
        ("future 2", -6, True),
        ("future 0.5", 1, False),
        ("past 2", -6, False),
        ("past 2", -3, False),
        ("past 2", -1, True),
        ("past 2", 6, True),
    ],
)
async def test_dates(line: str, offset: float, passes: bool) -> None:
    assert (await verdict_on(a_mail(days(offset)), line) is None) == passes


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026 99:99:99 +0000"])
async def test_unreadable_dates_are_tolerated(date: str) -> None:
    assert await verdict_on(a_mail(f"From: a@b.c\nDate: {date}"), "past 1 future 1") is None


def test_zones() -> None:
    assert _seconds("Thu, 1 Jan 1970 01:00:00 +0100") == 0
    assert _seconds("Thu, 1 Jan 1970 00:00:10 -0000") == 10


async def test_nothing_sent_is_refused_even_from_relay_clients() -> None:
    tx = a_transaction(session=a_session(relay_client=True), message=b"")
    assert await verdict_on(tx) == deny("The message is empty", status="5.6.0")


async def test_relay_clients_may_leave_fields_out() -> None:
    assert await verdict_on(a_mail("Subject: x", relay_client=True)) is None


async def test_reject_options() -> None:
    text = "The header field From is missing"
    assert await verdict_on(a_mail("X: y"), "reject_type temp") == defer(text, status="4.6.0")
    assert await verdict_on(a_mail("X: y"), "reject_type perm") == deny(text, status="5.6.0")
    tolerated = a_mail("X: y")
    assert await verdict_on(tolerated, "reject 0") is None
    assert tolerated.session.deferred_rejects == []
    naughty = a_mail("X: y")
    assert await verdict_on(naughty, "reject naughty") is None
    assert naughty.session.deferred_rejects == [text]


DATE_LIKE = st.text('0123456789 :,;-+.JanMonGMTZ()"\\\t\udc80²')


@given(st.one_of(st.text(), DATE_LIKE, st.datetimes().map(format_datetime)))
def test_any_date_is_read_or_none(text: str) -> None:
    assert isinstance(_seconds(text), float | None)


@pytest.mark.parametrize(
    "line", ["", "3", "days 3", "days=3", "past 3 future 3", "future=3 days 3"]
)
async def test_check_basicheaders(line: str) -> None:
    """Its alias implies its name as an argument."""
    words = f"check_basicheaders {line}"
    assert await verdict_on(a_mail("From: a@b.c"), words) is not None
    assert await verdict_on(a_mail(days(-2)), words) is None
    assert (await verdict_on(a_mail(days(-4)), words) is None) == (line == "")
    assert (await verdict_on(a_mail(days(4)), words) is None) == (line == "")


async def test_0_days_are_any_number() -> None:
    assert await verdict_on(a_mail(days(-4)), "past 0 future 0") is None
