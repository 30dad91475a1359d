# SPDX-License-Identifier: MIT
"""logging/file: log to a file or to a command.

    logging/file [loglevel LEVEL] [nosplit] [reopen] [tsformat FORMAT]
                 DESTINATION

Writes what reaches LEVEL as `TIMESTAMP HOST[PID]: ID hook=NAME plugin=NAME: text`.

DESTINATION is the rest of the line, with its spaces.  In it `%i` is the id of the session
("parent" outside a session), and everything else that strftime(3) knows is replaced:
`/var/log/qpsmtpd/%Y%m%d.log` makes a file per day.  The file is opened for appending, and created
with mode 0640; its directory must exist.  It is reopened when its name changes, on SIGUSR1 (log
rotation), and with `reopen` for every session.  A named pipe that nobody reads is an error.

A DESTINATION that begins with `|` is a command that gets the lines on its standard input:
`|/usr/bin/multilog t ./main`.  It is split as by a shell, but run without one, and its environment
is only a search path.  If it ends, it is started again after five seconds.

Logging never stops mail: lines that cannot be written, or that the command does not take at
once, are lost; a message on stderr says so, at most once a minute.

Differences from the Perl version: the lines have ids, hook and plugin; a command is not run by a
shell.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import (
    FileOutlet,
    Finding,
    LogLevel,
    Outlet,
    PipeOutlet,
    Plugin,
    Session,
    System,
    check_directory,
    format_record,
    opt,
)

#: Files open at once when there is one per session.
MOST_FILES = 64


def _check_destination(text: str) -> None:
    try:
        words = shlex.split(text[1:]) if text.startswith("|") else [text]
    except ValueError as error:
        raise ValueError(f"| and a command: {error}") from None
    if not words:
        raise ValueError("| and a command")


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    loglevel: LogLevel = opt(
        LogLevel.LOGWARN, doc="The level that a message must reach to be written."
    )
    nosplit: bool = opt(
        False, doc="Write messages of several lines with a single time stamp.", flag=True
    )
    reopen: bool = opt(False, doc="Open the file again for every session.", flag=True)
    tsformat: str = opt("%a %b %d %T %Y", doc="The format of the time stamp; see strftime(3).")
    destination: str = opt(
        doc="A file name, or | and a command, with %-sequences.",
        rest=True,
        check=_check_destination,
    )


class File(Plugin[FileOptions]):
    """Append records to a file, or feed them to a command."""

    apart = True

    async def start(self) -> None:
        self._most = MOST_FILES if "%i" in self.options.destination else 1
        self._outlets: OrderedDict[str, Outlet] = OrderedDict()
        self._closed: list[PipeOutlet] = []
        self._host = socket.gethostname()
        #: The name of the file, if it is always the same.
        self._only = "" if "%" in self.options.destination else self.options.destination
        #: The second and the process of the last record, and how their lines begin.
        self._second = self._process = -1
        self._begin = ""

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether the daemon's user can write to the file, or the command exists."""
        destination = self.options.destination
        subject = f"{self.name} {destination}"
        # What strftime(3) replaces is in the name of the file, hardly ever above.
        directory = Path(destination.partition("%")[0] + "x").parent
        if destination.startswith("|"):
            yield _examine_program(system, subject, destination[1:].split()[0])
        elif not system.exists(directory):
            yield Finding.warning(subject, f"{directory} does not exist, so nothing is logged")
        elif "%" not in destination and system.exists(destination):
            yield _examine_file(system, subject, destination)
        else:
            yield check_directory(system, self.name, directory)

    def hook_logging(self, record: logging.LogRecord) -> None:
        begin = self._begin_of_line(int(record.created), record.process or 0)
        text = format_record(record)
        if "\n" in text and not self.options.nosplit:
            text = text.replace("\n", f"\n{begin}")
        line = f"{begin}{text}\n".encode("utf-8", "backslashreplace")
        outlet = self._outlets.get(self._only) or self._outlet(self._name(record))
        if isinstance(outlet, FileOutlet) and record.levelno < logging.WARNING:
            outlet.write_soon(line)
        else:
            outlet.write(line)

    async def hook_pre_connection(self, session: Session) -> None:
        if self.options.reopen:
            self.reopen()

    async def stop(self) -> None:
        self.reopen()
        closed, self._closed = self._closed, []
        for outlet in closed:
            await asyncio.to_thread(outlet.wait)

    def reopen(self) -> None:
        """Close; the next record opens the files under their names."""
        while self._outlets:
            self._close_oldest()

    def _begin_of_line(self, second: int, process: int) -> str:
        if second != self._second or process != self._process:
            self._second, self._process = second, process
            stamp = time.strftime(self.options.tsformat, time.localtime(second))
            self._begin = f"{stamp} {self._host}[{process}]: "
        return self._begin

    def _name(self, record: logging.LogRecord) -> str:
        if self._only:
            return self._only
        template = self.options.destination
        session = getattr(record, "session", "") or "parent"
        return time.strftime(template.replace("%i", session), time.localtime(record.created))

    def _outlet(self, name: str) -> Outlet:
        outlet = self._outlets.get(name)
        if outlet is None:
            while len(self._outlets) >= self._most:
                self._close_oldest()
            outlet = PipeOutlet(name[1:].strip()) if name.startswith("|") else FileOutlet(name)
            self._outlets[name] = outlet
        return outlet

    def _close_oldest(self) -> None:
        _, outlet = self._outlets.popitem(last=False)
        outlet.close()
        if isinstance(outlet, PipeOutlet):
            self._closed = [old for old in self._closed if old.running] + [outlet]


def _examine_program(system: System, subject: str, program: str) -> Finding:
    if system.runnable(program):
        return Finding.ok(subject, "the program exists")
    return Finding.warning(subject, f"{program} is not a program, so nothing is logged")


def _examine_file(system: System, subject: str, path: str) -> Finding:
    found = system.obstacle(path, os.W_OK)
    if found is None:
        return Finding.ok(subject, f"user {system.user} can write to it")
    text, command = f"{found}, so nothing is logged", f"chown {system.user}:adm {path}"
    return Finding.warning(subject, text, "Give it to the user:", command)
