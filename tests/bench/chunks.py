# SPDX-License-Identifier: MIT
"""What octets cost after DATA and in chunks: megabytes for a second of CPU time of the server.

    python -m tests.bench.chunks [rounds]

The server is in this process, on uvloop, and throws messages away; a client in another process
sends the same messages by either command, many on a connection, in turns.  Counted is the CPU time
of this process, user and system.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence

import uvloop

from qpsmtpd.testing import serve
from tests.bench.fronts import FILES, Peer

ROUNDS = 5
#: Octets of a message, and how many there are in a round.
SIZES = {4_000: 1500, 100_000: 300, 5_000_000: 12}
LINE = b"A line of the message, of 64 characters, as most messages have.\r\n"
HEADER = b"Subject: test\r\n\r\n"
ENVELOPE = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<user@example.test>\r\n"
HELLO = b"EHLO client.example\r\n"


def _text(octets: int) -> bytes:
    return HEADER + LINE * (octets // len(LINE))


def send(port: int, command: str, octets: int, messages: int) -> None:
    """Send messages by DATA or BDAT on one connection, as clients that pipeline do."""
    peer, text = Peer(port), _text(octets)
    peer.exchange(b"", lambda answer: answer.endswith(b"\r\n"))
    peer.exchange(HELLO, lambda answer: b"\r\n250 " in answer and answer.endswith(b"\r\n"))
    for _ in range(messages):
        if command == "DATA":
            peer.exchange(ENVELOPE + b"DATA\r\n", lambda answer: answer.count(b"\r\n") == 3)
            peer.exchange(text + b".\r\n", lambda answer: answer.endswith(b"\r\n"))
        else:
            chunk = b"BDAT %d LAST\r\n" % len(text) + text
            peer.exchange(ENVELOPE + chunk, lambda answer: answer.count(b"\r\n") == 3)
    peer.socket.close()


async def measure(port: int, command: str, octets: int, messages: int) -> float:
    """Megabytes for a CPU second of the server."""
    client = multiprocessing.Process(target=send, args=(port, command, octets, messages))
    client.start()
    begun = time.process_time()
    await asyncio.to_thread(client.join)
    cost = time.process_time() - begun
    assert client.exitcode == 0
    return octets * messages / cost / 1e6


async def compare(rounds: int) -> None:
    """Both commands in turns, for each size; prints medians, and the median of the ratios."""
    async with serve(FILES) as serving:
        for octets, messages in SIZES.items():
            found: dict[str, list[float]] = {"DATA": [], "BDAT": []}
            for _ in range(rounds):
                for command, results in found.items():
                    results.append(await measure(serving.port, command, octets, messages))
            data, bdat = found["DATA"], found["BDAT"]
            ratio = statistics.median(b / a for a, b in zip(data, bdat, strict=True))
            medians = (f"{name} {statistics.median(each):5.0f}" for name, each in found.items())
            print(f"{octets:8} octets: {', '.join(medians)} MB/s, ratio {ratio:.2f}", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Compare them."""
    multiprocessing.set_start_method("spawn")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(compare(int(arguments[0]) if arguments else ROUNDS))


if __name__ == "__main__":
    main(sys.argv[1:])
