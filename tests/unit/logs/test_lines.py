# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/logs/lines.py."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from qpsmtpd.logs.handler import PluginHandler
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.logs.lines import Line, write_line
from qpsmtpd.logs.records import bind, format_record, stderr_text
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


def a_talking_session() -> Session:
    session = a_session("192.0.2.1", ehlo="client.example")
    session.transaction = a_transaction(session=session)
    return session


def both(handler: PluginHandler, session: Session) -> list[logging.LogRecord]:
    """The same line by the usual way and by the short one."""
    keeper = Keeper()
    handler.replace([keeper], LogLevel.LOGINFO)
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


def test_nothing_is_made_of_what_nobody_reads(alone: PluginHandler) -> None:
    keeper = Keeper()
    keeper.log_level = logging.WARNING
    alone.replace([keeper], LogLevel.LOGINFO)
    write_line(log, a_session(), TEXT, *VALUES)
    assert keeper.records == []


def test_others_may_listen_as_well(alone: PluginHandler) -> None:
    """Whoever has added a handler to a logger, as tests do, gets the line; once."""
    keeper, other, third = Keeper(), _Others(), _Others()
    alone.replace([keeper], LogLevel.LOGINFO)
    write_line(log, a_session(), "first")
    logging.root.handlers.append(other)
    write_line(log, a_session(), "second")
    logging.root.handlers.remove(other)
    logging.getLogger("qpsmtpd").addHandler(third)
    write_line(log, a_session(), "third")
    logging.getLogger("qpsmtpd").removeHandler(third)
    assert [record.msg for record in keeper.records] == ["first", "second", "third"]
    assert (other.texts, third.texts) == (["second"], ["third"])


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
    alone.replace([slow], LogLevel.LOGINFO)
    other = threading.Thread(target=log.info, args=("slow",))
    other.start()
    assert begun.wait(60)
    short = threading.Thread(target=write_line, args=(log, a_session(), "short"))
    short.start()
    go_on.set()
    other.join()
    short.join()
    assert [record.msg for record in slow.records] == ["slow", "short"]
