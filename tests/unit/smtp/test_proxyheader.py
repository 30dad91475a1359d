# SPDX-License-Identifier: MIT
"""Headers of the PROXY protocol, as the specification's examples and HAProxy 2.6 write them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.smtp.proxyheader import (
    MAX_BINARY,
    MAX_LINE,
    BadHeaderError,
    ProxyHeader,
    crc32c,
    parse,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TCP4 = bytes.fromhex("c0000201 c6336419 9c40 0019")
TCP6 = bytes.fromhex("20010db8000000000000000000000001 20010db8000000000000000000000019 9c40 0019")
CLIENT, LOCAL = Endpoint("192.0.2.1", 40000), Endpoint("198.51.100.25", 25)
CLIENT6, LOCAL6 = Endpoint("2001:db8::1", 40000), Endpoint("2001:db8::19", 25)


def binary(
    block: bytes = TCP4, *, command: int = 0x21, family: int = 0x11, length: int | None = None
) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + block


def vector(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def with_checksum(block: bytes, wrong: int = 0) -> bytes:
    """A header whose last vector is the checksum."""
    plain = binary(block + vector(3, bytes(4)))
    return plain[:-4] + struct.pack("!I", crc32c(plain) ^ wrong)


GOOD = {
    b"PROXY TCP4 192.0.2.1 198.51.100.25 40000 25\r\n": (CLIENT, LOCAL),
    b"PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:19 40000 25\r\n": (CLIENT6, LOCAL6),
    b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6419 40000 25\r\n": (CLIENT, LOCAL),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": (
        Endpoint("255.255.255.255", 65535),
        Endpoint("255.255.255.255", 65535),
    ),
    b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n": (
        Endpoint("ffff:" * 7 + "ffff", 65535),
        Endpoint("ffff:" * 7 + "ffff", 65535),
    ),
    b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n": (Endpoint("0.0.0.0", 0), Endpoint("0.0.0.0", 0)),
    binary(): (CLIENT, LOCAL),
    binary(TCP6, family=0x21): (CLIENT6, LOCAL6),
    binary(TCP4 + vector(4, b"")): (CLIENT, LOCAL),
    binary(TCP4 + vector(1, b"smtp") + vector(0x20, bytes(5)) + vector(0xEE, bytes(300))): (
        CLIENT,
        LOCAL,
    ),
    binary(TCP4 + vector(4, bytes(MAX_BINARY - 16 - 12 - 3))): (CLIENT, LOCAL),
    with_checksum(TCP4): (CLIENT, LOCAL),
    with_checksum(TCP4 + vector(5, b"id")): (CLIENT, LOCAL),
}
OF_THE_PROXY = [
    binary(b"", command=0x20, family=0),
    binary(command=0x20),
    binary(b"anything", command=0x20, family=0xFF),
]
UNUSABLE = {
    b"PROXY UNKNOWN\r\n": "UNKNOWN",
    b"PROXY UNKNOWN " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n": "UNKNOWN",
    b"PROXY UNKNOWN any \xff thing\r\n": "UNKNOWN",
    binary(b"", family=0): "UNSPEC/UNSPEC",
    binary(bytes(216), family=0x31): "UNIX/STREAM",
    binary(bytes(216), family=0x32): "UNIX/DGRAM",
    binary(family=0x12): "INET/DGRAM",
    binary(TCP6, family=0x22): "INET6/DGRAM",
    binary(family=0x10): "INET/UNSPEC",
}
WHOLE = [*GOOD, *OF_THE_PROXY, *UNUSABLE]


#: Recorded: the client is 127.0.0.77, HAProxy 2.6 listens on [::]:44533, and an id is asked for.
RECORDED = bytes.fromhex(
    "0d0a0d0a000d0a515549540a 21210045 00000000000000000000ffff7f00004d"
    "00000000000000000000ffff7f000001 d735adf5 030004ab5e448f"
    "0500173a3a666666663a3132372e302e302e37372d3535303933"
)


def test_a_header_of_haproxy() -> None:
    client, local = Endpoint("127.0.0.77", 55093), Endpoint("127.0.0.1", 44533)
    assert parse(RECORDED + b"EHLO") == ProxyHeader(len(RECORDED), "client", client, local)


@pytest.mark.parametrize("data", GOOD)
def test_the_clients_addresses(data: bytes) -> None:
    assert parse(data) == ProxyHeader(len(data), "client", *GOOD[data])


@pytest.mark.parametrize("data", OF_THE_PROXY)
def test_the_proxy_speaks_for_itself(data: bytes) -> None:
    assert parse(data) == ProxyHeader(len(data), "proxy")


@pytest.mark.parametrize("data", UNUSABLE)
def test_no_addresses_of_tcp(data: bytes) -> None:
    assert parse(data) == ProxyHeader(len(data), "unusable", family=UNUSABLE[data])


@pytest.mark.parametrize("data", WHOLE)
def test_a_header_is_incomplete_until_its_last_byte(data: bytes) -> None:
    assert {parse(data[:length]) for length in range(len(data))} == {None}


@pytest.mark.parametrize("data", WHOLE)
@pytest.mark.parametrize("behind", [b"\0", b"EHLO x\r\n", b"PROXY UNKNOWN\r\n", bytes(MAX_BINARY)])
def test_what_follows_is_the_clients(data: bytes, behind: bytes) -> None:
    assert parse(data + behind) == parse(data)


def line(family: str = "TCP4", source: str = "192.0.2.1", port: str = "1", more: str = "") -> bytes:
    destination = "198.51.100.25" if family == "TCP4" else "2001:db8::19"
    return f"PROXY {family} {source} {destination} {port} 25{more}\r\n".encode("latin-1")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        # the beginning
        (b"EHLO client.example\r\n", "does not begin like a header"),
        (b"\x16\x03\x01", "does not begin like a header"),
        (b"proxy ", "does not begin like a header"),
        (b"PROXYX", "does not begin like a header"),
        (b"\r\n\r\n\0\r\nQUIX", "does not begin like a header"),
        (b"\r\nX", "does not begin like a header"),
        # lines
        (b"PROXY \r\n", "malformed line"),
        (b"PROXY TCP4\r\n", "malformed line"),
        (b"PROXY TCP5 192.0.2.1 198.51.100.25 1 25\r\n", "malformed line"),
        (b"PROXY  TCP4 192.0.2.1 198.51.100.25 1 25\r\n", "malformed line"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.25 1 25\n", "malformed line"),
        (b"PROXY UNKNOWN\n", "malformed line"),
        (b"PROXY UNKNOWN \rEHLO x\r\n", "malformed line"),
        (b"PROXY UNKNOWNX\r\n", "malformed line"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.25 1 25\nQUIT\r\n", "malformed line"),
        (line(more=" "), "malformed line"),
        (line(more=" 1"), "malformed line"),
        (line(port="01"), "malformed line"),
        (line(port="-1"), "malformed line"),
        (line(port="+1"), "malformed line"),
        (line(port=""), "malformed line"),
        (line(port="\u00b2"), "malformed line"),
        (line(port="65536"), "port too high"),
        (line(port="100000"), "malformed line"),
        (line(source="192.0.2.01"), "malformed TCP4 address"),
        (line(source="192.0.2.256"), "malformed TCP4 address"),
        (line(source="192.0.2"), "malformed TCP4 address"),
        (line(source="2001:db8::1"), "malformed TCP4 address"),
        (line("TCP6", "192.0.2.1"), "malformed TCP6 address"),
        (line("TCP6", "1::2::3"), "malformed TCP6 address"),
        (line("TCP6", "fe80::1%eth0"), "malformed line"),
        (b"PROXY " + b"x" * (MAX_LINE - 6), "line too long"),
        (b"PROXY UNKNOWN " + b"x" * (MAX_LINE - 15) + b"\r\n", "line too long"),
        # blocks
        (binary(command=0x11), "unknown version or command"),
        (binary(command=0x31), "unknown version or command"),
        (binary(command=0x22), "unknown version or command"),
        (binary(family=0x41), "unknown family or transport"),
        (binary(family=0x13), "unknown family or transport"),
        (binary(length=MAX_BINARY - 15), "too long"),
        (binary(command=0x20, length=0xFFFF), "too long"),
        (binary(TCP4[:-1]), "too short for its addresses"),
        (binary(b""), "too short for its addresses"),
        (binary(TCP4, family=0x21), "too short for its addresses"),
        # vectors
        (binary(TCP4 + b"\4"), "vector cut off"),
        (binary(TCP4 + b"\4\0"), "vector cut off"),
        (binary(TCP4 + b"\4\0\1"), "vector cut off"),
        (binary(TCP4 + b"\4\0\1") + b"x", "vector cut off"),
        (binary(TCP4 + vector(4, b"") + b"\4\xff\xff"), "vector cut off"),
        (with_checksum(TCP4, wrong=1), "wrong checksum"),
        (binary(TCP4 + vector(3, b"")), "wrong checksum"),
        (binary(TCP4 + vector(3, bytes(5))), "wrong checksum"),
    ],
)
def test_no_header(data: bytes, reason: str) -> None:
    with pytest.raises(BadHeaderError) as caught:
        parse(data)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "data",
    [
        binary(command=0x11)[:16],
        binary(family=0x41)[:16],
        binary(length=0xFFFF)[:16],
        b"PROXY UNKNOWN " + b"x" * (MAX_LINE - 14),
    ],
)
def test_no_more_bytes_are_waited_for_than_needed(data: bytes) -> None:
    with pytest.raises(BadHeaderError):
        parse(data)
    assert parse(data[:-1]) is None


def test_the_checksum() -> None:
    # Test vectors of RFC 3720 appendix B.4.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_a_changed_byte_breaks_the_checksum() -> None:
    header = with_checksum(TCP4)
    changed = [header[:at] + bytes([header[at] ^ 1]) + header[at + 1 :] for at in range(16, 28)]
    for data in changed:
        with pytest.raises(BadHeaderError, match="wrong checksum"):
            parse(data)


# --- properties -------------------------------------------------------------------------------

ports = st.integers(0, 0xFFFF)
addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)
Pair = tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]


def normal(address: IPv4Address | IPv6Address) -> str:
    return str(getattr(address, "ipv4_mapped", None) or address)


def in_version_1(pair: Pair, source_port: int, destination_port: int) -> bytes:
    family = f"TCP{pair[0].version}"
    return f"PROXY {family} {pair[0]} {pair[1]} {source_port} {destination_port}\r\n".encode()


def in_version_2(pair: Pair, source_port: int, destination_port: int) -> bytes:
    family = 0x11 if pair[0].version == 4 else 0x21
    block = struct.pack("!HH", source_port, destination_port)
    return binary(pair[0].packed + pair[1].packed + block, family=family)


@pytest.mark.parametrize("write", [in_version_1, in_version_2])
@given(pair=addresses, source_port=ports, destination_port=ports, behind=st.binary(max_size=9))
def test_round_trip(
    write: Callable[[Pair, int, int], bytes],
    pair: Pair,
    source_port: int,
    destination_port: int,
    behind: bytes,
) -> None:
    data = write(pair, source_port, destination_port)
    header = parse(data + behind)
    assert header == ProxyHeader(
        len(data),
        "client",
        Endpoint(normal(pair[0]), source_port),
        Endpoint(normal(pair[1]), destination_port),
    )


def test_both_texts_of_a_mapped_address_are_one_client() -> None:
    mapped = ip_address("::ffff:192.0.2.7")
    assert isinstance(mapped, IPv6Address)
    headers = [parse(write((mapped, mapped), 1, 2)) for write in (in_version_1, in_version_2)]
    assert [header and header.client for header in headers] == [Endpoint("192.0.2.7", 1)] * 2


beginnings = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"])


@given(beginnings, st.binary(max_size=200))
def test_any_bytes(beginning: bytes, more: bytes) -> None:
    """Never anything but an answer, the same however much follows, and never beyond the bytes."""
    data = beginning + more
    try:
        header = parse(data)
    except BadHeaderError:
        with pytest.raises(BadHeaderError):
            parse(data + b"more")
        return
    if header is None:
        assert len(data) < MAX_BINARY
        return
    assert 0 < header.length <= len(data)
    assert parse(data[: header.length]) == header
    assert (header.client is None) == (header.kind != "client")


@given(st.sampled_from(WHOLE), st.integers(0, 500), st.integers(0, 255))
def test_a_header_with_one_other_byte(data: bytes, at: int, byte: int) -> None:
    at %= len(data)
    try:
        header = parse(data[:at] + bytes([byte]) + data[at + 1 :])
    except BadHeaderError:
        return
    assert header is None or header.length <= len(data)
