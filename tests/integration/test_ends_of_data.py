# SPDX-License-Identifier: MIT
"""Every end of data that is none, by each way in which a message comes to us.

What follows it are commands of a second message, which must never be carried out.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from qpsmtpd.milter import packets
from qpsmtpd.testing import Serving, serve
from tests.ends_of_data import AFTER_A_LINE, LOOKALIKES, REAL
from tests.unit.client import Client, catcher, catching, on_both_loops
from tests.unit.fronts.front_plugins import obeying
from tests.unit.fronts.mta import milter_of

OUTER = b"Subject: outer\r\n\r\nbody"
INNER = (
    b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<user@example.test>\r\nDATA\r\n"
    b"Subject: inner\r\n\r\nevil"
)
MAIL = ("MAIL FROM:<a@client.example>", "RCPT TO:<user@example.test>")
REFUSED = b"550 5.5.2 "
ENDS = LOOKALIKES | AFTER_A_LINE
_bare = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0").search

Way = Callable[[Serving, bytes], Awaitable[list[bytes]]]


def files(directory: Path, **more: str) -> dict[str, list[str]]:
    """Has a plugin that looks at the body, or a mail system would not tell us of it."""
    plugins = {**obeying(directory), **catching(directory, "obedient")}
    return plugins | {name: [value] for name, value in more.items()}


def text(end: bytes) -> bytes:
    """The first message, what is perhaps its end, and the second one."""
    return OUTER + end + INNER


async def _said(client: Client, octets: bytes) -> list[bytes]:
    """The lines that are answered, without the goodbye."""
    client.send(octets + b"QUIT\r\n")
    *lines, goodbye = (await client.reader.read()).splitlines()
    assert goodbye.startswith(b"221 ")
    await client.close()
    return lines


async def by_data(serving: Serving, end: bytes) -> list[bytes]:
    client = await Client.of(serving)
    assert await client.commands("EHLO client.example", *MAIL, "DATA") == [250, 250, 250, 354]
    return await _said(client, text(end) + REAL)


async def by_lmtp(serving: Serving, end: bytes) -> list[bytes]:
    client = await Client.connect(serving.host, serving.fronts["lmtp"])
    await client.greeted()
    assert await client.commands("LHLO client.example", *MAIL, "DATA") == [250, 250, 250, 354]
    return await _said(client, text(end) + REAL)


async def by_chunk(serving: Serving, end: bytes) -> list[bytes]:
    client = await Client.of(serving)
    assert await client.commands("EHLO client.example", *MAIL) == [250, 250, 250]
    return await _said(client, b"BDAT %d LAST\r\n" % len(text(end)) + text(end))


async def by_chunks(serving: Serving, end: bytes) -> list[bytes]:
    """The end is torn apart."""
    client = await Client.of(serving)
    assert await client.commands("EHLO client.example", *MAIL) == [250, 250, 250]
    cut = len(OUTER) + len(end) // 2
    for part in (text(end)[:cut], text(end)[cut:]):
        client.send(b"BDAT %d\r\n" % len(part) + part)
    lines = await _said(client, b"BDAT 0 LAST\r\n")
    # Once a chunk is refused, the others have no message to belong to.
    return [line for line in lines if not line.startswith((b"250 2.0.0 Chunk", b"503 "))]


async def by_milter(serving: Serving, end: bytes) -> list[bytes]:
    """What the mail system is told to say; it says 250 by itself."""
    async with milter_of(serving) as mta:
        await mta.envelope()
        await mta.tell(packets.Data())
        await mta.tell(packets.Header(b"Subject", b" outer"))
        await mta.tell(packets.EndOfHeaders())
        body = text(end).partition(b"\r\n\r\n")[2]
        for octet in range(len(body)):
            await mta.tell(packets.Body(body[octet : octet + 1]))
        *_, last = await mta.tell(packets.EndOfMessage())
        return [last.text if isinstance(last, packets.ReplyCode) else b"250 "]


WAYS = {
    "DATA": by_data,
    "LMTP": by_lmtp,
    "BDAT": by_chunk,
    "chunks": by_chunks,
    "milter": by_milter,
}


@pytest.mark.parametrize("name", WAYS)
@on_both_loops
async def test_refused(name: str, tmp_path: Path) -> None:
    async with serve(files(tmp_path)) as serving:
        for end in ENDS:
            (reply,) = await WAYS[name](serving, ENDS[end])
            assert reply.startswith(REFUSED), end
        assert not catcher(serving).messages


@pytest.mark.parametrize("name", WAYS)
@on_both_loops
async def test_tolerated(name: str, tmp_path: Path) -> None:
    """One message at most, whose lines end as they should."""
    async with serve(files(tmp_path, barelf="tolerant")) as serving:
        for end in ENDS:
            (reply,) = await WAYS[name](serving, ENDS[end])
            taken = catcher(serving).messages
            assert reply.startswith((REFUSED, b"250 ")), end
            # A mail system that asks hands its messages over by itself.
            assert len(taken) == (reply.startswith(b"250 ") and name != "milter"), end
            assert not any(map(_bare, taken)), end
            taken.clear()


@pytest.mark.parametrize(("front", "hello"), [("", "EHLO"), ("lmtp", "LHLO")])
@on_both_loops
async def test_who_waits_for_a_reply_gets_none(front: str, hello: str, tmp_path: Path) -> None:
    """As smtpsmug does, which sends the rest of the message only when it has waited in vain."""
    async with serve(files(tmp_path)) as serving:
        witness = await Client.of(serving)
        for name, end in AFTER_A_LINE.items():
            port = serving.fronts[front] if front else serving.port
            client = await (await Client.connect(serving.host, port)).greeted()
            codes = await client.commands(f"{hello} client.example", *MAIL, "DATA")
            assert codes == [250, 250, 250, 354]
            client.send(OUTER + b"\r\n")
            client.send(end.removeprefix(b"\r\n"))
            # Once another client has been served, what has come is read.
            assert (await witness.command("RSET")).startswith("250 ")
            assert not client.reader._buffer, name  # type: ignore[attr-defined]
            (reply,) = await _said(client, INNER + REAL)
            assert reply.startswith(REFUSED), name
        await witness.close()
        assert not catcher(serving).messages


@pytest.mark.parametrize(
    ("name", "messages"), [("DATA", 2), ("LMTP", 2), ("BDAT", 1), ("chunks", 1)]
)
async def test_the_real_one(name: str, messages: int, tmp_path: Path) -> None:
    """It ends what DATA began, and is text in a chunk."""
    async with serve(files(tmp_path)) as serving:
        lines = await WAYS[name](serving, REAL)
        assert lines[0].startswith(b"250 ")
        assert len(catcher(serving).messages) == messages
