# SPDX-License-Identifier: MIT
"""The client of cleanup(8): records, attributes, and every way in which cleanup can fail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.session import Transaction
from qpsmtpd.nexthop.cleanup import (
    CHUNK,
    Cleanup,
    CleanupError,
    CleanupFlag,
    CleanupResult,
    CleanupStatus,
    ContentEncoder,
    envelope_records,
    record,
)
from qpsmtpd.testing import a_session, a_transaction
from tests.stream_server import stream_server
from tests.unit.client import PATIENCE
from tests.unit.fake_cleanup import QUEUE_ID, FakeCleanup, attributes, listening, listening_tcp


async def submit(
    address: str, tx: Transaction, flags: CleanupFlag = CleanupFlag.FLAG_MASK_EXTERNAL
) -> CleanupResult:
    async with await Cleanup.connect(address, PATIENCE) as connection:
        return await connection.submit(tx, flags)


def a_transaction_with_message(**given: str) -> Transaction:
    return a_transaction("s@example.com", "u@example.test", message=given.get("message", "\nHi\n"))


@pytest.mark.parametrize(
    ("size", "length"),
    [
        (0, b"\x00"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\x01"),
    ],
)
def test_record_lengths(size: int, length: bytes) -> None:
    assert record(b"N", b"x" * size) == b"N" + length + b"x" * size


async def test_message_and_envelope_arrive(tmp_path: Path) -> None:
    fake = FakeCleanup()
    session = a_session("203.0.113.7", ehlo="client.example")
    tx = a_transaction(
        "s@example.com",
        "a@example.test",
        "b@example.test",
        session=session,
        message="Subject: x\n\nHi\n.\n\nend",
        parameters={"BODY": "8BITMIME"},
    )
    async with listening(fake, tmp_path / "cleanup") as address:
        result = await submit(address, tx)
    assert result == CleanupResult(CleanupStatus(0), "", QUEUE_ID)
    assert fake.flags == 114
    assert fake.values(b"S") == [b"s@example.com"]
    assert fake.values(b"R") == [b"a@example.test", b"b@example.test"]
    assert fake.content == b"Subject: x\r\n\r\nHi\r\n.\r\n\r\nend\r\n"
    kinds = b"".join(kind for kind, _ in fake.records)
    assert kinds.startswith(b"TA")
    assert kinds.rstrip(b"XEN").endswith(b"ASRRM")
    assert {
        b"rewrite_context=remote",
        b"encoding=8bit",
        b"log_client_address=203.0.113.7",
        b"log_helo_name=client.example",
        b"log_protocol_name=ESMTP",
        b"client_address_type=2",
    } <= set(fake.values(b"A"))


@pytest.mark.parametrize(
    ("confirmed", "claimed", "expected"),
    [
        ("a.example", "b.example", ["a.example", "b.example"]),
        (None, "b.example", ["unknown", "b.example"]),
        (None, None, ["unknown", "unknown"]),
    ],
)
async def test_only_a_confirmed_name_is_the_clients(
    confirmed: str | None, claimed: str | None, expected: list[str]
) -> None:
    session = a_session("203.0.113.7", client_name=confirmed, reverse_name=claimed)
    await session.resolve_client_name()
    records = envelope_records(a_transaction(session=session), 0)
    name, reverse_name = expected
    for attribute in (
        f"client_name={name}",
        f"log_client_name={name}",
        f"log_message_origin={name}[203.0.113.7]",
        f"reverse_client_name={reverse_name}",
    ):
        assert record(b"A", attribute.encode()) in records


async def test_tcp_socket() -> None:
    fake = FakeCleanup()
    async with listening_tcp(fake) as address:
        result = await submit(address, a_transaction_with_message())
    assert (result.queue_id, fake.connections) == (QUEUE_ID, 1)


async def test_null_sender_and_addresses_are_not_quoted(tmp_path: Path) -> None:
    fake = FakeCleanup()
    tx = a_transaction("", '"a \\"b"@example.test', message="\n")
    async with listening(fake, tmp_path / "cleanup") as address:
        await submit(address, tx)
    assert fake.values(b"S") == [b""]
    assert fake.values(b"R") == [b'a "b@example.test']


async def test_addresses_are_as_the_client_wrote_them(tmp_path: Path) -> None:
    fake = FakeCleanup()
    tx = a_transaction("S@Example.COM", "U@B\xfccher.Example", message="\n")
    async with listening(fake, tmp_path / "cleanup") as address:
        await submit(address, tx)
    assert fake.values(b"S") == [b"S@Example.COM"]
    assert fake.values(b"R") == ["U@B\xfccher.Example".encode()]


@pytest.mark.parametrize(
    ("tx", "flag"),
    [
        (a_transaction("s@example.com", "u@example.test", message="\n"), 0),
        (a_transaction("s@example.com", "ü@example.test", message="\n"), 256),
        (a_transaction("é@example.com", "u@example.test", message="\n"), 256),
        (a_transaction("", "u@example.test", message="\n", parameters={"SMTPUTF8": None}), 256),
    ],
)
async def test_smtputf8_is_passed_on(tmp_path: Path, tx: Transaction, flag: int) -> None:
    fake = FakeCleanup()
    async with listening(fake, tmp_path / "cleanup") as address:
        await submit(address, tx, CleanupFlag.FLAG_NONE)
    assert fake.flags == flag


def test_wishes_about_notices() -> None:
    """As Postfix's SMTP server writes them: decoded, and each before its recipient."""
    tx = a_transaction("", "a@x.test", "b@x.test", parameters={"RET": "hdrs", "ENVID": "a+2Bb"})
    tx.recipients[0].parameters.update({"NOTIFY": "delay,SUCCESS,delay", "ORCPT": "rfc822;o+2B@y"})
    tx.recipients[1].parameters.update({"NOTIFY": "NEVER", "ORCPT": "utf-8;ü@y"})
    records = envelope_records(tx, 1)
    assert record(b"A", b"ret_flags=2") in records
    assert record(b"A", b"envelope_id=a+b") in records
    first = (b"notify_flags=10", b"dsn_orig_rcpt=rfc822;o+@y")
    second = (b"notify_flags=1", "dsn_orig_rcpt=utf-8;ü@y".encode())
    assert records.endswith(
        b"".join(
            (
                *(record(b"A", wish) for wish in first),
                record(b"R", b"a@x.test"),
                *(record(b"A", wish) for wish in second),
                record(b"R", b"b@x.test"),
                record(b"M"),
            )
        )
    )


def test_no_wishes_about_notices() -> None:
    records = envelope_records(a_transaction("", "a@x.test"), 1)
    assert not any(word in records for word in (b"ret_", b"notify_", b"envelope_id", b"dsn_"))


def test_relay_clients_headers_are_completed() -> None:
    tx = a_transaction(session=a_session("2001:db8::1", helo="h", relay_client=True))
    tx.session.auth_user = "joe\0\nx"
    records = envelope_records(tx, 1)
    assert record(b"A", b"rewrite_context=local") in records
    assert record(b"A", b"sasl_username=joe??x") in records
    assert record(b"A", b"log_protocol_name=SMTP") in records
    assert record(b"A", b"client_address_type=10") in records


async def test_refusal(tmp_path: Path) -> None:
    fake = FakeCleanup(answer=attributes(status=8, reason="5.7.1 no"))
    async with listening(fake, tmp_path / "cleanup") as address:
        result = await submit(address, a_transaction_with_message())
    assert (result.status, result.reason) == (CleanupStatus.CONTENT, "5.7.1 no")


@pytest.mark.parametrize(
    "fake",
    [
        FakeCleanup(leave=True),
        FakeCleanup(answer=attributes(reason="none")),
        FakeCleanup(answer=attributes(status="fine")),
        FakeCleanup(answer=b"status\0"),
        FakeCleanup(hello=b"x\0y\0" * 100, answer=b""),
        FakeCleanup(hello=b"x" * 100_000),
    ],
    ids=["leaves", "no-status", "no-number", "cut", "endless", "no-protocol"],
)
async def test_everything_unclear_is_an_error(tmp_path: Path, fake: FakeCleanup) -> None:
    async with listening(fake, tmp_path / "cleanup") as address:
        with pytest.raises(CleanupError):
            await submit(address, a_transaction_with_message())


async def test_silence_ends(tmp_path: Path) -> None:
    async with listening(FakeCleanup(silent=True), tmp_path / "cleanup") as address:
        with pytest.raises(CleanupError, match="timed out"):
            async with await Cleanup.connect(address, 0.02) as connection:
                await connection.submit(a_transaction_with_message(), CleanupFlag.FLAG_NONE)


async def test_receiver_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    hello = FakeCleanup().hello

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello)
        await asyncio.Event().wait()

    tx = a_transaction("", "u@example.test", message="\n" + "x" * 4_000_000)
    async with stream_server(serve, tmp_path / "cleanup"):
        with pytest.raises(CleanupError, match="timed out"):
            async with await Cleanup.connect(str(tmp_path / "cleanup"), 0.05) as connection:
                await connection.submit(tx, CleanupFlag.FLAG_NONE)


@pytest.mark.parametrize("address", ["/nonexistent/cleanup", "127.0.0.1:1", "[::1]:1"])
async def test_nobody_there(address: str) -> None:
    with pytest.raises(CleanupError, match="cannot connect"):
        await Cleanup.connect(address, PATIENCE)


async def test_leaving_early_sends_no_end(tmp_path: Path) -> None:
    fake = FakeCleanup()
    async with (
        listening(fake, tmp_path / "cleanup") as address,
        await Cleanup.connect(address, PATIENCE),
    ):
        pass
    assert (b"E", b"") not in fake.records


def decode(data: bytes) -> tuple[bytes, int]:
    """The lines of content records, and the longest record."""
    text, longest = b"", 0
    while data:
        kind, data = data[:1], data[1:]
        length = shift = 0
        while True:
            digit, data = data[0], data[1:]
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                break
        longest = max(longest, length)
        text += data[:length] + (b"\r\n" if kind == b"N" else b"")
        assert kind in (b"N", b"L")
        data = data[length:]
    return text, longest


lines = st.lists(
    st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b""))
    | st.integers(CHUNK - 2, 3 * CHUNK).map(lambda n: b"x" * n),
    max_size=8,
)


@given(lines, st.lists(st.integers(0, 20_000), max_size=6), st.booleans())
def test_content_survives_any_blocks(parts: list[bytes], cuts: list[int], ended: bool) -> None:
    message = b"\r\n".join(parts) + (b"\r\n" if ended else b"")
    encoder = ContentEncoder()
    sent, position = b"", 0
    for cut in [*sorted(cuts), len(message)]:
        sent += encoder.feed(message[position:cut])
        position = max(position, cut)
    text, longest = decode(sent + encoder.end())
    assert text == (message if not message or message.endswith(b"\r\n") else message + b"\r\n")
    assert longest <= CHUNK


def test_line_without_end_is_not_collected() -> None:
    encoder = ContentEncoder()
    for _ in range(100):
        encoder.feed(b"x" * 10_000)
    assert len(encoder._rest) <= CHUNK
