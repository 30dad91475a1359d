# SPDX-License-Identifier: MIT
"""Levels, the text of records, whose ids they get, and where they go."""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logs.handler import PluginHandler, install
from qpsmtpd.logs.levels import NOTHING, LogLevel
from qpsmtpd.logs.records import ContextFilter, bind, format_record, stderr_text
from qpsmtpd.mail.session import Session
from qpsmtpd.plugin.options import parse_value
from qpsmtpd.testing import a_session, a_transaction


def a_record(
    message: str = "hello", level: int = logging.INFO, **values: object
) -> logging.LogRecord:
    record = logging.LogRecord("qpsmtpd.test", level, __file__, 1, message, (), None)
    record.__dict__.update(values)
    return record


class Sink:
    """A logging plugin that collects."""

    def __init__(self, level: int = logging.DEBUG, *, apart: bool = False) -> None:
        self.log_level = level
        self.apart = apart
        self.records: list[logging.LogRecord] = []
        self.reopened = 0

    def hook_logging(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def reopen(self) -> None:
        self.reopened += 1


class Broken:
    """A logging plugin with a fault."""

    log_level = logging.DEBUG

    def hook_logging(self, record: logging.LogRecord) -> None:
        raise RuntimeError("no disk")


class Chatty:
    """A logging plugin that logs."""

    log_level = logging.DEBUG

    def __init__(self) -> None:
        self.calls = 0

    def hook_logging(self, record: logging.LogRecord) -> None:
        self.calls += 1
        logging.getLogger("qpsmtpd.test").error("again")


@pytest.fixture
def handler() -> Iterator[PluginHandler]:
    logger = logging.getLogger("qpsmtpd")
    before = logger.level
    yield install(LogLevel.LOGWARN)
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h, PluginHandler)]
    logger.setLevel(before)


@pytest.fixture(autouse=True)
def no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)


@pytest.mark.parametrize(
    ("text", "level", "python"),
    [
        ("LOGDEBUG", 7, logging.DEBUG),
        ("7", 7, 10),
        ("8", 7, 10),
        ("9", 7, 10),
        ("10", 7, 10),
        ("loginfo", 6, logging.INFO),
        ("LOGNOTICE", 5, 25),
        ("warn", 4, logging.WARNING),
        ("3", 3, logging.ERROR),
        ("LOGCRIT", 2, logging.CRITICAL),
        ("LOGALERT", 1, 55),
        ("LOGEMERG", 0, 60),
        ("LOGRADAR", 0, 60),
    ],
)
def test_levels_of_the_perl_version(text: str, level: int, python: int) -> None:
    parsed = LogLevel.parse(text)
    assert (parsed.priority, int(parsed)) == (level, python)


@pytest.mark.parametrize("text", ["-1", "", "LOG", "LOUD", "LOGLOGINFO", "8x", "٨", "1" * 10])
def test_words_that_are_no_level(text: str) -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        LogLevel.parse(text)


@given(st.text())
def test_parse_raises_nothing_else(text: str) -> None:
    try:
        level = LogLevel.parse(text)
    except ValueError:
        return
    assert LogLevel.parse(str(level)) is level


def test_level_is_a_type_of_options() -> None:
    assert parse_value(LogLevel, "LOGINFO") is LogLevel.LOGINFO
    assert str(LogLevel.LOGINFO) == "LOGINFO"


@pytest.mark.parametrize(
    ("number", "level"),
    [(1, "LOGDEBUG"), (10, "LOGDEBUG"), (24, "LOGINFO"), (30, "LOGWARN"), (99, "LOGEMERG")],
)
def test_level_of_a_record(number: int, level: str) -> None:
    assert str(LogLevel.of(a_record(level=number))) == level


def test_level_names_are_registered() -> None:
    assert [logging.getLevelName(n) for n in (25, 55, 60)] == ["NOTICE", "ALERT", "EMERG"]
    assert logging.getLevelName(30) == "WARNING"


def test_format_with_everything() -> None:
    record = a_record(session="S1", transaction="S1.2", hook="rcpt", plugin="rcpt_ok")
    assert format_record(record) == "S1.2 hook=rcpt plugin=rcpt_ok: hello"


def test_format_with_session_alone_and_with_nothing() -> None:
    assert format_record(a_record(session="S1", transaction="", hook="", plugin="")) == "S1: hello"
    assert format_record(a_record()) == "hello"


def test_format_appends_the_traceback_indented() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = a_record(exc_info=sys.exc_info())
    lines = format_record(record).split("\n")
    assert lines[:2] == ["hello", "    Traceback (most recent call last):"]
    assert lines[-1] == "    ValueError: broken"


def test_format_escapes_control_characters() -> None:
    assert format_record(a_record("a\x1b[31m\rb\tc")) == "a\\x1b[31m\\rb\tc"


@given(st.text())
def test_format_never_starts_a_line_of_its_own(message: str) -> None:
    lines = format_record(a_record("x" + message, session="S1")).splitlines()
    assert lines[0].startswith("S1: x")
    assert all(line.startswith("    ") for line in lines[1:])


def test_filter_sets_what_was_bound() -> None:
    def log_one() -> logging.LogRecord:
        bind(transaction.session)
        record = a_record()
        ContextFilter().filter(record)
        return record

    transaction = a_transaction()
    record = contextvars.copy_context().run(log_one)
    seen = [getattr(record, name) for name in ("session", "transaction", "hook", "plugin")]
    assert seen == [transaction.session.id, transaction.id, "", ""]


def test_filter_between_transactions() -> None:
    record = a_record()
    session = a_session()
    context = contextvars.copy_context()
    context.run(bind, session)
    context.run(ContextFilter().filter, record)
    assert (record.__dict__["session"], record.__dict__["transaction"]) == (session.id, "")


def test_filter_keeps_what_extra_gave() -> None:
    record = a_record(plugin="dnsbl", hook="rcpt")
    ContextFilter().filter(record)
    assert (record.__dict__["plugin"], record.__dict__["hook"]) == ("dnsbl", "rcpt")


def test_filter_knows_the_plugin_of_its_logger() -> None:
    record = a_record()
    record.name = "qpsmtpd.plugins.queue.maildir"
    ContextFilter().filter(record)
    assert record.__dict__["plugin"] == "queue/maildir"


async def test_each_task_has_its_own_ids(handler: PluginHandler) -> None:
    sink = Sink()
    handler.replace([sink])
    bound = asyncio.Barrier(2)

    async def serve(session: Session) -> None:
        bind(session)
        await bound.wait()
        logging.getLogger("qpsmtpd.test").info("of %s", session.id)

    await asyncio.gather(serve(a_session()), serve(a_session()))
    assert len(sink.records) == 2
    for record in sink.records:
        assert record.getMessage() == f"of {record.__dict__['session']}"


def test_without_plugins_stderr_gets_what_reaches_the_level(
    handler: PluginHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("qpsmtpd.test")
    log.info("quiet")
    log.warning("loud")
    assert capsys.readouterr().err == f"{os.getpid()} loud\n"


def test_level_of_stderr_holds_for_other_packages_too(
    handler: PluginHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.replace([], LogLevel.LOGERROR)
    logging.getLogger("elsewhere").warning("quiet")
    assert capsys.readouterr().err == ""


def test_with_a_plugin_stderr_gets_nothing(
    handler: PluginHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = Sink()
    handler.replace([sink])
    logging.getLogger("qpsmtpd.test").error("elsewhere")
    assert (capsys.readouterr().err, len(sink.records)) == ("", 1)


@pytest.mark.parametrize(
    ("apart", "to_both", "expected"),
    [([True], True, "<3>bad\n"), ([True, False], True, ""), ([True], False, "")],
)
def test_errors_reach_the_journal_as_well(
    handler: PluginHandler,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    apart: list[bool],
    to_both: bool,
    expected: str,
) -> None:
    monkeypatch.setattr("qpsmtpd.logs.handler.stderr_is_journal", lambda: True)
    monkeypatch.setattr("qpsmtpd.logs.records.stderr_is_journal", lambda: True)
    sinks = [Sink(apart=value) for value in apart]
    handler.replace(sinks, to_both=to_both)
    logging.getLogger("qpsmtpd.test").warning("odd")
    logging.getLogger("qpsmtpd.test").error("bad")
    assert capsys.readouterr().err == expected
    assert [len(sink.records) for sink in sinks] == [2] * len(sinks)


def test_records_below_every_level_are_not_made(handler: PluginHandler) -> None:
    handler.replace([Sink(logging.ERROR), Sink(NOTHING)])
    assert not logging.getLogger("qpsmtpd.test").isEnabledFor(logging.WARNING)
    handler.replace([Sink(logging.ERROR), Sink(logging.INFO)])
    assert logging.getLogger("qpsmtpd.test").isEnabledFor(logging.INFO)
    handler.replace([Broken()])
    assert logging.getLogger("qpsmtpd.test").isEnabledFor(logging.DEBUG)


def test_each_plugin_gets_what_reaches_its_level(handler: PluginHandler) -> None:
    quiet, loud = Sink(logging.ERROR), Sink(logging.INFO)
    handler.replace([quiet, loud])
    for level in (logging.DEBUG, logging.INFO, logging.ERROR):
        logging.getLogger("qpsmtpd.test").log(level, "hello")
    assert [record.levelno for record in quiet.records] == [logging.ERROR]
    assert [record.levelno for record in loud.records] == [logging.INFO, logging.ERROR]


def test_a_fault_of_a_plugin_is_told_and_stops_nobody(
    handler: PluginHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = Sink()
    handler.replace([Broken(), sink])
    logging.getLogger("qpsmtpd.test").error("lost")
    assert "RuntimeError: no disk" in capsys.readouterr().err
    assert len(sink.records) == 1


def test_what_a_plugin_logs_does_not_come_back(handler: PluginHandler) -> None:
    chatty = Chatty()
    handler.replace([chatty])
    logging.getLogger("qpsmtpd.test").error("once")
    assert chatty.calls == 1


def test_reopen_asks_those_who_can(handler: PluginHandler) -> None:
    sink = Sink()
    handler.replace([Broken(), sink])
    handler.reopen()
    assert sink.reopened == 1


def test_install_twice_is_one_handler(handler: PluginHandler) -> None:
    assert install(LogLevel.LOGDEBUG) is handler
    assert handler.lowest_level == logging.DEBUG


def test_journal_gets_priorities(monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert stderr_text(a_record(level=40), "one\n    two") == "<3>one\n<3>    two\n"
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert stderr_text(a_record(), "one", "`") == f"`{os.getpid()} one\n"


def test_a_closed_stderr_is_no_fault(
    handler: PluginHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    logging.getLogger("qpsmtpd.test").error("nobody hears")
