# SPDX-License-Identifier: MIT
"""The header with which a proxy says whose connection it passes on: PROXY protocol 1 and 2.

`parse` looks at what a connection has brought so far and says what it is. It never waits, and it
reads nothing beyond the header. The sections named here are those of HAProxy's proxy-protocol.txt
(2020-03-05).
"""

from __future__ import annotations

import functools
import re
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from qpsmtpd.mail.ip import Endpoint, canonical_ip

#: Bytes of the longest header of version 1, CRLF included (section 2.1).
MAX_LINE = 107
#: Bytes of the longest header of version 2 that is read. Senders keep to 536 (section 2); the
#: format itself would let every waiting connection hold 64 KB.
MAX_BINARY = 4096

_LINE_START = b"PROXY "
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
#: Signature, version and command, family and transport, bytes that follow (section 2.2).
_FIXED = struct.Struct("!12sBBH")

_PORT = "(0|[1-9][0-9]{0,4})"
_ADDRESSES = re.compile(rf"PROXY (TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) {_PORT} {_PORT}\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")

_VERSION = 2
_LOCAL, _PROXY = 0, 1
_FAMILIES = ("UNSPEC", "INET", "INET6", "UNIX")
_TRANSPORTS = ("UNSPEC", "STREAM", "DGRAM")
#: Both addresses and both ports, by family and transport.
_TCP = {
    (1, 1): (socket.AF_INET, struct.Struct("!4s4sHH")),
    (2, 1): (socket.AF_INET6, struct.Struct("!16s16sHH")),
}
_TLV = struct.Struct("!BH")
_CRC32C = 3  # type of the TLV with a checksum (section 2.2.3)


class BadHeaderError(ValueError):
    """The bytes are not a header, whatever follows; the text says why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header that was read.

    length: its bytes; what follows them is the client's.
    kind: "client" when it names both ends of the client's connection; "proxy" when the proxy
    speaks for itself (its health checks); "unusable" when the client has no TCP addresses.
    client, local: the ends of the client's connection, None unless kind is "client".
    family: what an unusable header named in place of TCP.
    """

    length: int
    kind: Literal["client", "proxy", "unusable"]
    client: Endpoint | None = None
    local: Endpoint | None = None
    family: str = ""


def parse(data: bytes) -> ProxyHeader | None:
    """The header that the bytes begin with; None while it is incomplete.

    Raises BadHeaderError as soon as the bytes cannot become a header.
    """
    if data.startswith(_LINE_START):
        return _parse_line(data)
    if data.startswith(_SIGNATURE):
        return _parse_binary(data)
    if _LINE_START.startswith(data) or _SIGNATURE.startswith(data):
        return None
    raise BadHeaderError("does not begin like a header")


# --- version 1 (section 2.1) ------------------------------------------------------------------


def _parse_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, MAX_LINE) + 1
    if not end:
        if len(data) >= MAX_LINE:
            raise BadHeaderError("line too long")
        return None
    line = data[:end]
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(end, "unusable", family="UNKNOWN")
    match = _ADDRESSES.fullmatch(line.decode("latin-1"))
    if not match:
        raise BadHeaderError("malformed line")
    family, source, destination, source_port, destination_port = match.groups()
    client = _text_endpoint(family, source, source_port)
    local = _text_endpoint(family, destination, destination_port)
    return ProxyHeader(end, "client", client, local)


def _text_endpoint(family: str, address: str, port: str) -> Endpoint:
    try:
        parsed = IPv4Address(address) if family == "TCP4" else IPv6Address(address)
    except ValueError:
        raise BadHeaderError(f"malformed {family} address") from None
    if int(port) > 0xFFFF:
        raise BadHeaderError("port too high")
    return Endpoint(canonical_ip(str(parsed)), int(port))


# --- version 2 (section 2.2) ------------------------------------------------------------------


def _parse_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED.size:
        return None
    _, version_command, family_transport, following = _FIXED.unpack_from(data)
    version, command = divmod(version_command, 16)
    family, transport = divmod(family_transport, 16)
    length = _FIXED.size + following
    if version != _VERSION or command not in (_LOCAL, _PROXY):
        raise BadHeaderError("unknown version or command")
    if length > MAX_BINARY:
        raise BadHeaderError("too long")
    if command == _PROXY and (family >= len(_FAMILIES) or transport >= len(_TRANSPORTS)):
        raise BadHeaderError("unknown family or transport")
    if len(data) < length:
        return None
    if command == _LOCAL:
        return ProxyHeader(length, "proxy")
    if (family, transport) not in _TCP:
        names = f"{_FAMILIES[family]}/{_TRANSPORTS[transport]}"
        return ProxyHeader(length, "unusable", family=names)
    return _parse_tcp(data[:length], *_TCP[family, transport])


def _parse_tcp(header: bytes, family: socket.AddressFamily, block: struct.Struct) -> ProxyHeader:
    begin = _FIXED.size
    if len(header) < begin + block.size:
        raise BadHeaderError("too short for its addresses")
    source, destination, source_port, destination_port = block.unpack_from(header, begin)
    _check_vectors(header, begin + block.size)
    client = Endpoint(_packed_address(family, source), source_port)
    local = Endpoint(_packed_address(family, destination), destination_port)
    return ProxyHeader(len(header), "client", client, local)


def _packed_address(family: socket.AddressFamily, packed: bytes) -> str:
    return canonical_ip(socket.inet_ntop(family, packed))


def _check_vectors(header: bytes, begin: int) -> None:
    """Skip the type-length-value vectors; a checksum among them has to be right."""
    while begin < len(header):
        value = begin + _TLV.size
        if value > len(header):
            raise BadHeaderError("vector cut off")
        kind, size = _TLV.unpack_from(header, begin)
        begin = value + size
        if begin > len(header):
            raise BadHeaderError("vector cut off")
        if kind == _CRC32C and not _checksum_is_right(header, value, begin):
            raise BadHeaderError("wrong checksum")


def _checksum_is_right(header: bytes, begin: int, end: int) -> bool:
    stated = header[begin:end]
    return stated == crc32c(header[:begin] + bytes(4) + header[end:]).to_bytes(4, "big")


def crc32c(data: bytes) -> int:
    """The checksum of RFC 9260 appendix A (Castagnoli's polynomial)."""
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@functools.cache
def _crc32c_table() -> tuple[int, ...]:
    def entry(number: int) -> int:
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        return number

    return tuple(map(entry, range(256)))
