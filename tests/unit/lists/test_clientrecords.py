# SPDX-License-Identifier: MIT
"""What is remembered of clients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.lists.clientrecords import DAY, ClientRecord, ClientRecords, client_key
from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.testing import FakeClock, FakeStore


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
    ],
)
def test_clients(ip: str, key: str) -> None:
    assert client_key(parse_ip(ip)) == key


@given(
    st.builds(
        ClientRecord,
        *[st.integers(0, 10**12)] * 4,
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    )
)
def test_a_record_survives_being_written(record: ClientRecord) -> None:
    assert ClientRecord.of(bytes(record)) == record


@given(st.none() | st.binary(max_size=40))
def test_what_is_not_a_record_is_an_empty_one(value: bytes | None) -> None:
    record = ClientRecord.of(value)
    assert min(record.naughty, record.nice, record.connects, record.last) >= 0


async def test_records_and_penalties() -> None:
    clock = FakeClock()
    records = ClientRecords(FakeStore(clock), days=2)
    nice = await records.change("192.0.2.1", lambda _: ClientRecord(nice=1))
    await records.change("192.0.2.2", lambda _: ClientRecord(naughty=1))
    await records.capture("192.0.2.2", 1, 1000)
    assert [name async for name, _ in records.all()] == ["192.0.2.1", "192.0.2.2"]
    assert await records.penalties() == {"192.0.2.2": 1000 + 86400}
    assert await records.penalty("192.0.2.2") == 1000 + 86400
    assert await records.get("192.0.2.1") == nice
    clock.advance(DAY)
    assert await records.penalty("192.0.2.2") is None
    await records.forget("192.0.2.1")
    assert await records.get("192.0.2.1") == ClientRecord()
    clock.advance(DAY)
    assert [name async for name, _ in records.all()] == []
