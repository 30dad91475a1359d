# SPDX-License-Identifier: MIT
"""What the store costs in a real Redis: memory for each entry, and CPU time for each operation.

    python -m tests.bench.storecost [number of entries]

Debian's redis-server, on a socket of this machine.  Entries are written by the code of the plugins,
in their form: of greylisting, what a first attempt leaves (`wait` and `seen`) and what a delivery
does (`known`), for a network and the addresses of sender and recipient; of karma, the record of a
client.  Memory is `used_memory` afterwards, less that of the empty server: what is used, without
what the allocator has in reserve.  CPU time of Redis is that of all its threads, ours that of this
process, both user and system, for operations of 100 sessions at a time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop

from qpsmtpd.lists.clientrecords import ClientRecord, ClientRecords
from qpsmtpd.plugin.options import Seconds
from qpsmtpd.plugin.services import Store
from qpsmtpd.plugins.greylisting import GreylistingOptions, Memory
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from tests.redis_server import RedisServer, redis_server

ENTRIES = 100_000
SESSIONS = 100
#: The time of entries, and the options of the plugin.
NOW = 1_800_000_000
OPTIONS = GreylistingOptions(black_timeout=Seconds(86400), recipient=True)

Write = Callable[[int], Awaitable[object]]


def writers(store: Store) -> dict[str, Write]:
    """What writes the entries of one kind, by number."""
    memory = Memory(store.scoped("greylisting"), OPTIONS)
    records = ClientRecords(store.scoped("karma"), 30)

    def record(number: int) -> ClientRecord:
        return ClientRecord(number % 3, number % 7, number % 40, NOW, f"{number:08x}-1234abcd")

    return {
        "greylisting, first attempt": lambda n: memory.begin(_triplet(n), NOW),
        "greylisting, known": lambda n: memory.make_known(_triplet(n), NOW),
        "karma, record": lambda n: records.change(_client(n), lambda _old: record(n)),
    }


def _client(number: int) -> str:
    return str(ipaddress.IPv4Address(0x0A000000 + 37 * number))


def _triplet(number: int) -> str:
    network = ipaddress.ip_network(f"{_client(number)}/24", strict=False)
    return f"{network}:bounces+{number:07d}@news.example.com:user{number % 5000}@example.org"


async def measure(entries: int) -> list[str]:
    """Lines to print."""
    lines = []
    with redis_server() as server:
        store = shared_store(parse_location(server.url), 60.0)
        for name, write in writers(store).items():
            lines.append(await _measured(server, name, write, entries))
        await store.close()
    return lines


async def _measured(server: RedisServer, name: str, write: Write, entries: int) -> str:
    await write(0)  # connect, and have the scripts compiled
    server.command("FLUSHALL")
    memory, cpu, own = _memory(server), _cpu(server), time.process_time()
    await _all(write, entries)
    own, cpu = time.process_time() - own, _cpu(server) - cpu
    keys = int(server.command("DBSIZE")[1:])
    size = (_memory(server) - memory) / entries
    return (
        f"{name:28} {keys / entries:.0f} keys {size:6.0f} bytes: {size * 1e6 / 2**20:5.0f} MiB a "
        f"million; for all its operations Redis {cpu / entries * 1e6:4.0f} us CPU, "
        f"qpsmtpd {own / entries * 1e6:4.0f} us"
    )


async def _all(write: Write, entries: int) -> None:
    numbers = iter(range(entries))

    async def session() -> None:
        for number in numbers:
            await write(number)

    await asyncio.gather(*(session() for _ in range(SESSIONS)))


def _memory(server: RedisServer) -> int:
    return int(_info(server, "memory", "used_memory"))


def _cpu(server: RedisServer) -> float:
    """Seconds."""
    return sum(float(_info(server, "cpu", f"used_cpu_{kind}")) for kind in ("user", "sys"))


def _info(server: RedisServer, section: str, name: str) -> str:
    found = re.search(rf"^{name}:(.*?)\r?$", server.ask("INFO", section), re.MULTILINE)
    assert found
    return found[1]


def main(words: list[str]) -> None:
    """Measure, and print."""
    entries = int(words[0]) if words else ENTRIES
    for line in uvloop.run(measure(entries)):
        print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
