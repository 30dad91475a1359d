# SPDX-License-Identifier: MIT
"""`qpsmtpd karma`, on the store of a configuration."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from qpsmtpd.commands import karma
from qpsmtpd.commands import main as cli
from qpsmtpd.lists.clientrecords import ClientRecord, ClientRecords
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from tests.redis_server import redis_server


@pytest.fixture(params=["sqlite", "redis"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    else:
        url = str(tmp_path / "store.sqlite")
    (tmp_path / "plugins").write_text("relay\nkarma:7 penalty_days 2 mode=shadow\nrcpt_ok\n")
    (tmp_path / "store").write_text(url + "\n")
    now = int(time.time())
    keep(
        tmp_path,
        {
            "192.0.2.1": ClientRecord(naughty=2, nice=0, connects=3, last=now),
            "192.0.2.2": ClientRecord(naughty=0, nice=5, connects=7, last=now - 8 * 86400),
            "2001:db8::/64": ClientRecord(naughty=1, nice=1, connects=2, last=now),
            "192.0.2.3": ClientRecord(naughty=1, nice=0, connects=1, last=now - 8 * 86400),
        },
        captured=["192.0.2.3"],
    )
    return tmp_path


@pytest.fixture
def redis_url() -> object:
    with redis_server() as server:
        yield server.url


def keep(site: Path, records: dict[str, ClientRecord], captured: list[str]) -> None:
    async def write() -> None:
        store = shared_store(parse_location((site / "store").read_text().strip()), 10.0)
        kept = ClientRecords(store.scoped("karma:7"), 30)
        for client, record in records.items():
            await store.scoped("karma:7").put(f"record/{client}", bytes(record), 3600)
        for client in captured:
            await kept.capture(client, 1, time.time())
        await store.close()

    asyncio.run(write())


def run(site: Path, words: str) -> int:
    return cli.main(["karma", *words.split(), "--config", str(site)])


def clients(text: str) -> list[str]:
    """The clients in a table."""
    heading, *lines, totals = text.splitlines()
    assert heading.split()[0] == "CLIENT"
    assert totals.split()[1] == "clients,"
    return [line.split()[0] for line in lines]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("list", ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::/64"]),
        ("search naughty", ["192.0.2.1", "192.0.2.3", "2001:db8::/64"]),
        ("search nice", ["192.0.2.2", "2001:db8::/64"]),
        ("search both", ["2001:db8::/64"]),
        ("search 192.0.2.2", ["192.0.2.2"]),
        ("search 2001:db8::5", ["2001:db8::/64"]),
    ],
)
def test_lists(
    site: Path, words: str, found: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(site, words) == 0
    assert clients(capsys.readouterr().out) == found


def test_a_table(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:5] == ["192.0.2.1", "2", "0", "3", time.strftime("%Y-%m-%d")]
    # With the end of the penalty.
    assert len(lines[3].split()) == len(lines[1].split()) + 2
    assert lines[-1] == "4 clients, 4 naughty, 6 nice, 13 connects"


def test_a_client_that_is_not_there(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "search 192.0.2.9") == 1
    assert clients(capsys.readouterr().out) == []
    assert run(site, "release 192.0.2.9") == 1
    assert "nothing is known" in capsys.readouterr().out


def test_capture_and_release(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "capture 192.0.2.2") == 0
    assert capsys.readouterr().out == "192.0.2.2: in the penalty box for 2 days\n"
    assert run(site, "search 192.0.2.2") == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[3:6] == ["1", "5", "7"]
    assert run(site, "release 192.0.2.2") == 0
    assert run(site, "release 192.0.2.3") == 0
    capsys.readouterr()
    assert run(site, "search 192.0.2.2") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["192.0.2.2", "0", "5", "7"]


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("prune", ["192.0.2.1", "192.0.2.3", "2001:db8::/64"]),
        ("prune 9", ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::/64"]),
    ],
)
def test_prune(site: Path, words: str, left: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Who is in the penalty box is not forgotten."""
    assert run(site, words) == 0
    assert capsys.readouterr().out == f"forgot {4 - len(left)} of 4 clients\n"
    assert run(site, "list") == 0
    assert clients(capsys.readouterr().out) == left


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("capture", "`karma capture` takes an address, not ''"),
        ("release example", "`karma release` takes an address, not 'example'"),
        ("search nobody", "`karma search` takes naughty, nice, both or an address, not 'nobody'"),
        ("prune never", "`karma prune` takes a number of days, not 'never'"),
        ("list all", "`karma list` takes nothing, not 'all'"),
    ],
)
def test_wrong_words(
    tmp_path: Path, words: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, words) == 1
    assert problem in capsys.readouterr().err


def test_no_store_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store").write_text(f"{tmp_path}/store.sqlite\n")
    assert run(tmp_path, "list") == 1
    assert "there is no store yet" in capsys.readouterr().err
    assert not (tmp_path / "store.sqlite").exists()


def test_a_store_that_is_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store").write_text(f"unix://:secret@{tmp_path}/none.sock\n")
    assert run(tmp_path, "list") == 1
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("user", "owner", "done"),
    [
        (0, 1234, ["setgroups []", "setgid 567", "setuid 1234"]),
        (0, 0, []),
        (1234, 1234, []),
    ],
)
def test_root_becomes_the_owner_of_the_file(
    user: int, owner: int, done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite makes files beside it, and the daemon has to write to them."""
    (tmp_path / "store").write_text(f"{tmp_path}/store.sqlite\n")
    (tmp_path / "plugins").write_text("karma\n")
    site = karma._site((tmp_path,))
    called: list[str] = []
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: called.append(f"{name} {value}"))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(Path, "stat", lambda _: SimpleNamespace(st_uid=owner, st_gid=567))
    site.store.become_owner()
    assert called == done
