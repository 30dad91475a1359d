# SPDX-License-Identifier: MIT
"""`qpsmtpd explain` finds what a daemon has decided, wherever it stands, by all that one knows."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from qpsmtpd.commands import explain
from qpsmtpd.commands.main import main
from qpsmtpd.decisions.book import Book
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.explain.logfiles import decision_in, last_of, lines_of, rotated
from qpsmtpd.explain.query import Query, parse_query
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from tests.unit.daemon_process import Daemon, configure, running

MANY = 1000
_PARTS = 4
_AT_ONCE = 20
#: Every so many are compared with all others.
_STEP = 100

JUDGE = """
from qpsmtpd.api import *

class Judge(Plugin[NoOptions]):
    async def hook_rcpt(self, tx, recipient):
        if recipient.address.local_part.startswith("refused"):
            return deny("no such user", status="5.1.1")
        return None

    async def hook_data_post(self, tx):
        return defer("later") if "deferred" in tx.sender else None

    async def hook_queue(self, tx):
        tx.next_hop_id = f"Q{tx.sender.partition('@')[0].upper()}Z"
        return accept()
"""

Source = tuple[str, list[Decision]]


def kind_of(number: int) -> str:
    return ("refused", "deferred", "accepted")[number % 3]


def sender_of(number: int) -> str:
    return f"{kind_of(number)}{number}@client.example"


def recipient_of(number: int) -> str:
    return f"{kind_of(number)}{number}@example.test"


def ip_of(number: int) -> str:
    return f"127.1.{number >> 7}.{(number & 127) + 1}"


def keys(number: int, decision: Decision) -> Iterator[str]:
    """What somebody may know of a decision."""
    session = ".".join(decision.id.split(".")[:3])
    yield from (decision.id, session, ip_of(number), f"{ip_of(number)}/32", recipient_of(number))
    if kind_of(number) != "refused":
        message_id = f"{number}@ids.client.example"
        yield from (sender_of(number), sender_of(number).upper(), message_id, f"<{message_id}>")
    if kind_of(number) == "accepted":
        yield f"QACCEPTED{number}Z"


async def send(port: int, number: int) -> None:
    """A session that one decision is about."""
    place = (ip_of(number), 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=place)
    await reader.readline()
    for line in (
        f"HELO helo{number}.example",
        f"MAIL FROM:<{sender_of(number)}>",
        f"RCPT TO:<{recipient_of(number)}>",
        *(() if kind_of(number) == "refused" else ("DATA",)),
    ):
        writer.write(f"{line}\r\n".encode())
        await reader.readline()
    if kind_of(number) != "refused":
        writer.write(f"Message-ID: <{number}@ids.client.example>\r\n\r\n.\r\n".encode())
        await reader.readline()
    writer.write(b"QUIT\r\n")
    await reader.read()
    writer.close()


async def send_all(daemon: Daemon, port: int, file: Path) -> None:
    """Have everything decided, and the log rotated meanwhile."""
    await daemon.ready()
    for part in range(_PARTS):
        mine = range(part * MANY // _PARTS, (part + 1) * MANY // _PARTS)
        for start in range(mine.start, mine.stop, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, mine.stop))
            await asyncio.gather(*(send(port, number) for number in numbers))
        if part < _PARTS - 1:
            file.rename(f"{file}.{_PARTS - 1 - part}")
            daemon.signal(signal.SIGUSR1)
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 0


def prepare(directory: Path) -> Path:
    """Write the configuration; the log file."""
    (directory / "judge.py").write_text(JUDGE)
    file = directory / "log/q.log"
    file.parent.mkdir()
    configure(
        directory,
        {
            "plugin_dirs": str(directory),
            "plugins": "judge\nrcpt_ok",
            "store": f"{directory}/store.sqlite",
            # So that all decisions are kept, also if the machine stands still for a second.
            "store_timeout": "60",
            "logging": [
                f"logging/file loglevel LOGINFO {file}",
                f"logging/json LOGINFO file {directory}/q.json",
            ],
        },
    )
    return file


async def in_store(directory: Path) -> list[Decision]:
    store = shared_store(parse_location(f"{directory}/store.sqlite"), 10)
    found = [decision async for decision in Book(store).newest_first()]
    await store.close()
    return found


def in_lines(lines: Sequence[str]) -> list[Decision]:
    return last_of(filter(None, map(decision_in, lines)), 2 * MANY)


def journal_of(lines: Sequence[str]) -> list[str]:
    """The lines as `journalctl --output=short-iso` has them."""
    stamp = re.compile(r"^.{24} \S+\[\d+\]: ")
    return [stamp.sub("2026-11-29T22:40:18+0000 mx qpsmtpd[17]: ", line) for line in lines]


def check(source: Source) -> None:
    """Everything is found by every key, and nothing else by it."""
    name, decisions = source
    assert len(decisions) == MANY, name
    assert all(each.time > 0 for each in decisions), name
    by_client = {each.ip: each for each in decisions}
    for number in range(MANY):
        own = by_client[ip_of(number)]
        assert own.outcome == kind_of(number), name
        for key in keys(number, own):
            query = parse_query([key])
            assert query.means(own), (name, key)
            if number % _STEP == 0:
                assert [each for each in decisions if query.means(each)] == [own], (name, key)
        assert Query(recipient_of(number), own.outcome, last=True).means(own)


async def test_a_thousand_decisions_of_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = prepare(tmp_path)
    # Everything is logged to files, so nobody could read the port from stderr.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with running(tmp_path, passed=[listening], listen=[]) as daemon:
            await send_all(daemon, port, file)
    for old in (file.with_name("q.log.3"), file.with_name("q.log.2")):
        old.with_name(f"{old.name}.gz").write_bytes(gzip.compress(old.read_bytes()))
        old.unlink()
    names = [each.name for each in rotated(file)]
    assert sorted(names) == ["q.log", "q.log.1", "q.log.2.gz", "q.log.3.gz"]
    lines = [line for each in rotated(file) for line in lines_of(each)]
    stored = await in_store(tmp_path)
    check(("store", stored))
    check(("files", in_lines(lines)))
    check(("JSON", in_lines(list(lines_of(tmp_path / "q.json")))))
    check(("journal", in_lines(journal_of(lines))))

    def told(*words: str) -> Decision:
        """The only decision that the command finds."""
        assert main(["explain", "--config", str(tmp_path), "--json", *words]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        return Decision(**{k: v for k, v in json.loads(line).items() if k != "remedies"})

    await asyncio.to_thread(by_command, told, stored)
    (tmp_path / "store.sqlite").rename(tmp_path / "away")
    monkeypatch.setattr(explain, "lines_of_journal", lambda _unit: iter(()))
    await asyncio.to_thread(by_command, told, stored)
    file.parent.rename(tmp_path / "gone")
    (tmp_path / "q.json").unlink()
    monkeypatch.setattr(explain, "lines_of_journal", lambda _unit: iter(journal_of(lines)))
    await asyncio.to_thread(by_command, told, stored)


def by_command(told: Callable[..., Decision], stored: Sequence[Decision]) -> None:
    """The command itself finds three by every key, and the last ones."""
    by_client = {each.ip: each for each in stored}
    for number in (0, 334, 998):
        own = by_client[ip_of(number)]
        assert {told("--last", "1", key).id for key in keys(number, own)} == {own.id}
        assert told("last", own.outcome, "for", recipient_of(number)).id == own.id
