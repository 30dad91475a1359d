# SPDX-License-Identifier: MIT
"""NameServer: puts one question to one name server, and reads what it says.

dnspython reads and checks the wire format, but for answers that there is nothing, as most answers
to a mail filter are: reading one by hand costs a twentieth.  Sending is our own as well, since a
query through dns.asyncquery costs several times as much as everything done here:

- Queries go by UDP without EDNS, and again by TCP when the answer was truncated.
- A socket is connected to its name server, so the kernel drops what comes from elsewhere; its port
  is chosen by the kernel at random, and a new one is taken after some queries or seconds.  Ids are
  random.  An answer counts when id and question are ours (RFC 5452).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
from dns.rdatatype import RdataType

from qpsmtpd.errors import DnsError

MAX_TTL = 3600
MAX_NEGATIVE_TTL = 900
#: How long it is remembered that a name server failed, or what came without any TTL.
FAILURE_TTL = 5

_QUERIES_PER_PORT = 100
_SECONDS_PER_PORT = 2.0
_READS_PER_TURN = 64
# After the id: RD (recursion desired), one question, no records.
_HEADER = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"

#: Flags of a server that can know that there is nothing.
_MAY_SAY_SO = dns.flags.RA | dns.flags.AA
#: Type, class, TTL and length of a record; the last field of SOA.
_record = struct.Struct(">HxxIH")
_minimum = struct.Struct(">I")
_LEAST_SOA = 22

_random = random.SystemRandom()
_idna = dns.name.IDNA_2008_Practical if dns.name.have_idna_2008 else dns.name.IDNA_2003_Practical


class NameServer:
    """One name server at a numeric address; OSError (gaierror) when it is none."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        self._family = infos[0][0]
        self._sockaddr = infos[0][4]
        self._udp: _UdpPort | None = None

    def __str__(self) -> str:
        return f"{self._host}:{self._port}"

    async def ask(self, question: bytes) -> bytes:
        """The answer in wire format.  Raises OSError or DnsError; waits without an end."""
        answer = await self._udp_port().ask(question)
        truncated = answer[2] & 0x02
        return await self._ask_tcp(question) if truncated else answer

    def close(self) -> None:
        """Close the socket; what waits on it gets no answer."""
        if self._udp is not None:
            self._udp.close()
            self._udp = None

    def _udp_port(self) -> _UdpPort:
        if self._udp is not None and self._udp.worn_out:
            self._udp.retire()
            self._udp = None
        if self._udp is None:
            self._udp = _UdpPort(self._family, self._sockaddr)
        return self._udp

    async def _ask_tcp(self, question: bytes) -> bytes:
        query = _query(_random.getrandbits(16), question)
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(len(query).to_bytes(2, "big") + query)
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = await reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise DnsError("the connection was closed early") from None
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if not is_answer(answer, query):
            raise DnsError("the answer does not belong to the question")
        return answer


class _UdpPort:
    """A socket connected to a name server, and the queries that wait on it."""

    def __init__(self, family: int, sockaddr: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}
        self._queries = 0
        self._opened = self._loop.time()
        self._retired = False
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(sockaddr)
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket, self._readable)

    @property
    def worn_out(self) -> bool:
        """Whether the port has been in use so long that somebody may have found it out."""
        age = self._loop.time() - self._opened
        return self._queries >= _QUERIES_PER_PORT or age > _SECONDS_PER_PORT

    async def ask(self, question: bytes) -> bytes:
        number = _random.getrandbits(16)
        while number in self._waiting:
            number = _random.getrandbits(16)
        query = _query(number, question)
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[number] = (query, future)
        self._queries += 1
        try:
            # A full socket buffer loses the query, as the network might.
            with contextlib.suppress(BlockingIOError):
                self._socket.send(query)
            return await future
        finally:
            del self._waiting[number]
            self._close_when_done()

    def retire(self) -> None:
        """Close as soon as nobody waits any more."""
        self._retired = True
        self._close_when_done()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _close_when_done(self) -> None:
        if self._retired and not self._waiting:
            self.close()

    def _readable(self) -> None:
        for _ in range(_READS_PER_TURN):
            try:
                answer = self._socket.recv(65535)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(error)
                return
            self._deliver(answer)

    def _deliver(self, answer: bytes) -> None:
        query, future = self._waiting.get(int.from_bytes(answer[:2], "big"), (b"", None))
        if future is not None and not future.done() and is_answer(answer, query):
            future.set_result(answer)

    def _fail(self, error: OSError) -> None:
        """Nobody listens there (ICMP), so none of those who wait will get an answer."""
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(error)


def _query(number: int, question: bytes) -> bytes:
    return number.to_bytes(2, "big") + _HEADER + question


def is_answer(answer: bytes, query: bytes) -> bool:
    """Whether a message is a response with the id and the question of the query.

    The name may come back in another case: length octets are below "A", so it is safe to fold.
    """
    return (
        len(answer) >= len(query)
        and answer[:2] == query[:2]
        and answer[2] & 0xF8 == 0x80
        and answer[4:6] == b"\x00\x01"
        and answer[12 : len(query)].lower() == query[12:].lower()
    )


def encode_name(name: str) -> bytes | None:
    """A name in wire format and lower case; None when the DNS cannot be asked about it."""
    try:
        labels = [_encode_label(label) for label in name.removesuffix(".").split(".")]
    except (UnicodeError, dns.exception.DNSException):
        return None
    if not all(0 < len(label) <= 63 for label in labels):
        return None
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return wire.lower() if len(wire) <= 255 else None


def _encode_label(label: str) -> bytes:
    return label.encode("ascii") if label.isascii() else _idna.encode(label)


def read_answer(wire: bytes, kind: RdataType) -> tuple[tuple[Any, ...], int]:
    """The data of an answer and for how many seconds they hold; no data when there are none.

    Raises DnsError when the server failed, or the answer is malformed.
    """
    absent = _seconds_of_absence(wire)
    if absent is not None:
        return (), absent
    try:
        message = dns.message.from_wire(wire)
        assert isinstance(message, dns.message.QueryMessage)
        rcode = message.rcode()
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise DnsError(dns.rcode.to_text(rcode))
        chain = message.resolve_chaining()
    except dns.exception.DNSException as error:
        raise DnsError(f"malformed answer ({type(error).__name__})") from None
    if chain.answer is not None:
        read = _READERS[kind]
        return tuple(sorted(map(read, chain.answer))), min(chain.minimum_ttl, MAX_TTL)
    if rcode == dns.rcode.NOERROR and not message.flags & _MAY_SAY_SO:
        raise DnsError("the server gives no recursion")
    # Without an SOA record nothing says how long this holds (RFC 2308 section 5).
    known = any(rrset.rdtype == RdataType.SOA for rrset in message.authority)
    return (), min(chain.minimum_ttl, MAX_NEGATIVE_TTL) if known else FAILURE_TTL


def _seconds_of_absence(wire: bytes) -> int | None:
    """For how many seconds a plain negative answer holds (RFC 2308); None leaves it to dnspython.

    Plain is an answer that has nothing but a question and name servers.
    """
    if len(wire) < 12 or wire[4:8] + wire[10:12] != b"\x00\x01\x00\x00\x00\x00":
        return None
    flags = int.from_bytes(wire[2:4], "big")
    rcode = flags & 0x0F
    if rcode != dns.rcode.NXDOMAIN and not (rcode == dns.rcode.NOERROR and flags & _MAY_SAY_SO):
        return None
    seconds = []
    try:
        position = _after_name(wire, len(_HEADER) + 2) + 4
        for _ in range(int.from_bytes(wire[8:10], "big")):
            position = _after_name(wire, position)
            kind, ttl, length = _record.unpack_from(wire, position)
            position += _record.size + length
            if kind == RdataType.SOA and length >= _LEAST_SOA:
                seconds.append(min(ttl, *_minimum.unpack_from(wire, position - _minimum.size)))
    except (IndexError, struct.error):
        return None
    if position != len(wire):
        return None
    return min(min(seconds), MAX_NEGATIVE_TTL) if seconds else FAILURE_TTL


def _after_name(wire: bytes, position: int) -> int:
    """Where a name ends that begins here.  Raises IndexError."""
    while length := wire[position]:
        if length >= 0xC0:  # the rest is elsewhere (RFC 1035 section 4.1.4)
            return position + 2
        position += 1 + length
    return position + 1


def _host(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True)


def _text(rdata: Any) -> str:
    return b"".join(rdata.strings).decode("utf-8", "replace")


_READERS: dict[RdataType, Callable[[Any], Any]] = {
    RdataType.A: lambda rdata: rdata.address,
    RdataType.AAAA: lambda rdata: rdata.address,
    RdataType.MX: lambda rdata: (rdata.preference, _host(rdata.exchange)),
    RdataType.TXT: _text,
    RdataType.NS: lambda rdata: _host(rdata.target),
    RdataType.PTR: lambda rdata: _host(rdata.target),
}
