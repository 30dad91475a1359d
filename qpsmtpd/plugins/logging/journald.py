# SPDX-License-Identifier: MIT
"""logging/journald: log to the journal of systemd, with fields.

    logging/journald [LEVEL]

Sends what reaches LEVEL by the journal's own protocol.  Besides MESSAGE and PRIORITY an entry has
SYSLOG_IDENTIFIER, SYSLOG_FACILITY (mail), LOGGER and, where they are known, QPSMTPD_SESSION,
QPSMTPD_IP (of the client), QPSMTPD_TRANSACTION, QPSMTPD_HOOK and QPSMTPD_PLUGIN: `journalctl
QPSMTPD_SESSION=65F1C0DE.4D2.7` shows one connection.  MESSAGE is the line as it would be in a file,
with the ids, the hook and the plugin, so that `journalctl -u qpsmtpd` alone tells why something was
refused.  Messages are cut at 32 KiB.

The daemon does not wait for the journal: what the journal does not take at once is lost; a message
on stderr says so, at most once a minute.  On a machine without a journal it does nothing.

Differences from the Perl version: the Perl version has no such plugin.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import DatagramOutlet, LogLevel, Plugin, format_record, opt

#: Bytes of a message; a datagram has to hold the whole entry.
MESSAGE_LIMIT = 32 * 1024

_FACILITY_MAIL = "2"


@dataclass(frozen=True, kw_only=True)
class JournaldOptions:
    loglevel: LogLevel = opt(
        LogLevel.LOGINFO, doc="The level that a message must reach to be sent.", positional=True
    )
    ident: str = opt("qpsmtpd", doc="SYSLOG_IDENTIFIER of the entries.")
    socket: Path = opt(Path("/run/systemd/journal/socket"), doc="The socket of the journal.")


class Journald(Plugin[JournaldOptions]):
    """Send records to the journal."""

    async def start(self) -> None:
        place = self.options.socket
        self._outlet = DatagramOutlet(place) if place.parent.is_dir() else None

    def hook_logging(self, record: logging.LogRecord) -> None:
        if self._outlet is None:
            return
        fields = _fields(record, self.options.ident)
        self._outlet.write(b"".join(_encode(name, value) for name, value in fields if value))

    async def stop(self) -> None:
        if self._outlet is not None:
            self._outlet.close()


def _fields(record: logging.LogRecord, ident: str) -> Iterator[tuple[str, str]]:
    yield "PRIORITY", str(LogLevel.of(record).priority)
    yield "SYSLOG_IDENTIFIER", ident
    yield "SYSLOG_FACILITY", _FACILITY_MAIL
    for name in ("session", "ip", "transaction", "hook", "plugin"):
        yield f"QPSMTPD_{name.upper()}", getattr(record, name, "")
    yield "LOGGER", record.name
    yield "MESSAGE", format_record(record)


def _encode(name: str, value: str) -> bytes:
    """A field; a value of several lines is preceded by its length (systemd's native protocol)."""
    data = value.encode("utf-8", "backslashreplace")[:MESSAGE_LIMIT]
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data)
