# SPDX-License-Identifier: MIT
import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qpsmtpd.commands import explain
from qpsmtpd.commands.main import main
from qpsmtpd.decisions.book import Book, Chunk
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from tests.unit.decisions.examples import a_decision
from tests.unit.explain.test_logfiles import MESSAGE, REFUSAL, STAMP

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `qpsmtpd explain` with a store and a log of its own."""
    (tmp_path / "me").write_text("mx.example\n")
    (tmp_path / "store").write_text(f"{tmp_path}/store.sqlite\n")
    (tmp_path / "logging").write_text(f"logging/file loglevel LOGINFO {tmp_path}/q.log\n")
    monkeypatch.setattr(explain, "lines_of_journal", lambda _unit: iter(()))

    def run_it(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["explain", "--config", str(tmp_path), *words])
        return (status, *capsys.readouterr())

    return run_it


def keep(directory: Path, *decisions: Decision) -> None:
    async def write() -> None:
        store = shared_store(parse_location(f"{directory}/store.sqlite"), 10)
        book = Book(store)
        for start in range(0, len(decisions), 100):
            part = decisions[start : start + 100]
            chunk = Chunk.of(part[0].time, [each.encode() for each in part])
            state = await book.begin(len(chunk.packed), 1)
            await book.put(state.end - 1, chunk.encode(0), 1)
        await store.close()

    asyncio.run(write())


def numbered(number: int) -> Decision:
    return a_decision(
        number,
        next_hop_id=f"queue{number}",
        message_id=f"<{number}@ids.example>",
        sender=f"from{number}@client.example",
        recipients=(f"to{number}@example.test",),
        ip=f"10.0.{number // 250}.{number % 250}",
    )


async def test_a_thousand_decisions_by_every_kind_of_key() -> None:
    """Without the command line, which would read the store 6000 times."""
    from qpsmtpd.explain.query import Query

    decisions = [numbered(number) for number in range(1000)]
    for decision in decisions[::7]:
        for key in (
            *(decision.id, decision.next_hop_id, decision.message_id, decision.sender),
            *(decision.recipients[0], decision.ip),
        ):
            query = Query(key)
            assert [each for each in decisions if query.means(each)] == [decision]


def test_the_story_from_the_store(run: Run, tmp_path: Path) -> None:
    keep(tmp_path, *(numbered(number) for number in range(1000)))
    for key in ("queue517", "<517@ids.example>", "to517@example.test", "10.0.2.17", "A.B.205"):
        status, out, err = run(key)
        assert (status, err) == (0, "")
        assert "to <to517@example.test>" in out
        assert out.count("It was refused by the plugin spamassassin") == 1
        assert "If that was wrong:" in out
    _, out, _ = run("last", "refused", "for", "client.example", "--json")
    assert json.loads(out)["next_hop_id"] == "queue999"
    assert run("@example.test", "--last", "7")[1].count("It was refused") == 7


def test_the_log_knows_more(run: Run, tmp_path: Path) -> None:
    (tmp_path / "q.log").write_text(f"{STAMP}{MESSAGE}\n{STAMP}{REFUSAL}\n{STAMP}\x1b[2Jnoise\n")
    status, out, _ = run("user@example.test")
    assert status == 0
    assert "by the plugin dmarc" in out
    assert "The recipient user@example.test was deferred" in out
    _, out, _ = run("6B0C.3E.1.1", "--log")
    assert "The log says:" in out
    assert out.count("helo='a b'") == 1
    assert "\x1b" not in out


def test_a_damaged_store_leaves_the_log(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"no database" * 500)
    (tmp_path / "q.log").write_text(f"{STAMP}{MESSAGE}\n")
    status, out, err = run("192.0.2.7")
    assert (status, "does not answer" in err, "by the plugin dmarc" in out) == (0, True, True)


def test_nothing_is_known(run: Run, tmp_path: Path) -> None:
    status, out, err = run("nobody@example.test\x1b")
    assert (status, out) == (1, "")
    assert "nothing is known of nobody@example.test\\x1b" in err
    assert run("last", "week")[0] == 1
