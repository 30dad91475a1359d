# SPDX-License-Identifier: MIT
"""`qpsmtpd dmarc-report`: what it shows, and that it sends, with a real store and next hop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from qpsmtpd.commands import dmarc_report
from qpsmtpd.commands.main import main
from qpsmtpd.mailauth.aggregate import day_of
from qpsmtpd.mailauth.aggregatecounts import DAY, AggregateCounts
from qpsmtpd.store.opening import shared_store
from qpsmtpd.testing import FakeClock
from tests.dns_server import DnsServer
from tests.unit.mailauth.reporting import PUBLISHED, ROW, parsed, text_at
from tests.unit.nexthop.fake import FakeHop

NOW = 1_800_000_000.0
OPTIONS = "reporting report_sender reports@receiver.test report_via"


@pytest.fixture(autouse=True)
def _not_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests stays who they are, and there is no midnight."""
    monkeypatch.setattr(dmarc_report, "become_daemon", lambda *_: None)
    monkeypatch.setattr(
        dmarc_report, "environment_of_daemon", lambda machine: dict(machine.environment)
    )
    monkeypatch.setattr(dmarc_report, "Clock", lambda: FakeClock(NOW))
    monkeypatch.setenv("NO_COLOR", "1")


def a_configuration(directory: Path, dmarc: str = f"{OPTIONS} 127.0.0.1:9") -> list[str]:
    """The command's words for a configuration whose store is in its directory."""
    lines = ["sender_permitted_from", "dkim", f"dmarc {dmarc}", "rcpt_ok", "queue/discard"]
    (directory / "plugins").write_text("\n".join(lines) + "\n")
    (directory / "me").write_text("mx.receiver.test\n")
    (directory / "store").write_text(f"{directory}/store.sqlite\n")
    return ["dmarc-report", "--config", str(directory)]


def count(directory: Path, *counted: tuple[float, str, int]) -> None:
    """Count messages: so many days ago, about a domain, how many."""

    async def work() -> None:
        store = shared_store(directory / "store.sqlite", 10.0)
        for ago, domain, messages in counted:
            clock = FakeClock(NOW - ago * DAY)
            published = replace(PUBLISHED, domain=domain, rua=(f"mailto:a@{domain}",))
            for _ in range(messages):
                await AggregateCounts(store, clock).count(published, ROW)
        await store.close()

    asyncio.run(work())


def day(ago: float) -> str:
    return day_of(NOW - ago * DAY)


# --- show -----------------------------------------------------------------------------------------


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = a_configuration(tmp_path)
    count(tmp_path, (0, "b.test", 2), (0, "a.test", 1), (2, "author.test", 12))
    assert main([*words, "--show"]) == main(words) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert (
        lines[: len(lines) // 2]
        == lines[len(lines) // 2 :]
        == [
            "DAY         DOMAIN       MESSAGES  ROWS  REPORT",
            f"{day(0)}  a.test       1         1     counting",
            f"{day(0)}  b.test       2         1     counting",
            f"{day(2)}  author.test  12        1     due",
        ]
    )
    assert main([*words, "--day", day(2)]) == 0
    assert "a.test" not in capsys.readouterr().out.replace("author.test", "")


def test_show_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = a_configuration(tmp_path)
    count(tmp_path, (0, "author.test", 2), (1, "author.test", 5))
    assert main([*words, "--show", "Author.test"]) == 0
    root = parsed(capsys.readouterr().out.encode())
    assert text_at(root, "record/row/count") == "2"
    assert text_at(root, "report_metadata/email") == "reports@receiver.test"
    assert main([*words, "--show", "author.test", "--day", day(1)]) == 0
    assert text_at(parsed(capsys.readouterr().out.encode()), "record/row/count") == "5"
    assert main([*words, "--show", "other.test"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        f"nothing was counted about other.test on {day(0)}\n",
    )


# --- send -----------------------------------------------------------------------------------------


@contextmanager
def running(hop: FakeHop, dns: DnsServer) -> Iterator[None]:
    """The next hop and a name server, in a loop of their own: the command has another."""
    loop = asyncio.new_event_loop()
    started, end = Event(), asyncio.Event()

    async def serve() -> None:
        async with hop, dns:
            started.set()
            await end.wait()

    thread = Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(60)
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(60)
        loop.close()


def test_send(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hop, dns = FakeHop(), DnsServer({})
    with running(hop, dns):
        host, port = dns.address
        monkeypatch.setenv("QPSMTPD_RESOLVER", f"{host}:{port}")
        words = a_configuration(tmp_path, f"{OPTIONS} 127.0.0.1:{hop.port}")
        count(tmp_path, (2, "author.test", 3), (3, "old.test", 1), (0, "today.test", 1))
        assert main([*words, "--send", "--day", day(2)]) == 0
        assert (
            capsys.readouterr().out == f"{day(2)} author.test: sent to a@author.test: 3 messages\n"
        )
        assert main([*words, "--send"]) == 0
        assert capsys.readouterr().out == f"{day(3)} old.test: sent to a@old.test: 1 messages\n"
        assert main([*words, "--send"]) == 0
        assert capsys.readouterr().out == ""
        hop.change(RCPT="450 4.2.0 later")
        count(tmp_path, (2, "more.test", 1))
        assert main([*words, "--send"]) == 1
        assert "more.test: not sent to a@more.test: 127.0.0.1" in capsys.readouterr().out
    assert len(hop.messages) == 2
    assert b"\r\nTo: a@author.test\r\n" in hop.messages[0]
    assert main(words) == 0
    states = {line.split()[1]: line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert states == {
        "DOMAIN": "REPORT",
        "author.test": "sent",
        "old.test": "sent",
        "more.test": "due",
        "today.test": "counting",
    }


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dmarc", "words", "problem"),
    [
        ("", "--show author.test", "the line dmarc of the file plugins needs report_sender"),
        ("reporting", "--send", "the line dmarc of the file plugins needs report_via"),
        ("reporting report_via x:25", "--send", "needs report_sender=ADDRESS"),
        ("reject 7", "--show", "plugins:3: dmarc: reject: '7' is not one of 0, author, 1, naughty"),
        (f"{OPTIONS} x:25", "--send --day {today}", "no report about {today} is due"),
    ],
)
def test_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dmarc: str, words: str, problem: str
) -> None:
    today = day(0)
    count(tmp_path, (0, "author.test", 1))
    line = a_configuration(tmp_path, dmarc)
    assert main([*line, *words.format(today=today).split()]) == 1
    assert problem.format(today=today) in capsys.readouterr().err


def test_reports_that_are_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The timer may be enabled all the same."""
    assert main([*a_configuration(tmp_path, "reject 0"), "--send"]) == 0
    assert "reports are off" in capsys.readouterr().out


def test_settings_that_are_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = a_configuration(tmp_path)
    (tmp_path / "store").write_text("no place\n")
    assert main(words) == 1
    assert "the configuration has errors; qpsmtpd check-config" in capsys.readouterr().err


def test_the_line_that_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = a_configuration(tmp_path)
    lines = f"dmarc:1 reject 0\ndmarc:2 on_fault=skip {OPTIONS} 127.0.0.1:9\nlocal_plugin x\n"
    (tmp_path / "plugins").write_text(lines)
    count(tmp_path, (0, "author.test", 2))
    assert main([*words, "--show", "author.test"]) == 0
    root = parsed(capsys.readouterr().out.encode())
    assert text_at(root, "report_metadata/email") == "reports@receiver.test"


def test_a_chain_without_dmarc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = a_configuration(tmp_path)
    (tmp_path / "plugins").write_text("rcpt_ok\nqueue/discard\n")
    assert main(words) == 1
    assert "has no line dmarc" in capsys.readouterr().err


def test_a_store_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = a_configuration(tmp_path)
    (tmp_path / "store").write_text("/nonexistent/store.sqlite\n")
    assert main(words) == 1
    assert "the store cannot be used: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["yesterday", "2027-02-30", "2027"])
def test_days(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit):
        main(["dmarc-report", "--day", text])
    assert f"{text!r} is not a day (2026-11-29)" in capsys.readouterr().err
