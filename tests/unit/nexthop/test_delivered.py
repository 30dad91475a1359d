# SPDX-License-Identifier: MIT
"""The memory of who has a message already is limited in time and size."""

from __future__ import annotations

from qpsmtpd.nexthop.delivered import Delivered, fingerprint
from qpsmtpd.testing import FakeClock, a_transaction


def test_adds_up_and_forgets() -> None:
    delivered = Delivered(FakeClock(), seconds=60)
    assert not delivered
    delivered.add(b"1", ["a"])
    delivered.add(b"1", ["b"])
    assert delivered.recipients(b"1") == {"a", "b"}
    assert delivered.recipients(b"2") == set()
    delivered.forget(b"1")
    delivered.forget(b"1")
    assert not delivered


def test_limited_in_time_since_the_last_change() -> None:
    clock = FakeClock()
    delivered = Delivered(clock, seconds=60)
    delivered.add(b"1", ["a"])
    delivered.add(b"2", ["a"])
    clock.advance(50)
    delivered.add(b"1", ["b"])
    clock.advance(50)
    assert delivered.recipients(b"2") == set()
    assert delivered.recipients(b"1") == {"a", "b"}
    clock.advance(50)
    assert not delivered


def test_limited_in_number() -> None:
    delivered = Delivered(FakeClock(), seconds=60, messages=2)
    for message in (b"1", b"2", b"3"):
        delivered.add(message, ["a"])
    assert [bool(delivered.recipients(m)) for m in (b"1", b"2", b"3")] == [False, True, True]


async def test_fingerprint_ignores_what_we_add() -> None:
    first, second = (
        a_transaction("a@example.com", "b@x.test", message="From: a\n\nx\n") for _ in range(2)
    )
    assert second.message is not None
    second.message.headers.prepend("Received", "again")
    assert await fingerprint(first) == await fingerprint(second)
    second.message.headers.replace("From", "b")
    assert await fingerprint(first) != await fingerprint(second)
