# SPDX-License-Identifier: MIT
"""logging/syslog and logging/journald, with a socket that the test listens on."""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.plugins.logging.journald import MESSAGE_LIMIT, Journald
from qpsmtpd.plugins.logging.syslog import LINE_LIMIT, Syslog
from qpsmtpd.testing import a_plugin
from tests.unit.client import PATIENCE
from tests.unit.plugins.logging.records import a_record, a_record_of_a_fault, pass_on


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "log"))
        listening.settimeout(PATIENCE)
        yield listening


def entry(datagram: bytes) -> dict[str, bytes]:
    """The fields of an entry in the journal's protocol."""
    fields: dict[str, bytes] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", datagram[:8])
            value = datagram[8 : 8 + length]
            assert datagram[8 + length : 9 + length] == b"\n"
            datagram = datagram[9 + length :]
        fields[name.decode()] = value
    return fields


async def test_syslog_line(tmp_path: Path, receiver: socket.socket) -> None:
    plugin = await a_plugin(Syslog, f"loglevel LOGINFO socket {tmp_path}/log")
    pass_on(plugin, a_record(level=logging.DEBUG))
    pass_on(plugin, a_record(level=logging.INFO, plugin="dnsbl"))
    line = receiver.recv(1000).decode()
    stamp = r"\w{3} [ \d]\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"<22>{stamp} qpsmtpd\[{os.getpid()}\]: S1 plugin=dnsbl: hello", line)
    await plugin.stop()


@pytest.mark.parametrize(
    ("arguments", "head"),
    [
        ("", b"<20>"),
        ("facility LOG_LOCAL7", b"<188>"),
        ("facility local0", b"<132>"),
        ("facility LOG_FTP", b"<92>"),
        ("facility LOG_AUTHPRIV", b"<84>"),
        ("priority LOG_ERR", b"<19>"),
        ("priority LOG_WARNING", b"<20>"),
        ("priority LOGINFO", b"<22>"),
        ("priority LOG_EMERG logsock unix,udp", b"<16>"),
    ],
)
async def test_syslog_priority(
    tmp_path: Path, receiver: socket.socket, arguments: str, head: bytes
) -> None:
    plugin = await a_plugin(Syslog, f"{arguments} ident mx socket {tmp_path}/log")
    pass_on(plugin, a_record())
    datagram = receiver.recv(1000)
    assert datagram.startswith(head)
    assert b" mx[" in datagram
    await plugin.stop()


async def test_syslog_sends_line_by_line(tmp_path: Path, receiver: socket.socket) -> None:
    plugin = await a_plugin(Syslog, f"socket {tmp_path}/log")
    pass_on(plugin, a_record("one\n" + "x" * 10_000))
    assert receiver.recv(1000).endswith(b": S1: one")
    assert len(receiver.recv(20_000)) == LINE_LIMIT
    await plugin.stop()


async def test_syslog_wrong_words() -> None:
    for line in ("facility LOG_NOTHING", "priority LOUD", "loglevel"):
        with pytest.raises(ConfigError):
            await a_plugin(Syslog, line)


async def test_journal_entry(tmp_path: Path, receiver: socket.socket) -> None:
    plugin = await a_plugin(Journald, f"LOGINFO socket {tmp_path}/log")
    pass_on(plugin, a_record(level=logging.DEBUG))
    pass_on(plugin, a_record(transaction="S1.1", hook="rcpt"))
    assert entry(receiver.recv(5000)) == {
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"qpsmtpd",
        "SYSLOG_FACILITY": b"2",
        "QPSMTPD_SESSION": b"S1",
        "QPSMTPD_TRANSACTION": b"S1.1",
        "QPSMTPD_HOOK": b"rcpt",
        "LOGGER": b"qpsmtpd.test",
        "MESSAGE": b"S1.1 hook=rcpt: hello",
    }
    await plugin.stop()


async def test_without_a_journal_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = await a_plugin(Journald, f"socket {tmp_path}/journal/socket")
    pass_on(plugin, a_record())
    await plugin.stop()
    assert capsys.readouterr().err == ""


async def test_journal_entry_of_several_lines(tmp_path: Path, receiver: socket.socket) -> None:
    plugin = await a_plugin(Journald, f"socket {tmp_path}/log")
    pass_on(plugin, a_record_of_a_fault())
    message = entry(receiver.recv(9000))["MESSAGE"].decode()
    assert "hello\n    Traceback" in message
    assert message.endswith("ValueError: broken")
    await plugin.stop()


async def test_journal_message_is_cut(tmp_path: Path, receiver: socket.socket) -> None:
    plugin = await a_plugin(Journald, f"socket {tmp_path}/log")
    pass_on(plugin, a_record("x" * 100_000))
    assert len(entry(receiver.recv(200_000))["MESSAGE"]) == MESSAGE_LIMIT
    await plugin.stop()


async def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for plugin in (
        await a_plugin(Syslog, f"socket {tmp_path}/log"),
        await a_plugin(Journald, f"socket {tmp_path}/log"),
    ):
        pass_on(plugin, a_record())
        await plugin.stop()
        assert "cannot log" in capsys.readouterr().err
