# SPDX-License-Identifier: MIT
"""virus/command: have any program look for viruses.

    virus/command [infected=1] [clean=0] [name=REGEX] [found=REGEX]
                  PROGRAM [ARGUMENT...]

    virus/command infected=13 name=Found:?\\s+(?:the\\s+)?(\\S+) /usr/local/uvscan/uvscan --mime {}

The program is run for each message of up to `max_size`. A word `{}` of its command line stands for
a file with the message; without one, it reads the message from its standard input. There is no
shell, and no quoting. It runs as the daemon's user, within what the daemon's unit permits, and has
to be named last, with its absolute path.

Its exit status decides: one of `infected` means a virus, one of `clean` means none, unless the
output matches the expression `found`. The first group of the expression `name`, if it is found in
the output, is the name of the virus. Only the first 4096 characters of the output count. A message
with a virus is refused with 552 5.7.1 "Virus found: NAME", and costs the client a point of karma;
with `action=add-header` it gets the header fields X-Virus-Found: Yes and X-Virus-Details. Without a
virus it gets X-Virus-Found: No and X-Virus-Checked. Fields X-Virus-* that came with the message
become X-Old-Virus-*.

After any other exit status, or if the program takes too long, the message is deferred with 451
4.3.0, or passes unscanned with `on_error=pass`. After three failures in a row the program is run
only every now and then until it works again; the log says when that begins and ends.

This stands in for virus/aveclient, virus/bitdefender, virus/hbedv, virus/kavscanner, virus/sophie
and virus/uvscan of the Perl version, whose scanners are hardly to be had any more.

Exempt clients are checked as well. With `mode=shadow` the message is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.api import (
    ConfigError,
    Finding,
    Plugin,
    Size,
    System,
    Transaction,
    Verdict,
    compile_pattern,
    opt,
)
from qpsmtpd.nexthop.program import Finished
from qpsmtpd.scanners import (
    Content,
    ScannerError,
    ScannerOptions,
    VirusReport,
    check_command,
    put_away,
    short_name,
    unscanned,
)
from qpsmtpd.scanners.command import MOST_OUTPUT, Command, last_line


def _check_pattern(text: str) -> None:
    try:
        compile_pattern(text, "")
    except ConfigError as error:
        raise ValueError(f"a regular expression ({error.problem})") from None


def _check_command(text: str) -> None:
    if not text.startswith("/"):
        raise ValueError("the absolute path of a program, with its arguments")


@dataclass(frozen=True, kw_only=True)
class CommandOptions(ScannerOptions):
    """Options of virus/command."""

    command: str = opt(
        rest=True, check=_check_command, doc="The program and its arguments; {} is the message."
    )
    infected: tuple[int, ...] = opt((1,), least=0, most=255, doc="Exit statuses that mean a virus.")
    clean: tuple[int, ...] = opt((0,), least=0, most=255, doc="Exit statuses that mean none.")
    name: str = opt(
        "", check=_check_pattern, doc="Expression whose first group is the name of the virus."
    )
    found: str = opt(
        "",
        check=_check_pattern,
        doc="Expression that means a virus if the output matches it, for programs whose exit "
        "status does not tell.",
    )
    action: Literal["reject", "add-header"] = opt(
        "reject", doc="What becomes of a message with a virus: it is refused, or only marked."
    )
    max_size: Size = opt(Size(1 << 20), doc="Larger messages are not scanned.")
    connections: int = opt(
        2, least=1, doc="How many messages each worker has scanned at once; others wait."
    )

    def check(self) -> list[str]:
        """Problems that show only once all options are known."""
        both = sorted(set(self.infected) & set(self.clean))
        return [f"infected, clean: {both[0]} cannot mean both"] if both else []


class VirusCommand(Plugin[CommandOptions]):
    """Viruses, in the opinion of a program."""

    async def start(self) -> None:
        options, services = self.options, self.services
        self._command = Command(
            options.command.split(),
            services.spool_dir,
            services.clock,
            timeout=options.timeout,
            connections=options.connections,
        )
        self._name = compile_pattern(options.name, self.name) if options.name else None
        self._found = compile_pattern(options.found, self.name) if options.found else None
        refuse, change = options.action == "reject", self.mode != "shadow"
        checked = f"on {services.me}"
        self._report = VirusReport(self.name, self.log, checked, refuse=refuse, change=change)

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether the program can be run."""
        yield check_command(system, self.options.command.split()[0], self.options)

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if tx.message is None:
            return None
        if self._report.change:
            put_away(tx, "X-Virus", "rename")
        content = Content(tx.message)
        if content.size > self.options.max_size:
            self.log.info("skipped: the message is too large size=%d", content.size)
            return None
        try:
            virus = await self._command.scan(content, self._virus_in)
        except ScannerError as error:
            return unscanned(self.options, self.log, error)
        return self._report.about(tx, virus)

    def _virus_in(self, finished: Finished) -> str:
        """What was found, "" if that is nothing.  Raises ScannerError."""
        output = finished.output[:MOST_OUTPUT]
        if finished.status in self.options.clean:
            if self._found is None or self._found.search(output) is None:
                return ""
        elif finished.status not in self.options.infected:
            raise ScannerError(f"exit status {finished.status}: {last_line(finished)}")
        named = self._name.search(output) if self._name else None
        return short_name(next(filter(None, named.groups()), "") if named else "")
