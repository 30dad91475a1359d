# SPDX-License-Identifier: MIT
"""What holds for the whole server, whatever a client sends: D6, bounded memory, a full disk."""

from __future__ import annotations

import asyncio
import itertools
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from qpsmtpd.testing import Serving, serve
from tests.unit.client import ENVELOPE, PATIENCE, Client, catcher, catching, uvloop_factory
from tests.unit.daemon_process import Daemon, configure, running

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

# --- what is delivered ------------------------------------------------------------------------

END = b"\r\n.\r\n"
BARE = re.compile(rb"\0|(?<!\r)\n|\r(?!\n)")
OUR_FIELDS = re.compile(
    rb"Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n\tby [^\r\n]+\r\n\t[^\r\n]+\r\n"
    rb"Authentication-Results: mx\.example;\r\n\tauth=none\r\n"
)

fragments = st.sampled_from(
    [
        b"\r\n",
        b"\r\n",
        b"\r\n.",
        b"..",
        b".",
        b"\n",
        b"\r",
        b"\0",
        b"a: b\r\n",
        b" ",
        b"x",
        b"From ",
    ]
)
contents = st.one_of(
    st.lists(fragments, max_size=30).map(b"".join),
    st.lists(st.sampled_from([b"\r\n", b"\r\n.", b"a: b", b" ", b"x", b"\xff"]), max_size=30).map(
        b"".join
    ),
    st.binary(max_size=100),
)


def reference(stream: bytes) -> bytes | None:
    """What RFC 5321 makes of the bytes between 354 and the end; None when they are no mail."""
    message = stream[: -len(b".\r\n")]
    if BARE.search(message):
        return None
    lines = [line.removeprefix(b".") for line in message.split(b"\r\n")]
    return b"\r\n".join(lines)


def below_our_fields(message: bytes) -> bytes:
    """The first line of a message must not become a part of our fields, nor end the section."""
    if message.startswith((b" ", b"\t")):
        return b"X-Unparsed:" + message
    if re.match(rb">?From (?!\s*:)", message):
        return b"Mail-From: " + message.partition(b" ")[2]
    return message


async def deliver(serving: Serving, client: Client, stream: bytes, cuts: list[int]) -> None:
    """Send a message in pieces; check the reply and what was delivered."""
    wanted = reference(stream)
    assert await client.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
    delivered = catcher(serving).messages
    delivered.clear()
    places = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    for begin, end in itertools.pairwise(places):
        client.send(stream[begin:end])
        await asyncio.sleep(0)
    reply = await client.reply()
    if wanted is None:
        assert reply in (
            "550 5.5.2 Bare CR or LF in message not allowed",
            "550 5.5.2 NUL in message not allowed",
        )
        assert delivered == []
        return
    assert reply == "250 2.0.0 Caught"
    (message,) = delivered
    assert not BARE.search(message)
    ours = OUR_FIELDS.match(message)
    assert ours
    assert message[ours.end() :] == below_our_fields(wanted)


@LOOPS
def test_delivered_is_what_was_sent_or_nothing(loop: str, tmp_path: Path) -> None:
    factory = uvloop_factory() if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        never = ["1000000000"]
        limits = {"max_errors": never, "max_junk_commands": never}
        server = serve(catching(tmp_path) | limits)
        serving = runner.run(server.__aenter__())
        client = runner.run(Client.connect(serving.host, serving.port))
        runner.run(client.greeted())

        @settings(max_examples=150, suppress_health_check=list(HealthCheck))
        @given(content=contents, cuts=st.lists(st.integers(0, 10**6), max_size=6))
        @example(content=b"", cuts=[])
        @example(content=b"a: b\r\n\r\n\n.\r\nMAIL FROM:<>\r\n", cuts=[])
        @example(content=b"a: b\r\n\r\nx\r\n.\r\r\n", cuts=[3, 14, 15, 16])
        @example(content=b"a: b\r\n\r\nx\n.\n", cuts=[11, 12, 13])
        @example(content=b" b\r\n\r\n..\r\n...", cuts=[2, 7, 8])
        def check(content: bytes, cuts: list[int]) -> None:
            stream = content + END if content else END[2:]
            assume((b"\r\n" + stream).index(END) == len(stream) + 2 - len(END))
            runner.run(asyncio.wait_for(deliver(serving, client, stream, cuts), PATIENCE))

        check()
        runner.run(client.close())
        runner.run(server.__aexit__(None, None, None))


# --- memory -----------------------------------------------------------------------------------

MB = 1 << 20


async def send_much(client: Client, block: bytes, total: int) -> None:
    for _ in range(total // len(block)):
        client.send(block)
        await client.writer.drain()


class Growth:
    """Measures how much the memory of a daemon grows, and what it computes meanwhile."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._memory = daemon.memory()[0]
        self._computed = daemon.cpu_seconds()

    def check(self) -> None:
        assert self._daemon.memory()[1] - self._memory < 8 * MB
        assert self._daemon.cpu_seconds() - self._computed < 8


@LOOPS
async def test_memory_is_bounded(loop: str, tmp_path: Path) -> None:
    """30 MB of one command, 30 MB of one line, and 100 MB of a message."""
    if loop == "uvloop":
        uvloop_factory()
    directory = configure(tmp_path)
    async with running(directory, environment={"QPSMTPD_EVENT_LOOP": loop}) as daemon:
        client = await daemon.client(await daemon.port())
        for _ in range(2):  # what is imported at the first message is not growth
            assert await client.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
            assert (await client.deliver())[:3] == "250"
        growth = Growth(daemon)
        await send_much(client, b"x" * MB, 30 * MB)
        assert await client.command("") == "500 5.5.2 Line too long"
        growth.check()

        growth = Growth(daemon)
        assert await client.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
        client.send(b"Subject: x\r\n\r\n")
        await send_much(client, b"x" * MB, 30 * MB)
        assert await client.deliver(b"\r\n") == "550 5.6.0 Line too long in message"
        growth.check()

        growth = Growth(daemon)
        assert await client.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
        client.send(b"Subject: x\r\n\r\n")
        await send_much(client, (b"x" * 1022 + b"\r\n") * 1024, 100 * MB)
        assert (await client.deliver(b""))[:3] == "250"
        growth.check()

        growth = Growth(daemon)
        assert await client.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
        await send_much(client, b"x-header: y\r\n" * 80000, 30 * MB)
        assert (await client.deliver(b""))[:3] == "552"
        growth.check()
        await client.close()


# --- a full disk ------------------------------------------------------------------------------


@LOOPS
async def test_a_full_disk_costs_one_message(loop: str, tmp_path: Path) -> None:
    if loop == "uvloop":
        uvloop_factory()
    directory = configure(tmp_path, {"size_threshold": "1000"})
    environment = {"QPSMTPD_EVENT_LOOP": loop}
    async with running(directory, environment=environment, file_limit=2 * MB) as daemon:
        client = await daemon.client(await daemon.port())
        full = "452 4.3.1 Insufficient system storage"
        for size, reply in ((MB, "250"), (30 * MB, full), (MB, "250"), (3 * MB, full)):
            growth = Growth(daemon)
            assert await client.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
            client.send(b"Subject: x\r\n\r\n")
            await send_much(client, (b"x" * 62 + b"\r\n") * 1024, size)
            assert (await client.deliver(b"")).startswith(reply)
            growth.check()
        await daemon.logged(f"spool failed: {directory}/spool: File too large")
        assert list((directory / "spool").iterdir()) == []
        await client.close()
