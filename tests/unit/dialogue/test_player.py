# SPDX-License-Identifier: MIT
"""dialogue.py: the runner against scripted servers."""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from qpsmtpd.dialogue.player import (
    DialogueError,
    Transcript,
    format_transcript,
    load,
    parse,
    run,
    run_file,
)

Handler = Callable[[StreamReader, StreamWriter], Awaitable[None]]


def says(*octets: bytes) -> Handler:
    """A server that says the first string, then one string for each line it reads, and closes."""

    async def handler(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(octets[0])
        for answer in octets[1:]:
            await reader.readline()
            writer.write(answer)

    return handler


async def stays(reader: StreamReader, writer: StreamWriter) -> None:
    """A server that keeps the connection open and says nothing."""
    await reader.read()


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[tuple[str, int]]:
    """A server made of `handler`; gives its host and port."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError):
            await handler(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def accept(reader: StreamReader, writer: StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        await asyncio.gather(*tasks)


async def talk(text: str, handler: Handler) -> Transcript:
    """Run a script against a server made of `handler`."""
    async with listening(handler) as (host, port):
        return await run(parse(text, "x.smtp"), lambda: asyncio.open_connection(host, port))


async def refused(text: str, handler: Handler) -> str:
    """The message of the error a script ends with."""
    with pytest.raises(DialogueError) as caught:
        await talk(text, handler)
    return str(caught.value)


def test_load_reports_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "a.smtp"
    with pytest.raises(DialogueError, match=r"a\.smtp: cannot be read"):
        load(path)
    path.write_bytes(b"C: \xff\n")
    with pytest.raises(DialogueError, match=r"a\.smtp: cannot be read"):
        load(path)


# --- what fits


EHLO = b"250-mx Hello\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"


@pytest.mark.parametrize(
    "expected",
    [
        "S: 250-mx *\nS: 250-PIPELINING\nS: 250 SIZE 1000",
        "S: 250-mx * ... 250 *",
        "S: 250-mx Hello ... 250-PIPELINING ... 250 SIZE *",
        "S: ... 250 *",
        "S: ... 250-P*\nS: 250 *",
        "S: 250-mx Hello\nS~ PIPE\nS~ ^250[- ]SIZE \\d+$",
        "S: ... 250 *\nS+ SIZE *\nS+ PIPELINING\nS- SIZE\nS- STARTTLS",
    ],
)
async def test_a_reply_that_fits(expected: str) -> None:
    transcript = await talk(
        f"S: 220 *\nC: EHLO x\n{expected}\nS: <closed>", says(b"220 \r\n", EHLO)
    )
    assert format_transcript(transcript).split("\n")[-1] == "   S: <closed>"


async def test_the_transcript_reads_like_a_script() -> None:
    transcript = await talk(
        "S: 220 hi\nC: A\nS: 250 a\nC! \\x1b[m\\r\\n\nS: 250 b\n"
        'C* 2 x "cd" "\\n"\nS: 250 c\n2S: 220 hi',
        says(b"220 hi\r\n", b"250 a\r\n", b"250 b\r\n", b"250 c\r\n"),
    )
    assert format_transcript(transcript).split("\n") == [
        "   S: 220 hi",
        "   C: A",
        "   S: 250 a",
        "   C! \\x1b[m\\r\\n",
        "   S: 250 b",
        '   C* 2 x "cd" "\\n"',
        "   S: 250 c",
        "  2S: 220 hi",
    ]


async def test_repeated_text_arrives_complete() -> None:
    received: list[bytes] = []

    async def collects(reader: StreamReader, writer: StreamWriter) -> None:
        received.append(await reader.read())
        writer.write(b"250 ok\r\n")

    await talk('C* 100000 x "abc" "\\r\\n"\nC~ <EOF>\nS: 250 ok\nS: <closed>', collects)
    assert received == [b"abc" * 100000 + b"\r\n"]


async def test_reset_reaches_the_server_as_a_reset() -> None:
    seen: list[Exception] = []

    async def waits(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"220 \r\n")
        try:
            await reader.read()
        except ConnectionResetError as error:
            seen.append(error)

    await talk("S: 220 *\nC~ <RESET>\nS: <closed>", waits)
    assert len(seen) == 1


async def test_tls_after_the_greeting_and_no_half_close_in_it() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("mx.example").configure_cert(context)

    async def turns_to_tls(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"220 go\r\n")
        await writer.start_tls(context)
        line = await reader.readline()
        writer.write(b"250 " + line)
        await reader.read()

    script = "S: 220 go\nTLS: start\nC: hello\nS: 250 hello\n"
    await talk(script, turns_to_tls)
    assert "TLS has no half-closed connections" in await refused(script + "C~ <EOF>", turns_to_tls)


async def test_silence_is_kept() -> None:
    await talk("S: <silence 0.01>", stays)


async def test_run_file(tmp_path: Path) -> None:
    path = tmp_path / "a.smtp"
    path.write_text("S: 220 hi\n")
    async with listening(says(b"220 hi\r\n")) as (host, port):
        transcript = await run_file(path, host, port)
    assert transcript.entries == [(1, "S:", "220 hi")]
    with pytest.raises(DialogueError, match=r"a\.smtp:1: (?s:.*)expected: a connection"):
        await run_file(path, host, port)


# --- what does not fit


async def test_a_mismatch_names_the_line_and_shows_the_conversation() -> None:
    message = await refused("S: 220 *\nC: NOOP\nS: 250 *", says(b"220 hi\r\n", b"500 what\r\n"))
    assert message == (
        "x.smtp:3: the server did not follow the script\n"
        "  expected: 250 *\n"
        "  got:      500 what\n"
        "\n"
        "the conversation so far:\n"
        "   S: 220 hi\n"
        "   C: NOOP\n"
        "   S: 500 what"
    )


@pytest.mark.parametrize(
    ("script", "answer", "got"),
    [
        ("S: 250 ?", b"250 a\r\n", "250 a"),
        ("S: 250", b"250 a\r\n", "250 a"),
        ("S: 250 a", b"250 a b\r\n", "250 a b"),
        ("S: 50 a", b"250 a\r\n", "250 a"),
        ("S: 250-mx * ... 250 X", EHLO, "250 SIZE 1000"),
        ("S: 250-PIPE* ... 250 *", EHLO, "250-mx Hello"),
        ("S: 250 a ... 250 *", b"250 a\r\n", "the server closed the connection"),
        ("S: ... 250 *", b"250-a\r\n251 b\r\n", "251 b"),
        ("S: 250-a\nS: 251 b", b"250-a\r\n251 b\r\n", "251 b"),
        ("S~ ^25", b" 250 a\r\n", " 250 a"),
        ("S: ... 250 *\nS+ SIZE", EHLO, "250-mx Hello | 250-PIPELINING | 250 SIZE 1000"),
        ("S: ... 250 *\nS- SIZE *", EHLO, "250-mx Hello | 250-PIPELINING | 250 SIZE 1000"),
        ("S+ SIZE", EHLO, "no reply yet"),
        ("S: 250 a", b"250 a\n", "250 a\\n (a reply line ends in CRLF)"),
        ("S: 250 a", b"250 a", "250 a (a reply line ends in CRLF)"),
        ("S: 250 *", b"250 a\rb\r\n", "250 a\\rb\\r\\n (a reply line ends in CRLF)"),
        ("S: 250 *", b"2" * 200_000, "a line that does not end"),
        ("S: <closed>", b"250 a\r\n", "250 a\\r\\n"),
        ("S: <closed>", b"\xff" * 300, "\\xff" * 200 + "... (300 octets)"),
        ("S: <silence 5>", b"250 a\r\n", "250 a\\r\\n"),
        ("S: <silence 5>", b"", "the server closed the connection"),
        ("TLS: start", b"nonsense\r\n", ""),
    ],
)
async def test_what_does_not_fit_is_refused(script: str, answer: bytes, got: str) -> None:
    assert f"  got:      {got}" in await refused(script, says(answer))


@pytest.mark.parametrize(
    ("script", "got"),
    [
        ("S: 250 *", "nothing within 0.01 s"),
        ("S: <closed>", "still open after 0.01 s"),
        ("TLS: start", "SSL handshake is taking longer than 0.01 seconds"),
    ],
)
async def test_nothing_waits_longer_than_the_timeout(
    script: str, got: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpsmtpd.dialogue.player.CLOSE_TIMEOUT", 0.01)
    dialogue = parse(f"timeout: 0.01\n{script}", "x.smtp")
    async with listening(stays) as address:
        # It is connected before, as on a busy machine that alone takes longer.
        connection = await asyncio.open_connection(*address)
        with pytest.raises(DialogueError) as caught:
            await run(dialogue, lambda: asyncio.sleep(0, connection))
    assert f"  got:      {got}" in str(caught.value)


async def test_a_server_that_does_not_read_is_reported() -> None:
    done = asyncio.Event()

    async def never_reads(reader: StreamReader, writer: StreamWriter) -> None:
        await done.wait()
        writer.transport.abort()

    try:
        task = asyncio.ensure_future(
            refused('timeout: 0.05\nC* 60000000 x "a"\nS: 250 *', never_reads)
        )
        asyncio.get_running_loop().call_later(0.2, done.set)
        assert "it read nothing for 0.05 s" in await task
    finally:
        done.set()


async def test_no_connection_in_time_is_reported() -> None:
    async def hangs() -> tuple[StreamReader, StreamWriter]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(DialogueError, match=r"none within 0\.01 s"):
        await run(parse("timeout: 0.01\nS: 220 *", "x"), hangs)


async def test_sending_to_a_closed_connection_is_for_the_next_line_to_judge() -> None:
    async def resets(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"421 bye\r\n")
        await writer.drain()

    big = 'C* 1000000 x "abcdefghijkl"\n'
    transcript = await talk(f"S: 421 *\n{big}{big}S: <closed>", resets)
    assert any(text.startswith("sending failed") for _, _, text in transcript.entries)
    assert "x.smtp:4" in await refused(f"S: 421 *\n{big}{big}S: 250 *", resets)
