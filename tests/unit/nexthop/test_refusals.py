# SPDX-License-Identifier: MIT
"""Refusals are remembered by sender and recipient, for a time, and not too many of them."""

from __future__ import annotations

import pytest

from qpsmtpd.nexthop import refusals
from qpsmtpd.nexthop.hopreply import HopReply
from qpsmtpd.nexthop.refusals import REMEMBERED, Refusals
from qpsmtpd.testing import FakeClock, a_recipient, a_transaction

NO = HopReply(550, ("5.1.1 no",))


def test_by_sender_and_recipient() -> None:
    known = Refusals(FakeClock())
    known.add(a_transaction("from@x.test"), a_recipient("to@x.test"), NO)
    assert known.of(a_transaction("from@X.test"), a_recipient("to@x.TEST")) == NO
    assert known.of(a_transaction("from@y.test"), a_recipient("to@x.test")) is None
    assert known.of(a_transaction(""), a_recipient("to@x.test")) is None
    assert known.of(a_transaction("from@x.test"), a_recipient("from@x.test")) is None


def test_each_for_its_own_time() -> None:
    clock, tx = FakeClock(), a_transaction("")
    known = Refusals(clock)
    for name in ("a@x.test", "b@x.test"):
        known.add(tx, a_recipient(name), NO)
        clock.advance(REMEMBERED / 2)
    known.add(tx, a_recipient("a@x.test"), HopReply(554))
    clock.advance(REMEMBERED / 2 + 1)
    assert known.of(tx, a_recipient("b@x.test")) is None
    assert known.of(tx, a_recipient("a@x.test")) == HopReply(554)


def test_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST", 2)
    known, tx = Refusals(FakeClock()), a_transaction("")
    names = ("a@x.test", "b@x.test", "c@x.test")
    for name in names:
        known.add(tx, a_recipient(name), NO)
    assert [known.of(tx, a_recipient(name)) for name in names] == [None, NO, NO]
