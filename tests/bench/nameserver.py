# SPDX-License-Identifier: MIT
"""The name server of the benchmark: few names, and answers made octet by octet.

tests/dns_server.py answers from records; this one only has to be no bottleneck.

- Addresses in NAMED have a name, which has that address; other addresses have none.
- LIST_DOMAIN lists everybody but 127.0.0.1: each name has an address, and a text that says why.
- What is below SLOW_DOMAIN does not exist either, but the answer comes late.
- The domain of signed messages has texts, see signed.py, and a mail server; so have domains below
  it, each of one sender.

One with a delay is late with all its answers.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from tests.bench.addresses import NAMED, OWN
from tests.bench.signed import DOMAIN, SPF_OF_ONE, texts

#: Not of 127.0.0.0/8: libunbound, in opendkim, does not ask there unless a file of settings says
#: so, which each of opendkim's threads reads again, several at once: sooner or later it crashes.
ADDRESS = (OWN, 53)
#: Answers about names below this domain come late.
SLOW_DOMAIN = "slow.test"
DELAY = 0.02  # seconds
#: A DNS list that lists everybody.
LIST_DOMAIN = "listed.test"
#: Of the mail servers of senders.
EXCHANGE = "192.0.2.1"
LISTED_AS, REASON = "127.0.0.2", b"Listed, as everybody is; see https://listed.test/why"


def _wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in name.encode().split(b".")) + b"\x00"


_SLOW = b"\x04slow\x04test\x00"
_LISTED = b"\x06listed\x04test\x00"
_WHO_STARTS_SERVERS = b"\x011\x010\x010\x03127"  # 127.0.0.1, which waits for their greeting
_NAMES = b"\x05names\x04test\x00"
_SIGNED = _wire(DOMAIN)
_OCTET = rb"[\x01-\x03]([0-9]{1,3})"
_NETWORK = "".join(f"{chr(len(octet))}{octet}" for octet in reversed(NAMED.split("."))).encode()
_is_pointer = re.compile(_OCTET * 2 + _NETWORK + rb"\x07in-addr\x04arpa\x00").fullmatch
#: As a server's: what looks like a home is a suspect to the default chain.
_is_host = re.compile(rb"[\x0a-\x0e]static-([0-9]{1,3})-([0-9]{1,3})" + _NAMES).fullmatch
#: The domain of one sender, with or without the label of its mail server.
_is_of_one = re.compile(rb"(\x02mx)?([\x02-\x06]d[0-9]{1,5}" + re.escape(_SIGNED) + rb")").fullmatch
_A, _PTR, _TXT = b"\x00\x01", b"\x00\x0c", b"\x00\x10"  # RFC 1035 section 3.2.2
_MX = b"\x00\x0f"

# A response, recursion available (RFC 1035 section 4.1.1).
_NO_ERROR, _NXDOMAIN = b"\x81\x80", b"\x81\x83"
_ONE_ANSWER = b"\x00\x01\x00\x01\x00\x00\x00\x00"  # one question, one record
_NO_ANSWER = b"\x00\x01\x00\x00\x00\x01\x00\x00"  # one question, one record of the authority
_TTL = b"\x00\x00\x00\x3c"  # a minute, in which nobody comes again
# The root's SOA; names that are not there are believed not to be there for 60 seconds.
_SOA = b"\x00\x00\x06\x00\x01" + _TTL + b"\x00\x16\x00\x00" + _TTL * 5


class NameServer(asyncio.DatagramProtocol):
    """Answers every question at once, or after a delay (seconds).

    asked: when each question came, by the monotonic clock, and its name, if all answers are late.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay
        self.asked: list[tuple[float, str]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        answer = answer_to(data)
        if self._delay:
            self.asked.append((time.monotonic(), name_of(data)))
        if delay := self._delay or DELAY * is_slow(data):
            loop = asyncio.get_running_loop()
            loop.call_later(delay, self._transport.sendto, answer, addr)
        else:
            self._transport.sendto(answer, addr)


def answer_to(query: bytes) -> bytes:
    """The answer to a query of one question."""
    end = _end_of_question(query)
    records = _records_of(query[12 : end - 4].lower())
    head, question = query[:2], query[12:end]
    if records is None:
        return head + _NXDOMAIN + _NO_ANSWER + question + _SOA
    kind = query[end - 4 : end - 2]
    data = records.get(kind)
    if data is None:
        return head + _NO_ERROR + _NO_ANSWER + question + _SOA
    # The owner is the name of the question (RFC 1035 section 4.1.4).
    record = b"\xc0\x0c" + kind + b"\x00\x01" + _TTL + len(data).to_bytes(2, "big") + data
    return head + _NO_ERROR + _ONE_ANSWER + question + record


def _records_of(name: bytes) -> dict[bytes, bytes] | None:
    """Data of the records of a name in wire format, by type; None when there is no such name."""
    if name.endswith(_LISTED) and not name.startswith(_WHO_STARTS_SERVERS):
        return {_A: _address(LISTED_AS), _TXT: bytes([len(REASON)]) + REASON}
    if found := _is_pointer(name):
        host = b"-".join((b"static", *found.group(2, 1)))
        return {_PTR: bytes([len(host)]) + host + _NAMES}
    if found := _is_host(name):
        return {_A: _address(".".join((NAMED, *map(bytes.decode, found.groups()))))}
    if found := _is_of_one(name):
        server, domain = found.groups()
        return {_A: _address(EXCHANGE)} if server else _of_a_sender(SPF_OF_ONE, domain)
    if name.endswith(_SIGNED):
        return _signed().get(name)
    return None


@functools.cache
def _signed() -> dict[bytes, dict[bytes, bytes]]:
    found = {_wire(name): {_TXT: _strings(text.encode())} for name, text in texts().items()}
    found[_SIGNED] = _of_a_sender(texts()[DOMAIN], _SIGNED)
    found[b"\x02mx" + _SIGNED] = {_A: _address(EXCHANGE)}
    return found


def _of_a_sender(text: str, domain: bytes) -> dict[bytes, bytes]:
    """What a domain has that sends mail: the SPF record, and its mail server."""
    return {_TXT: _strings(text.encode()), _MX: b"\x00\x0a\x02mx" + domain}


def _strings(text: bytes) -> bytes:
    """A text as strings of at most 255 octets (RFC 1035 section 3.3.14)."""
    parts = [text[at : at + 255] for at in range(0, len(text), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts)


def _address(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def is_slow(query: bytes) -> bool:
    """Whether the question is about a name below SLOW_DOMAIN."""
    return query[12 : _end_of_question(query) - 4].lower().endswith(_SLOW)


def name_of(query: bytes) -> str:
    """The name that a question is about, with its type, for people."""
    end = _end_of_question(query)
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    kind = query[end - 4 : end - 2]
    return f"{'.'.join(labels)} {_NAMES_OF_TYPES.get(kind, kind.hex())}"


_NAMES_OF_TYPES = {_A: "A", _PTR: "PTR", _TXT: "TXT", _MX: "MX", b"\x00\x1c": "AAAA"}


def _end_of_question(query: bytes) -> int:
    """Where the question ends; what follows may be EDNS options."""
    at = 12
    while query[at]:
        at += 1 + query[at]
    return at + 1 + 4


@asynccontextmanager
async def name_server(
    address: tuple[str, int] = ADDRESS, delay: float = 0.0
) -> AsyncIterator[NameServer]:
    """Answer there meanwhile, with all answers so late (seconds)."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(delay), local_addr=address
    )
    try:
        yield server
    finally:
        transport.close()
