# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/logs/lines.py."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from qpsmtpd.logs.handler import MANY, PluginHandler
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.logs.lines import write_line, write_soon, write_waiting
from qpsmtpd.logs.records import Line, bind, format_record, stderr_text
from qpsmtpd.mail.session import Session
from qpsmtpd.testing import a_session, a_transaction

TEXT = "message %s ip=%s size=%d"
VALUES = ("accepted", "192.0.2.1", 17)
log = logging.getLogger("qpsmtpd.smtp.test")


class Keeper:
    """Keeps what a logging plugin would get."""

    log_level = logging.INFO

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []

    def hook_logging(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginHandler]:
    """Our handler, and no other, as in the daemon."""
    handler = PluginHandler()
    monkeypatch.setattr(logging.root, "handlers", [handler])
    for name, value in (("_srcfile", None), ("logThreads", False), ("logMultiprocessing", False)):
        monkeypatch.setattr(logging, name, value)  # as install does
    level = logging.getLogger("qpsmtpd").level
    yield handler
    logging.getLogger("qpsmtpd").setLevel(level)
    bind(None)


def listen(handler: PluginHandler, keeper: Keeper) -> None:
    """Have it get the lines, and nobody else: pytest listens as well by now."""
    logging.root.handlers[:] = [handler]
    handler.replace([keeper], LogLevel.LOGINFO)


def a_talking_session() -> Session:
    session = a_session("192.0.2.1", ehlo="client.example")
    session.transaction = a_transaction(session=session)
    return session


def both(handler: PluginHandler, session: Session) -> list[logging.LogRecord]:
    """The same line by the usual way and by the short one."""
    keeper = Keeper()
    listen(handler, keeper)
    bind(session)
    log.info(TEXT, *VALUES, extra={"hook": "rcpt", "plugin": "rcpt_ok"})
    write_line(log, session, TEXT, *VALUES, hook="rcpt", plugin="rcpt_ok")
    usual, short = keeper.records
    assert not isinstance(usual, Line)
    assert isinstance(short, Line)
    # What the clock says differs.
    short.created, short.msecs = usual.created, usual.msecs
    return keeper.records


@pytest.mark.parametrize("session", [a_session("192.0.2.1"), a_talking_session()])
def test_a_line_says_what_a_record_says(alone: PluginHandler, session: Session) -> None:
    """In every attribute, so that no logging plugin can tell the difference."""
    usual, short = both(alone, session)
    told = {"taskName": None} | vars(usual) | {"relativeCreated": 0.0}
    assert vars(short) == told  # formatters look there
    assert stderr_text(short, format_record(short)) == stderr_text(usual, format_record(usual))


async def test_a_line_that_cannot_be_composed_costs_no_other(
    alone: PluginHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(created: float) -> Line:
        raise RuntimeError("broken")

    keeper = Keeper()
    listen(alone, keeper)
    write_soon(log, broken)
    write_line(log, a_session(), "line")
    log.info("record")
    assert [record.msg for record in keeper.records] == ["line", "record"]
    assert "RuntimeError: broken" in capsys.readouterr().err


def test_nothing_is_made_of_what_nobody_reads(alone: PluginHandler) -> None:
    keeper = Keeper()
    keeper.log_level = logging.WARNING
    listen(alone, keeper)
    write_line(log, a_session(), TEXT, *VALUES)
    assert keeper.records == []


def test_others_may_listen_as_well(alone: PluginHandler) -> None:
    """Whoever has added a handler to a logger, as tests do, gets the line; once."""
    keeper, other, third = Keeper(), _Others(), _Others()
    listen(alone, keeper)
    write_line(log, a_session(), "first")
    logging.root.handlers.append(other)
    write_line(log, a_session(), "second")
    logging.root.handlers.remove(other)
    logging.getLogger("qpsmtpd").addHandler(third)
    write_line(log, a_session(), "third")
    logging.getLogger("qpsmtpd").removeHandler(third)
    assert [record.msg for record in keeper.records] == ["first", "second", "third"]
    assert (other.texts, third.texts) == (["second"], ["third"])


async def test_lines_are_written_together(alone: PluginHandler) -> None:
    """A little later, in their order, and with the time at which they were to be written."""
    keeper, session = Keeper(), a_session()
    listen(alone, keeper)
    before = time.time()
    for number in range(3):
        write_line(log, session, "%d", number)
    after = time.time()
    assert keeper.records == []
    async with asyncio.timeout(10):
        while not keeper.records:
            await asyncio.sleep(0)
    assert [record.getMessage() for record in keeper.records] == ["0", "1", "2"]
    assert before <= keeper.records[0].created <= keeper.records[-1].created <= after


async def test_lines_do_not_wait_for_ever(alone: PluginHandler) -> None:
    keeper = Keeper()
    listen(alone, keeper)
    for number in range(MANY + 1):
        write_line(log, a_session(), "%d", number)
    assert len(keeper.records) == MANY


async def test_nothing_overtakes_a_line(alone: PluginHandler) -> None:
    keeper = Keeper()
    listen(alone, keeper)
    write_line(log, a_session(), "first")
    log.info("second")
    write_line(log, a_session(), "third")
    other = threading.Thread(target=log.warning, args=("fourth",))
    other.start()
    other.join()
    assert [record.msg for record in keeper.records] == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize("how", ["plugins change", "log rotation", "the end"])
async def test_lines_go_where_they_belong(alone: PluginHandler, how: str) -> None:
    """To the plugins and files that were there when they were to be written."""
    keeper = Keeper()
    listen(alone, keeper)
    write_line(log, a_session(), "line")
    match how:
        case "plugins change":
            alone.replace([Keeper()])
        case "log rotation":
            alone.reopen()
        case "the end":
            write_waiting()
    assert [record.msg for record in keeper.records] == ["line"]


async def test_what_a_logging_plugin_says_of_a_line_is_dropped(alone: PluginHandler) -> None:
    class Chatty(Keeper):
        def hook_logging(self, record: logging.LogRecord) -> None:
            write_line(log, a_session(), "about a line")
            log.error("about a line")
            super().hook_logging(record)

    chatty = Chatty()
    listen(alone, chatty)
    write_line(log, a_session(), "line")
    write_waiting()
    assert [record.msg for record in chatty.records] == ["line"]


class _Others(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def test_a_line_waits_for_another_thread(alone: PluginHandler) -> None:
    """A logging plugin is called by one thread at a time, and no line is dropped."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Keeper):
        def hook_logging(self, record: logging.LogRecord) -> None:
            begun.set()
            go_on.wait(60)
            super().hook_logging(record)

    slow = Slow()
    listen(alone, slow)
    other = threading.Thread(target=log.info, args=("slow",))
    other.start()
    assert begun.wait(60)
    short = threading.Thread(target=write_line, args=(log, a_session(), "short"))
    short.start()
    go_on.set()
    other.join()
    short.join()
    assert [record.msg for record in slow.records] == ["slow", "short"]
