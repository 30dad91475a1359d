# SPDX-License-Identifier: MIT
"""nameserver.py: the wire, against a name server on loopback; forged and broken answers."""

import asyncio
import contextlib
import struct
from collections.abc import Callable
from unittest import mock

import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest
from dns.rcode import Rcode
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.dns import nameserver
from qpsmtpd.dns.nameserver import (
    FAILURE_TTL,
    MAX_NEGATIVE_TTL,
    MAX_TTL,
    NameServer,
    encode_name,
    is_answer,
    read_answer,
)
from qpsmtpd.errors import DnsError
from tests.dns_server import DnsServer

NAME = b"\x01a\x04test\x00"
QUESTION = NAME + b"\x00\x01\x00\x01"
RECORDS = {("A", "a.test"): ["192.0.2.1"]}


def response(**changes: int) -> dns.message.Message:
    message = dns.message.make_response(dns.message.make_query("a.test", "A"))
    message.flags |= changes.get("flags", dns.flags.RA)
    return message


def read(message: dns.message.Message, kind: RdataType = RdataType.A) -> tuple[object, int]:
    return read_answer(message.to_wire(), kind)


async def ask(server: DnsServer) -> list[str]:
    asked = NameServer(*server.address)
    try:
        async with asyncio.timeout(10):
            return list(read_answer(await asked.ask(QUESTION), RdataType.A)[0])
    finally:
        asked.close()


# --- names ----------------------------------------------------------------------------------


def test_encode_name_folds_case_and_drops_the_final_dot() -> None:
    assert encode_name("A.Test.") == encode_name("a.test") == NAME


@pytest.mark.parametrize(
    "name", ["", ".", "a..test", ".test", "a" * 64, "a." * 127 + "bc", "\udc80"]
)
def test_names_that_cannot_be_asked(name: str) -> None:
    assert encode_name(name) is None


def test_the_longest_name() -> None:
    assert len(encode_name("a." * 126 + "b") or b"") == 255


def test_a_backslash_is_an_octet_like_others() -> None:
    assert encode_name("a\\.test") == b"\x02a\\\x04test\x00"


def test_u_labels_become_a_labels() -> None:
    assert encode_name("bücher.test") == b"\x0dxn--bcher-kva\x04test\x00"


@given(st.text())
def test_encode_name_never_fails_and_dnspython_reads_it(name: str) -> None:
    wire = encode_name(name)
    if wire is not None:
        assert dns.name.from_wire(wire, 0)[1] == len(wire)


# --- answers --------------------------------------------------------------------------------


def test_ttl_is_limited() -> None:
    message = response()
    message.answer.append(dns.rrset.from_text("a.test.", 99999, "IN", "A", "192.0.2.1"))
    assert read(message) == (("192.0.2.1",), MAX_TTL)


def test_negative_ttl_is_the_minimum_of_the_soa_and_limited() -> None:
    for minimum, ttl in ((60, 60), (99999, MAX_NEGATIVE_TTL)):
        message = response()
        soa = f". . 1 2 3 4 {minimum}"
        message.authority.append(dns.rrset.from_text("test.", 99999, "IN", "SOA", soa))
        assert read(message) == ((), ttl)


def test_no_data_without_soa_is_remembered_shortly() -> None:
    assert read(response()) == ((), FAILURE_TTL)


_SECONDS = st.integers(0, 2**31 - 1)
_SOA = st.tuples(st.just("SOA"), _SECONDS, st.builds("ns. host. 1 2 3 4 {}".format, _SECONDS))
_NS = st.tuples(st.just("NS"), _SECONDS, st.sampled_from(["ns.test.", "a.test."]))


@given(
    st.sampled_from(["test.", "."]),
    st.lists(st.one_of(_SOA, _NS), max_size=3, unique_by=lambda record: record[0]),
    st.sampled_from([Rcode.NOERROR, Rcode.NXDOMAIN]),
)
def test_dnspython_reads_the_same_from_a_negative_answer(
    owner: str, records: list[tuple[str, int, str]], rcode: Rcode
) -> None:
    message = response()
    message.set_rcode(rcode)
    for kind, ttl, text in records:
        message.authority.append(dns.rrset.from_text(owner, ttl, "IN", kind, text))
    assert nameserver._seconds_of_absence(message.to_wire()) is not None
    with mock.patch.object(nameserver, "_seconds_of_absence", return_value=None):
        by_dnspython = read(message)
    assert read(message) == by_dnspython


@given(st.binary(max_size=60), st.integers(0, 100))
def test_any_end_of_a_negative_answer(end: bytes, position: int) -> None:
    message = response()
    message.authority.append(dns.rrset.from_text("test.", 60, "IN", "SOA", ". . 1 2 3 4 60"))
    with contextlib.suppress(DnsError):
        assert read_answer(message.to_wire()[:position] + end, RdataType.A)[1] <= MAX_TTL


def test_a_referral_is_a_failure() -> None:
    with pytest.raises(DnsError, match="recursion"):
        read(response(flags=0))


def test_nxdomain_with_an_answer_is_malformed() -> None:
    message = response()
    message.answer.append(dns.rrset.from_text("a.test.", 60, "IN", "A", "192.0.2.1"))
    message.set_rcode(Rcode.NXDOMAIN)
    with pytest.raises(DnsError, match="malformed"):
        read(message)


def test_a_cname_loop_is_malformed() -> None:
    message = response()
    message.answer.append(dns.rrset.from_text("a.test.", 60, "IN", "CNAME", "a.test."))
    with pytest.raises(DnsError, match="malformed"):
        read(message)


@given(st.binary(max_size=60))
def test_garbage_after_the_header_is_never_another_exception(tail: bytes) -> None:
    wire = struct.pack("!HHHHHH", 1, 0x8180, 1, 1, 0, 0) + QUESTION + tail
    try:
        data, ttl = read_answer(wire, RdataType.A)
    except DnsError:
        return
    assert isinstance(data, tuple)
    assert 0 <= ttl <= MAX_TTL


def test_is_answer() -> None:
    query = b"\x12\x34" + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + QUESTION
    good = b"\x12\x34" + b"\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00" + QUESTION
    assert is_answer(good, query)
    assert is_answer(good.replace(b"test", b"TesT"), query)
    assert not is_answer(query, query)
    assert not is_answer(good[:-1], query)
    assert not is_answer(b"\x12\x35" + good[2:], query)
    assert not is_answer(good.replace(b"test", b"tesd"), query)
    assert not is_answer(good[:5] + b"\x02" + good[6:], query)
    assert not is_answer(good[:2] + b"\xa1" + good[3:], query)  # opcode NOTIFY


# --- transport ------------------------------------------------------------------------------


async def test_an_answer_by_udp() -> None:
    async with DnsServer(RECORDS) as server:
        assert await ask(server) == ["192.0.2.1"]
        assert server.asked == [("A", "a.test", "udp")]


async def test_a_truncated_answer_is_fetched_by_tcp() -> None:
    async with DnsServer(RECORDS, truncated=["a.test"]) as server:
        assert await ask(server) == ["192.0.2.1"]
        assert server.asked == [("A", "a.test", "udp"), ("A", "a.test", "tcp")]


def other_id(wire: bytes) -> bytes:
    return bytes([wire[0] ^ 1]) + wire[1:]


@pytest.mark.parametrize(
    "forge",
    [
        other_id,
        lambda wire: wire.replace(b"\x01a\x04test", b"\x01b\x04test"),
        lambda wire: wire[:2] + b"\x01" + wire[3:],
        lambda wire: wire[:11],
        lambda wire: b"",
    ],
    ids=["id", "question", "no response", "short", "empty"],
)
async def test_forged_answers_are_ignored(forge: Callable[[bytes], bytes]) -> None:
    def evil(wire: bytes) -> list[bytes]:
        lie = wire.replace(b"\xc0\x00\x02\x01", b"\x06\x06\x06\x06")
        return [forge(lie), wire]

    async with DnsServer(RECORDS, tamper=evil) as server:
        assert await ask(server) == ["192.0.2.1"]


async def test_nobody_listens() -> None:
    async with DnsServer() as server:
        pass
    with pytest.raises(OSError, match="refused"):
        await ask(server)


async def test_a_wrong_answer_by_tcp_is_a_failure() -> None:
    class Forger(DnsServer):
        def answer(self, wire: bytes, transport: str) -> bytes | None:
            answer = super().answer(wire, transport)
            return other_id(answer) if answer and transport == "tcp" else answer

    async with Forger(RECORDS, truncated=["a.test"]) as server:
        with pytest.raises(DnsError, match="does not belong"):
            await ask(server)


async def test_a_connection_closed_early_is_a_failure() -> None:
    class Mute(DnsServer):
        def answer(self, wire: bytes, transport: str) -> bytes | None:
            return super().answer(wire, transport) if transport == "udp" else None

    async with Mute(RECORDS, truncated=["a.test"]) as server:
        with pytest.raises(DnsError, match="closed early"):
            await ask(server)


async def test_ports_and_ids_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nameserver, "_QUERIES_PER_PORT", 3)
    ids = set()

    def note_id(wire: bytes) -> list[bytes]:
        ids.add(wire[:2])
        return [wire]

    async with DnsServer(RECORDS, tamper=note_id) as server:
        asked = NameServer(*server.address)
        ports = set()
        for _ in range(9):
            await asked.ask(QUESTION)
            assert asked._udp is not None
            ports.add(asked._udp._socket.getsockname())
        asked.close()
    assert len(ports) == 3
    assert len(ids) > 5


async def test_a_worn_out_port_stays_open_while_somebody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nameserver, "_QUERIES_PER_PORT", 1)
    async with DnsServer(RECORDS, silent=["a.test"]) as server:
        asked = NameServer(*server.address)
        waiting = asyncio.create_task(asked.ask(QUESTION))
        await server.was_asked.wait()
        old = asked._udp
        assert old is not None
        await asked.ask(QUESTION.replace(b"a\x04", b"b\x04"))
        assert asked._udp is not old
        assert old._socket.fileno() >= 0
        waiting.cancel()
        await asyncio.wait([waiting])
        assert old._socket.fileno() < 0
        asked.close()


def test_a_name_server_needs_a_numeric_address() -> None:
    with pytest.raises(OSError, match="not known"):
        NameServer("ns.example.com", 53)
