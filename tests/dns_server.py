# SPDX-License-Identifier: MIT
"""A tiny name server on loopback, UDP and TCP, that answers from a dictionary.

async with DnsServer({("A", "mx.test"): ["192.0.2.1"]}) as server:
    resolver = DnsResolver([server.address])

The records look like those of `qpsmtpd.testing.FakeResolver`: ("MX", "a.test"): [(10, "mx.test")],
("PTR", "192.0.2.1"): ["host.test"], an exception as data is SERVFAIL.  CNAMEs are followed.
What is longer than the client takes by UDP comes by TCP (RFC 6891).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from qpsmtpd.testing import Records
from tests.ports import refusing_port
from tests.stream_server import Talks

Tamper = Callable[[bytes], Sequence[bytes]]
#: Makes an answer in wire format of a query in wire format (without EDNS).
Answerer = Callable[[bytes], bytes]

_PORTS_TRIED = 20
_LEAST_PAYLOAD = 512


class DnsServer:
    """Remembers the questions in `asked`, as (kind, name, "udp" or "tcp").

    silent: True, or names that get no answer at all.
    silent_tcp: whether what is asked by TCP gets no answer.
    truncated: names whose answer over UDP is cut off, so that the client must come by TCP.
    late: whether answers over UDP are kept until `send_late` is called.
    tamper: turns an answer over UDP into the datagrams that are sent in its place.
    raw: what makes the answers to some questions, by (kind, name).
    edns: what becomes of queries with EDNS: understood; ignored, as if it were not there; refused
    with FORMERR, or with nothing but a header; no answer at all.
    ttl, negative_ttl: of records, and of "there is no such name".
    address: where to listen; any free port otherwise.
    """

    def __init__(
        self,
        records: Records | None = None,
        *,
        silent: bool | Collection[str] = False,
        truncated: Collection[str] = (),
        late: bool = False,
        tamper: Tamper | None = None,
        silent_tcp: bool = False,
        raw: Mapping[tuple[str, str], Answerer] | None = None,
        edns: Literal["yes", "ignored", "refused", "header", "silent"] = "yes",
        ttl: int = 300,
        negative_ttl: int = 60,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.records = {_owner(key): data for key, data in (records or {}).items()}
        self.silent = silent
        self.truncated = truncated
        self.late = late
        self.tamper = tamper
        self.silent_tcp = silent_tcp
        self.raw = {_owner(key): make for key, make in (raw or {}).items()}
        self.edns = edns
        self.ttl = ttl
        self.negative_ttl = negative_ttl
        self.asked: list[tuple[str, str, str]] = []
        #: Of each question, whether it came with EDNS.
        self.with_edns: list[bool] = []
        #: Set by each question.
        self.was_asked = asyncio.Event()
        self.address = address
        self._kept: list[tuple[bytes, Any]] = []
        self._talks = Talks(self._serve_tcp)

    async def __aenter__(self) -> Self:
        udp, tcp = _same_port(*self.address)
        self.address = udp.getsockname()
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), sock=udp)
        self._server = await asyncio.start_server(self._talks.accept, sock=tcp)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._transport.close()
        await self._talks.end(self._server)

    def send(self, answer: bytes, address: Any) -> None:
        """Send an answer over UDP, as `late` and `tamper` will have it."""
        if self.late:
            self._kept.append((answer, address))
            return
        for datagram in self.tamper(answer) if self.tamper else [answer]:
            self._transport.sendto(datagram, address)

    def send_late(self) -> None:
        """Send all answers that were kept, and keep no more."""
        self.late = False
        for answer, address in self._kept:
            self.send(answer, address)
        self._kept.clear()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = self.answer(await reader.readexactly(size), "tcp")
        if self.silent_tcp:
            await reader.read()
        elif answer is not None:
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """The answer to a query in wire format; None when the server keeps silent."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append((kind, name, transport))
        self.with_edns.append(query.edns >= 0)
        self.was_asked.set()
        if self.silent is True or (self.silent and name in self.silent):
            return None
        if query.edns >= 0 and self.edns != "yes":
            return self._answer_edns(query, transport)
        limit = max(query.payload, _LEAST_PAYLOAD)
        make = self.raw.get((kind, name))
        answer = make(_without_edns(query)) if make else self._make(query, kind, name)
        if transport == "tcp":
            return answer
        cut = name in self.truncated or len(answer) > limit
        return _truncate(query) if cut else answer

    def _answer_edns(self, query: dns.message.Message, transport: str) -> bytes | None:
        if self.edns == "silent":
            return None
        plain = _without_edns(query)
        if self.edns == "ignored":
            return self.answer(plain, transport)
        response = dns.message.make_response(dns.message.from_wire(plain))
        response.set_rcode(dns.rcode.FORMERR)
        if self.edns == "header":
            response.question.clear()
        return response.to_wire()

    def _make(self, query: dns.message.Message, kind: str, name: str) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        self._fill(response, kind, name)
        return response.to_wire(max_size=65_535)

    def _fill(self, response: dns.message.Message, kind: str, name: str) -> None:
        for _ in range(9):
            data = self.records.get((kind, name), ())
            if isinstance(data, Exception):
                response.set_rcode(dns.rcode.SERVFAIL)
                return
            if data:
                response.answer.append(self._rrset(name, kind, data))
                return
            target = self.records.get(("CNAME", name))
            if not target or isinstance(target, Exception):
                break
            response.answer.append(self._rrset(name, "CNAME", target))
            name = str(target[0]).lower()
        if not any(owner == name for _, owner in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = f". . 1 2 3 4 {self.negative_ttl}"
        response.authority.append(dns.rrset.from_text(".", self.negative_ttl, "IN", "SOA", soa))

    def _rrset(self, name: str, kind: str, data: Sequence[Any]) -> dns.rrset.RRset:
        texts = [_rdata(kind, item) for item in data]
        return dns.rrset.from_text_list(f"{name}.", self.ttl, "IN", kind, texts)


@contextlib.contextmanager
def dead_dns_server() -> Iterator[DnsServer]:
    """One that has ended: where it listened, everything is refused."""
    with refusing_port() as port:
        yield DnsServer(address=("127.0.0.1", port))


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        answer = self._server.answer(data, "udp")
        if answer is not None:
            self._server.send(answer, addr)


def _without_edns(query: dns.message.Message) -> bytes:
    query.use_edns(False)
    return query.to_wire()


def _truncate(query: dns.message.Message) -> bytes:
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= dns.flags.TC
    return response.to_wire()


def _owner(key: tuple[str, str]) -> tuple[str, str]:
    kind, name = key
    if kind == "PTR":
        with contextlib.suppress(ValueError):
            name = ipaddress.ip_address(name).reverse_pointer
    return kind, name.lower()


def _rdata(kind: str, item: Any) -> str:
    if kind == "MX":
        return f"{item[0]} {item[1]}."
    if kind == "TXT":
        return " ".join(_quoted(part) for part in _pieces(str(item)))
    return f"{item}." if kind in {"PTR", "NS", "CNAME"} else str(item)


def _pieces(text: str) -> Iterator[str]:
    """The strings of a TXT record, of at most 255 octets each (RFC 1035 section 3.3)."""
    return (text[at : at + 255] for at in range(0, max(len(text), 1), 255))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _same_port(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same port, a free one when it is 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(_PORTS_TRIED):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((host, port))
        tcp = socket.socket(family)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(udp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
            continue
        return udp, tcp
    raise RuntimeError("no port is free for both UDP and TCP")
