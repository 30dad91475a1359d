# SPDX-License-Identifier: MIT
"""BDAT: the state rules of RFC 3030, and that no octet of a chunk is ever taken for a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import Session, Transaction, defer, deny
from qpsmtpd.errors import SpoolError
from qpsmtpd.mail.message import Spool
from qpsmtpd.mail.spoolmemory import SpoolMemory
from qpsmtpd.smtp.connection import ClientGoneError
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.testing import serve
from tests.unit.client import Client, catcher, catching, on_both_loops
from tests.unit.fakewire import (
    ENVELOPE,
    Catcher,
    FakeWire,
    a_connection,
    a_plugin_with,
    always,
    fails,
    talk,
)

MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n.\r\n..\r\n"
TAKEN = "250 2.0.0 Caught"
CHUNK = "250 2.0.0 Chunk taken"
UNFINISHED = "503 5.5.1 Send the rest of the message first, or RSET"
ENVELOPE_REPLIES = 4


def chunk(octets: bytes, last: bool = False) -> bytes:
    return b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets


async def outcome(*script: bytes, plugins: tuple[Any, ...] = (), **more: Any) -> Any:
    """The replies behind the envelope, and what was delivered."""
    catcher = Catcher()
    wire = await talk(ENVELOPE, *script, plugins=(*plugins, catcher), **more)
    return wire.replies[ENVELOPE_REPLIES:], catcher.messages


def below_our_fields(message: bytes) -> bytes:
    return message[message.index(b"Subject: hello") :]


async def test_one_chunk() -> None:
    replies, (message,) = await outcome(chunk(MESSAGE, last=True))
    assert replies == [TAKEN]
    assert below_our_fields(message) == MESSAGE


async def test_chunks_may_end_anywhere() -> None:
    for size in (1, 7, 16):
        parts = [MESSAGE[i : i + size] for i in range(0, len(MESSAGE), size)]
        script = b"".join(map(chunk, parts[:-1])) + chunk(parts[-1], last=True)
        replies, (message,) = await outcome(script, b"NOOP\r\n")
        assert replies == [CHUNK] * (len(parts) - 1) + [TAKEN, "250 2.0.0 OK"]
        assert below_our_fields(message) == MESSAGE


async def test_the_last_chunk_may_be_empty() -> None:
    replies, (message,) = await outcome(chunk(MESSAGE), b"BDAT 0 LAST\r\n")
    assert replies == [CHUNK, TAKEN]
    assert below_our_fields(message) == MESSAGE


async def test_input_in_single_octets() -> None:
    script = chunk(MESSAGE[:20]) + chunk(MESSAGE[20:], last=True) + b"NOOP\r\n"
    replies, (message,) = await outcome(*(script[i : i + 1] for i in range(len(script))))
    assert replies == [CHUNK, TAKEN, "250 2.0.0 OK"]
    assert below_our_fields(message) == MESSAGE


async def test_a_missing_line_end_is_added() -> None:
    _, (message,) = await outcome(chunk(MESSAGE + b"x", last=True))
    assert message.endswith(b"\r\nx\r\n")


async def test_an_empty_message() -> None:
    replies, (message,) = await outcome(b"BDAT 0 LAST\r\n")
    assert replies == [TAKEN]
    assert message.startswith(b"Received: ")


@pytest.mark.parametrize("verb", [b"bdat 5 last\r\n", b"BDAT   5   LAST \r\n", b"BDAT 05 LAST\r\n"])
async def test_spellings(verb: bytes) -> None:
    replies, messages = await outcome(verb + b"a: b\n"[:3] + b"\r\n" + b"NOOP\r\n")
    assert replies == [TAKEN, "250 2.0.0 OK"]
    assert len(messages) == 1


@pytest.mark.parametrize(
    "argument",
    [b"", b"x", b"-1", b"+1", b"1 LATS", b"1 LAST LAST", b"LAST", b"1,0", b"1" * 21, "１".encode()],
)
async def test_what_says_no_size_ends_the_connection(argument: bytes) -> None:
    """The next octets may be those of a message: they are not carried out."""
    replies, messages = await outcome(b"BDAT " + argument + b"\r\nRSET\r\n")
    assert replies == ["521 5.5.4 Syntax: BDAT octets [LAST], closing connection"]
    assert not messages


@pytest.mark.parametrize(
    ("before", "reply"),
    [
        (b"", "503 5.5.1 Send EHLO first"),
        (b"EHLO x\r\n", "503 5.5.1 Send MAIL first"),
        (b"EHLO x\r\nMAIL FROM:<>\r\n", "503 5.5.1 Send RCPT first"),
        (b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.test>\r\n", "503 5.5.1 Send EHLO first"),
    ],
)
async def test_a_refused_chunk_is_read(before: bytes, reply: str) -> None:
    catcher = Catcher()
    wire = await talk(before + chunk(b"RSET\r\n" * 5, last=True), b"VRFY\r\n", plugins=(catcher,))
    assert wire.replies[-2:] == [reply, "501 5.5.4 Syntax error in command"]
    assert not catcher.messages


async def test_not_offered() -> None:
    replies, messages = await outcome(chunk(MESSAGE, last=True) + b"VRFY\r\n", chunking=False)
    assert replies == ["502 5.5.1 Command not implemented", "501 5.5.4 Syntax error in command"]
    assert not messages
    wire = await talk(b"EHLO x\r\n", chunking=False)
    assert "CHUNKING" not in wire.replies[1]


@pytest.mark.parametrize(
    "command", [b"MAIL FROM:<>", b"RCPT TO:<b@example.test>", b"DATA"], ids=lambda c: c.decode()
)
async def test_between_two_chunks(command: bytes) -> None:
    replies, (message,) = await outcome(
        chunk(MESSAGE[:10]), command + b"\r\n", chunk(MESSAGE[10:], last=True)
    )
    assert replies == [CHUNK, UNFINISHED, TAKEN]
    assert below_our_fields(message) == MESSAGE


@pytest.mark.parametrize("command", [b"RSET", b"EHLO x", b"HELO x"])
async def test_what_forgets_a_message(command: bytes) -> None:
    replies, messages = await outcome(chunk(MESSAGE), command + b"\r\n", b"BDAT 0 LAST\r\n")
    assert replies[0] == CHUNK
    assert replies[1].startswith("250")
    assert replies[2].startswith("503")
    assert not messages


async def test_after_the_last_chunk_there_is_none() -> None:
    replies, messages = await outcome(chunk(MESSAGE, last=True) * 2)
    assert replies == [TAKEN, "503 5.5.1 Send MAIL first"]
    assert len(messages) == 1


FAULTS = {
    b"a: b\r\n\r\nx\ny\r\n": "550 5.5.2 Bare CR or LF in message not allowed",
    b"a: b\r\n\r\nx\ry\r\n": "550 5.5.2 Bare CR or LF in message not allowed",
    b"a: b\r\n\r\nx\0y\r\n": "550 5.5.2 NUL in message not allowed",
    b"a: b\r\n\r\n" + b"x" * 1100 + b"\r\n": "550 5.6.0 Line too long in message",
    b"a: b\r\n\r\n" + b"x\r\n" * 400: "552 5.3.4 Message too big",
}


@pytest.mark.parametrize("message", FAULTS)
async def test_faults(message: bytes) -> None:
    """Refused at once, whatever follows; chunks on their way are read and refused."""
    limits: dict[str, Any] = {"databytes": 1190, "max_line_length": 1000}
    replies, messages = await outcome(chunk(message, last=True) + b"NOOP\r\n", **limits)
    assert replies == [FAULTS[message], "250 2.0.0 OK"]
    script = chunk(message + b"x") + chunk(b"QUIT\r\n") + chunk(b"QUIT\r\n", last=True)
    replies, more = await outcome(script + b"NOOP\r\n", **limits)
    assert replies == [FAULTS[message], *["503 5.5.1 Send MAIL first"] * 2, "250 2.0.0 OK"]
    assert not (messages or more)


async def test_a_cr_at_the_end_of_the_message() -> None:
    replies, _ = await outcome(chunk(MESSAGE + b"\r") + b"BDAT 0 LAST\r\n")
    assert replies == [CHUNK, "550 5.5.2 Bare CR or LF in message not allowed"]


async def test_bare_line_feeds_where_they_are_tolerated() -> None:
    text = MESSAGE.replace(b"\r\n", b"\n")
    _, (message,) = await outcome(chunk(text, last=True), barelf="tolerant")
    assert below_our_fields(message) == MESSAGE


async def test_hooks() -> None:
    """Those of DATA, in the same order; `data` at the first chunk only."""
    called: list[str] = []

    def note(name: str) -> Any:
        async def hook(*_: object) -> None:
            called.append(name)

        return hook

    names = ["data", "data_headers_end", "data_post_headers", "data_post", "queue_pre", "sign"]
    plugin = a_plugin_with(**{name: note(name) for name in names})
    await outcome(chunk(MESSAGE[:20]), chunk(MESSAGE[20:], last=True), plugins=(plugin,))
    assert called == names


async def test_taps_hear_the_body() -> None:
    heard: list[bytes] = []

    async def mail(tx: Transaction, _path: object) -> None:
        tx.tap(plugin, heard.append)

    plugin = a_plugin_with(mail=mail)
    await outcome(*map(chunk, (MESSAGE[:17], MESSAGE[17:])), b"BDAT 0 LAST\r\n", plugins=(plugin,))
    assert b"".join(heard) == MESSAGE.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("hook", "verdict", "reply"),
    [
        ("data", deny("no"), "554 5.7.1 no"),
        ("data", defer("later"), "451 4.7.1 later"),
        ("data_post", deny("no"), "552 5.7.1 no"),
        ("queue", defer("later"), "452 4.7.1 later"),
    ],
)
async def test_refusals(hook: str, verdict: object, reply: str) -> None:
    plugin = a_plugin_with(**{hook: always(verdict)})
    replies, messages = await outcome(chunk(MESSAGE, last=True), b"NOOP\r\n", plugins=(plugin,))
    assert replies == [reply, "250 2.0.0 OK"]
    assert not messages


async def test_a_refusal_that_disconnects_does_not_wait_for_the_chunk() -> None:
    for hook in ("data", "data_headers_end"):
        plugin = a_plugin_with(**{hook: always(deny("no", disconnect=True))})
        replies, _ = await outcome(b"BDAT 100000\r\na: b\r\n\r\nx", plugins=(plugin,))
        assert replies == ["554 5.7.1 no"]


async def test_a_fault_of_a_plugin() -> None:
    for hook in ("data", "data_post"):
        plugin = a_plugin_with(**{hook: fails})
        replies, messages = await outcome(chunk(MESSAGE, last=True), plugins=(plugin,))
        assert replies[0].startswith("451 4.3.0")
        assert not messages


async def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_spool: Spool) -> None:
        raise SpoolError("no space", full=True)

    monkeypatch.setattr(Spool, "flush", full)
    script = chunk(MESSAGE), chunk(MESSAGE, last=True), b"NOOP\r\n"
    replies, messages = await outcome(*script, size_threshold=1)
    system_full = "452 4.3.1 Insufficient system storage"
    assert replies == [system_full, "503 5.5.1 Send MAIL first", "250 2.0.0 OK"]
    assert not messages


async def test_a_client_that_leaves() -> None:
    for script in ([chunk(MESSAGE)], [chunk(MESSAGE)[:-5]], [b"BDAT 99 LAST\r\n" + MESSAGE]):
        memory = SpoolMemory()
        catcher = Catcher()
        wire = FakeWire(ENVELOPE, *script, ClientGoneError())
        connection = a_connection(wire, catcher)
        connection.memory = memory
        await converse(connection)
        assert not catcher.messages
        assert not memory.used


async def test_early_talkers_are_not_meant() -> None:
    """What follows BDAT is its chunk."""
    heard: list[bool] = []

    async def look(tx: Transaction) -> None:
        heard.append(await tx.session.early_input(1))

    await outcome(chunk(MESSAGE, last=True), plugins=(a_plugin_with(data=look),))
    assert heard == [False]


async def test_empty_chunks_are_junk() -> None:
    replies, _ = await outcome(b"BDAT 0\r\n" * 8, max_junk_commands=5)
    assert replies[-1] == "421 4.7.0 Too many commands, closing connection"
    replies, messages = await outcome(
        *(chunk(MESSAGE[i : i + 1]) for i in range(len(MESSAGE))),
        b"BDAT 0 LAST\r\n",
        max_junk_commands=5,
    )
    assert len(messages) == 1


async def test_binary_only_where_it_is_offered() -> None:
    wire = await talk(b"EHLO x\r\nMAIL FROM:<> BODY=BINARYMIME\r\n")
    assert wire.replies[-1] == "501 5.5.4 Bad parameter value"


class BinaryCatcher(Catcher):
    passes_on = True


async def offer(session: Session, _host: str) -> None:
    session.capabilities.append("BINARYMIME")


BINARY = b"Subject: hello\r\n\r\n\0\n\r.\r\n.\r\nx"
BINARY_ENVELOPE = ENVELOPE.replace(b"<a@client.example>", b"<a@client.example> BODY=BINARYMIME")


async def test_a_binary_message() -> None:
    catcher = BinaryCatcher()
    plugins = (a_plugin_with(ehlo=offer), catcher)
    wire = await talk(BINARY_ENVELOPE, b"DATA\r\n", chunk(BINARY, last=True), plugins=plugins)
    assert wire.replies[-2:] == ["503 5.5.1 BINARYMIME needs BDAT", TAKEN]
    assert below_our_fields(catcher.messages[0]) == BINARY


async def test_who_cannot_hand_it_over_is_not_asked() -> None:
    catcher = Catcher()
    plugins = (a_plugin_with(ehlo=offer), catcher)
    wire = await talk(BINARY_ENVELOPE, chunk(BINARY, last=True), plugins=plugins)
    assert wire.replies[-1] == "451 4.3.0 Message not queued, please try again later"
    assert not catcher.messages


# --- with a real wire -----------------------------------------------------------------------


@on_both_loops
async def test_a_large_message_in_large_chunks(tmp_path: Path) -> None:
    body = (b"x" * 70 + b"\r\n.\r\n") * 20_000
    async with serve(catching(tmp_path)) as serving:
        client = await Client.of(serving)
        client.send(ENVELOPE)
        for _ in range(3):
            await client.reply()
        client.send(chunk(b"Subject: hello\r\n\r\n") + chunk(body) + chunk(body, last=True))
        client.send(b"QUIT\r\n")
        replies = [await client.reply() for _ in range(4)]
        assert [reply[:3] for reply in replies] == ["250", "250", "250", "221"]
        await client.close()
        (message,) = catcher(serving).messages
    assert message.endswith(body + body)
