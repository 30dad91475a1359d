# SPDX-License-Identifier: MIT
"""The wire and time: time-outs, clients that read nothing, and early talkers."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.plugin import options
from qpsmtpd.smtp import conversation, protocol
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.deadlines import NEVER
from qpsmtpd.testing import Serving, serve
from tests.unit.client import (
    ENVELOPE,
    PATIENCE,
    PIPELINED,
    Client,
    catcher,
    catching,
    on_both_loops,
    until,
    wire_of,
)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let configuration files say less than a second."""
    monkeypatch.setattr(options, "check_value", lambda *_: None)


# --- time-outs --------------------------------------------------------------------------------


TIMEOUT = "421 4.4.2 Timeout, closing connection"


@on_both_loops
async def test_no_command(tmp_path: Path) -> None:
    async with serve({"timeout": ["0.05"]}) as serving:
        client = await Client.of(serving)
        assert await client.reply() == TIMEOUT
        assert await client.closed()
        await client.close()


@pytest.mark.parametrize(
    "times",
    [
        {"timeout": ["0.1"]},
        {"timeout": ["0.1"], "timeoutsmtpd": ["300"]},
        {"timeout": ["300"], "session_timeout": ["0.1"]},
    ],
)
@on_both_loops
async def test_no_data(tmp_path: Path, times: dict[str, list[str]]) -> None:
    async with serve(catching(tmp_path) | times) as serving:
        client = await Client.connect(serving.host, serving.port)
        # In one piece, so that nothing but the rest of the message is waited for.
        client.send(PIPELINED + b"Subject: x\r\n\r\n")
        assert [(await client.reply())[:3] for _ in range(5)] == ["220", *["250"] * 3, "354"]
        assert await client.reply() == TIMEOUT
        assert await client.closed()
        await client.close()
        assert catcher(serving).messages == []


@on_both_loops
async def test_each_byte_of_a_message_gives_a_client_time(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        client = await Client.connect(serving.host, serving.port)
        client.send(PIPELINED)
        await until(lambda: bool(serving.server.connections))
        wire = wire_of(serving)
        due = wire._deadlines.due
        while wire._deadlines.due == due:
            client.send(b"x")
            await asyncio.sleep(0)
        await client.close()


async def dribbled(client: Client) -> str:
    """What the server says at last to a client that sends a little whenever it can."""

    async def dribble() -> None:
        while True:
            client.send(b"x")
            await asyncio.sleep(0.001)

    dribbling = asyncio.ensure_future(dribble())
    try:
        return await client.reply()
    finally:
        dribbling.cancel()
        await asyncio.wait([dribbling])
        client.writer.transport.abort()


@pytest.mark.parametrize("start", ["", "AUTH LOGIN"])
@on_both_loops
async def test_a_line_has_to_be_complete_in_time(
    tmp_path: Path, start: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with serve(catching(tmp_path, "auth/auth_flat_file")) as serving:
        client = await Client.of(serving)
        await client.command("EHLO client.example")
        if start:
            assert (await client.command(start))[:3] == "334"
        wire_of(serving)._deadlines.shorten(0.1)
        assert await dribbled(client) == TIMEOUT
    assert "timeout ip=127.0.0.1 exceeded=timeout" in caplog.messages


@on_both_loops
async def test_a_message_has_to_come_at_the_least_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    slow = {"data_deadline": ["0.1"], "min_rate": ["1G"]}
    async with serve(catching(tmp_path) | slow) as serving:
        client = await (await Client.connect(serving.host, serving.port)).to_data()
        assert await dribbled(client) == TIMEOUT
        assert catcher(serving).messages == []
    assert "timeout ip=127.0.0.1 exceeded=data_deadline" in caplog.messages


@on_both_loops
async def test_the_time_for_a_message_ends_with_it(tmp_path: Path) -> None:
    """The queue plugin and the next command have times of their own, and the next message too."""
    async with serve(catching(tmp_path)) as serving:
        client = await (await Client.connect(serving.host, serving.port)).to_data()
        deadlines = wire_of(serving)._deadlines
        await until(lambda: deadlines.message_end < NEVER)
        assert await client.deliver() == "250 2.0.0 Caught"
        await until(lambda: deadlines.message_end == NEVER)
        await client.commands(*ENVELOPE[1:], "DATA")
        await until(lambda: deadlines.message_end < NEVER)
        await client.close()


@on_both_loops
async def test_the_time_for_a_message_in_chunks_ends_with_it(tmp_path: Path) -> None:
    """Also when its last chunk came together with the next command, and nothing had to be read."""
    async with serve(catching(tmp_path)) as serving:
        client = await (await Client.connect(serving.host, serving.port)).greeted()
        await client.commands(*ENVELOPE)
        client.send(b"BDAT 14\r\nSubject: x\r\n\r\n")
        assert (await client.reply()).startswith("250 2.0.0 Chunk taken")
        client.send(b"BDAT 6 LAST\r\nbody\r\nNOOP\r\n")
        assert await client.reply() == "250 2.0.0 Caught"
        assert await client.reply() == "250 2.0.0 OK"
        await until(lambda: wire_of(serving)._waiter is not None)
        assert wire_of(serving)._deadlines.message_end == NEVER
        await client.close()


@on_both_loops
async def test_a_client_that_never_pauses_ends_with_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the timer looks, there is something to be read."""
    monkeypatch.setattr(protocol, "INPUT_LINGER", 0.05)
    async with serve(catching(tmp_path) | {"session_timeout": ["0.1"]}) as serving:
        client = await Client.of(serving)
        while serving.server.connections:
            client.send(b"x")
            await asyncio.sleep(0)
        client.writer.transport.abort()


async def a_client_that_reads_nothing(serving: Serving) -> Client:
    """It has said EHLO, and there is little room in the network for what it does not read."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect((serving.host, serving.port))
    client = await Client.connect(None, None, sock=narrow)
    await client.greeted()
    await client.command("EHLO x")
    transport = wire_of(serving).transport
    assert transport is not None
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    return client


@pytest.mark.parametrize("flood", [b"MAIL FROM:<>\r\n", b"EHLO x\r\n"])
@on_both_loops
async def test_a_client_that_reads_nothing(tmp_path: Path, flood: bytes) -> None:
    """It is cut off, and what waits for it in memory is bounded."""
    more = {"timeout": ["0.1"], "max_junk_commands": ["100000000"]}
    async with serve(catching(tmp_path) | more) as serving:
        client = await a_client_that_reads_nothing(serving)
        wire = wire_of(serving)
        most = 0

        async def pour() -> None:
            while True:
                client.send(flood * 5000)
                await client.writer.drain()

        pouring = asyncio.ensure_future(pour())
        while serving.server.connections:
            assert wire.transport is not None
            waiting = len(wire.pending_input) + len(wire._out)
            most = max(most, waiting + wire.transport.get_write_buffer_size())
            await asyncio.sleep(0)
        pouring.cancel()
        await asyncio.wait([pouring])
        assert most < 1024 * 1024
        client.writer.transport.abort()


def talking_at_quit(directory: Path, lines: int) -> dict[str, list[str]]:
    """A configuration whose reply to QUIT has so many lines."""
    (directory / "talks.py").write_text(
        "from qpsmtpd.api import *\n"
        "class Talks(Plugin[NoOptions]):\n"
        "    async def hook_quit(self, session):\n"
        f"        return accept(('x' * 470 + '\\n') * {lines})\n"
    )
    return catching(directory, "talks")


@on_both_loops
async def test_the_end_does_not_wait_for_a_client_that_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LINGER", 0.01)
    files = talking_at_quit(tmp_path, 2000) | {"timeout": ["0.05"]}
    async with serve(files) as serving:
        client = await a_client_that_reads_nothing(serving)
        wire = wire_of(serving)
        client.send(b"QUIT\r\n")
        await until(lambda: wire._lost)
        client.writer.transport.abort()


@on_both_loops
async def test_the_drain_does_not_wait_for_a_last_reply_that_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is over; only its last reply lingers, and not longer because of the drain."""
    monkeypatch.setattr(protocol, "LINGER", 0.05)
    async with serve(talking_at_quit(tmp_path, 120)) as serving:
        client = await a_client_that_reads_nothing(serving)
        wire = wire_of(serving)
        client.send(b"QUIT\r\n")
        await until(lambda: wire._finished)
        assert wire.transport is not None
        assert wire.transport.get_write_buffer_size() > 0
        assert await serving.server.drain(1000) == 0
        client.writer.transport.abort()


# --- the last reply ---------------------------------------------------------------------------


@on_both_loops
async def test_the_last_reply_reaches_a_client_that_is_still_sending(tmp_path: Path) -> None:
    """Input that nobody reads would make the kernel reset the connection."""
    async with serve(catching(tmp_path)) as serving:
        client = await Client.of(serving)
        client.send(b"GET / HTTP/1.1\r\n" + b"x" * 500_000)
        await client.writer.drain()
        wire = wire_of(serving)
        await until(lambda: wire._finished)
        client.send(b"x" * 100_000)
        await client.writer.drain()
        assert await client.reply() == "521 5.5.1 This is an SMTP server, closing connection"
        assert await client.closed()
        await client.close()
        await until(lambda: not serving.server.connections)


@pytest.mark.parametrize(
    ("constant", "value", "sent"), [("INPUT_LINGER", 0.05, 1), ("MOST_LINGERING", 1000, 100_000)]
)
@on_both_loops
async def test_nobody_keeps_a_connection_by_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, constant: str, value: float, sent: int
) -> None:
    monkeypatch.setattr(protocol, "INPUT_LINGER", PATIENCE * 10)
    monkeypatch.setattr(protocol, constant, value)
    async with serve(catching(tmp_path)) as serving:
        client = await Client.of(serving)
        assert (await client.command("GET / HTTP/1.1")).startswith("521 ")
        client.send(b"x" * sent)
        await until(lambda: not serving.server.connections)
        client.writer.transport.abort()


@on_both_loops
async def test_a_client_that_resets_just_before_we_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel knows already that it is gone, the loop does not: shutdown(2) fails then."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end_of_session = conversation._close

    async def reset_before(connection: Connection) -> None:
        await end_of_session(connection)
        await loop.sock_recv(client, 1000)
        client.close()

    monkeypatch.setattr(conversation, "_close", reset_before)
    async with serve(catching(tmp_path)) as serving:
        await loop.sock_connect(client, ("127.0.0.1", serving.port))
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\n")
        await until(lambda: bool(serving.server.connections) or client.fileno() < 0)
        await until(lambda: not serving.server.connections)
    assert "Traceback" not in caplog.text


@on_both_loops
async def test_a_client_that_says_quit_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "INPUT_LINGER", PATIENCE * 10)
    async with serve(catching(tmp_path)) as serving:
        client = await Client.of(serving)
        assert (await client.command("QUIT")).startswith("221 ")
        await until(lambda: not serving.server.connections)
        await client.close()


# --- pauses -----------------------------------------------------------------------------------

WRONG_PASSWORD = "AUTH PLAIN AGEAYg=="


def guessing(directory: Path, pause: str = "3600") -> dict[str, list[str]]:
    """A configuration in which every login fails, after a pause."""
    (directory / "nobody.py").write_text(
        "from qpsmtpd.api import *\n"
        "class Nobody(Plugin[NoOptions]):\n"
        "    async def hook_auth(self, session, attempt):\n"
        "        return deny()\n"
    )
    return catching(directory, "nobody") | {"auth_failure_pause": [pause]}


async def a_client_in_a_pause(serving: Serving) -> Client:
    client = await Client.of(serving)
    await client.command("EHLO x")
    client.send(f"{WRONG_PASSWORD}\r\n".encode())
    await until(lambda: wire_of(serving)._pause is not None)
    return client


@on_both_loops
async def test_who_leaves_during_a_pause_frees_everything(tmp_path: Path) -> None:
    async with serve(guessing(tmp_path)) as serving:
        client = await a_client_in_a_pause(serving)
        client.writer.close()
        await until(lambda: not serving.server.connections)


@on_both_loops
async def test_nobody_else_waits(tmp_path: Path) -> None:
    async with serve(guessing(tmp_path)) as serving:
        waiting = await a_client_in_a_pause(serving)
        other = await (await Client.connect(serving.host, serving.port)).to_data()
        assert (await other.deliver()).startswith("250 ")
        await waiting.close()
        await other.close()


@on_both_loops
async def test_a_pause_does_not_delay_the_end_of_the_server(tmp_path: Path) -> None:
    async with serve(guessing(tmp_path)) as serving:
        client = await a_client_in_a_pause(serving)
        assert await serving.server.drain(PATIENCE) == 0
        assert await client.reply() == "421 4.3.2 Service shutting down"
        await client.close()


@on_both_loops
async def test_what_comes_during_a_pause_is_read_after_it(tmp_path: Path) -> None:
    async with serve(guessing(tmp_path, "0.05")) as serving:
        client = await a_client_in_a_pause(serving)
        client.send(b"NOOP\r\n")
        assert (await client.reply())[:3] == "535"
        assert (await client.reply())[:3] == "250"
        await client.close()


@on_both_loops
async def test_nobody_begins_to_wait_in_the_tarpit_while_the_server_stops(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        client = await Client.of(serving)
        wire = wire_of(serving)
        assert wire.connection is not None
        wire.connection.draining = True
        # A coroutine that does not wait ends at its first step.
        with pytest.raises(StopIteration) as ended:
            wire.tarpit(3600).send(None)
        assert ended.value.value is True
        await client.close()


# --- early talkers ----------------------------------------------------------------------------

EARLY = """
from qpsmtpd.api import *


class Early(Plugin[NoOptions]):
    async def start(self):
        self.results = []

    async def hook_connect(self, session):
        self.results.append(await session.early_input({seconds}))
"""
WAIT = 0.1


async def early_results(
    tmp_path: Path, act: Any, seconds: float = WAIT, **more: list[str]
) -> list[bool]:
    (tmp_path / "early.py").write_text(EARLY.format(seconds=seconds))
    async with serve(catching(tmp_path, "early") | more) as serving:
        client = await Client.connect(serving.host, serving.port)
        act(client)
        await until(lambda: bool(catcher(serving).clients))
        plugin: Any = serving.server.snapshot.chain.plugins[0].plugin
        await client.close()
        results: list[bool] = plugin.results
        return results


@on_both_loops
async def test_who_talks_early(tmp_path: Path) -> None:
    talk = await early_results(tmp_path, lambda client: client.send(b"EHLO x\r\n"), PATIENCE)
    assert talk == [True]


@on_both_loops
async def test_who_waits(tmp_path: Path) -> None:
    assert await early_results(tmp_path, lambda _client: None) == [False]


@on_both_loops
async def test_who_says_nothing_more(tmp_path: Path) -> None:
    assert await early_results(tmp_path, lambda client: client.writer.write_eof()) == [False]


@on_both_loops
async def test_the_wait_for_early_talkers_is_no_time_out(tmp_path: Path) -> None:
    begin = asyncio.get_running_loop().time()
    results = await early_results(tmp_path, lambda _client: None, timeout=["0.01"])
    assert results == [False]
    assert asyncio.get_running_loop().time() - begin >= WAIT
