# SPDX-License-Identifier: MIT
"""What a DNS look-up costs: ours, dnspython's and aiodns', one after the other in one run.

    python -m tests.bench.lookups [number of look-ups]

A name server in a process of its own has a TXT record of 53 octets for every name.  Each resolver
looks up names that it has not seen (cold), ours also one that it has (cached).  Counted is the CPU
time of this process, user and system, with all its threads.  aiodns is left out when it is not
installed; we do not use it (ARCHITECTURE.md, Decision 21).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import multiprocessing
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvloop

from qpsmtpd.dns.answers import read_any, read_single
from qpsmtpd.dns.names import encode_name
from qpsmtpd.dns.resolver import DnsResolver

LOOKUPS = 5_000
WARM_UP = 200
TEXT = b"v=spf1 ip4:192.0.2.0/24 include:_spf.example.com -all"

_numbers = itertools.count()
LookUp = Callable[[str], Awaitable[Any]]


def a_name() -> str:
    """A name that nobody has looked up before."""
    return f"n{next(_numbers)}.lookups.test"


def answer(query: bytes) -> bytes:
    """The answer to any question: TEXT."""
    end = 12
    while query[end]:
        end += 1 + query[end]
    end += 5
    record = struct.pack(">HHHIHB", 0xC00C, 16, 1, 300, len(TEXT) + 1, len(TEXT)) + TEXT
    counts = struct.pack(">HHHH", 1, 1, 0, bool(query[end:]))
    edns = b"\x00\x00\x29\x04\xd0" + bytes(6) if query[end:] else b""
    return query[:2] + b"\x81\x80" + counts + query[12:end] + record + edns


def _serve(server: socket.socket) -> None:
    while True:
        query, client = server.recvfrom(4096)
        server.sendto(answer(query), client)


@contextlib.contextmanager
def name_server() -> Iterator[int]:
    """A name server on a port of 127.0.0.1 meanwhile."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(server,))
        process.start()
        try:
            yield server.getsockname()[1]
        finally:
            process.terminate()
            process.join()


# --- resolvers ------------------------------------------------------------------------------


async def ours(port: int, lookups: int) -> Iterator[tuple[str, float]]:
    """Cold, several at once, and cached."""
    resolver = DnsResolver([("127.0.0.1", port)])
    cold = await microseconds(resolver.txt, a_name, lookups)
    many = await microseconds(resolver.txt, a_name, lookups, at_once=50)
    known = a_name()
    await resolver.txt(known)
    cached = await microseconds(resolver.txt, lambda: known, lookups)
    await resolver.close()
    results = ("ours", cold), ("ours, 50 at once", many), ("ours, cached", cached)
    return iter((*results, ("of which the answer is read in", reading(lookups))))


async def by_dnspython(port: int, lookups: int) -> Iterator[tuple[str, float]]:
    """dns.asyncresolver, without a cache."""
    import dns.asyncresolver

    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], port

    async def look_up(name: str) -> list[str]:
        return [rdata.to_text() for rdata in await resolver.resolve(f"{name}.", "TXT")]

    return iter([("dnspython", await microseconds(look_up, a_name, lookups // 5))])


async def by_aiodns(port: int, lookups: int) -> Iterator[tuple[str, float]]:
    """aiodns, which is c-ares."""
    import aiodns

    resolver = aiodns.DNSResolver(nameservers=[f"127.0.0.1:{port}"])

    async def look_up(name: str) -> Any:
        return await resolver.query_dns(name, "TXT")

    results = [("aiodns", await microseconds(look_up, a_name, lookups))]
    results.append(("aiodns, 50 at once", await microseconds(look_up, a_name, lookups, at_once=50)))
    await resolver.close()
    return iter(results)


def reading(lookups: int) -> float:
    """Microseconds for reading the answer alone."""
    name = a_name()
    question = (encode_name(name) or b"") + struct.pack(">HH", 16, 1)
    wire = answer(b"\0\0\1\0\0\1\0\0\0\0\0\0" + question + b"\0\0\x29" + bytes(8))
    start = time.process_time()
    for _ in range(lookups):
        _ = read_single(wire, question, "TXT") or read_any(wire, question, "TXT")
    return (time.process_time() - start) / lookups * 1e6


# --- measuring ------------------------------------------------------------------------------


async def microseconds(
    look_up: LookUp, name: Callable[[], str], lookups: int, *, at_once: int = 1
) -> float:
    """CPU time of one look-up."""

    async def client(number: int) -> None:
        for _ in range(number):
            await look_up(name())

    await client(WARM_UP)
    start = time.process_time()
    await asyncio.gather(*(client(lookups // at_once) for _ in range(at_once)))
    return (time.process_time() - start) / lookups * 1e6


def main(lookups: int = LOOKUPS) -> None:
    """Measure and print."""
    resolvers = [ours, by_dnspython]
    if importlib.util.find_spec("aiodns"):
        resolvers.append(by_aiodns)
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop,
        "uvloop": uvloop.new_event_loop,
    }
    with name_server() as port:
        for name, new_loop in loops.items():
            with asyncio.Runner(loop_factory=new_loop) as runner:
                for resolver in resolvers:
                    for what, cost in runner.run(resolver(port, lookups)):
                        print(f"{name:8} {what:34} {cost:7.1f} us")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
