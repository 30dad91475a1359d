# SPDX-License-Identifier: MIT
"""virus/clamav: have ClamAV's program clamscan, or clamdscan, look for viruses.

    virus/clamav [PATH] [action=reject|add-header] [max_size=BYTES]
                 [clamd_conf=FILE]

The program at PATH (`/usr/bin/clamscan`) is run for each message of up to `max_size` bytes, and
reads it from its standard input. With a virus the message is refused with 552 5.7.1 "Virus found:
NAME", and costs the client a point of karma; with `action=add-header` it gets the header fields
X-Virus-Found: Yes and X-Virus-Details. Without a virus it gets X-Virus-Found: No and
X-Virus-Checked. Fields X-Virus-* that came with the message become X-Old-Virus-*.

clamscan loads all signatures each time, which takes seconds and a gigabyte of memory for each
message. So better name clamdscan, which asks the daemon clamd, or use the plugin virus/clamdscan,
which does so without a program.

If the program fails or takes too long, the message is deferred with 451 4.3.0, or passes unscanned
with `on_error=pass`. After three failures in a row it is run only every now and then until it works
again; the log says when that begins and ends.

Exempt clients are checked as well. With `mode=shadow` the message is not changed.

Differences from the Perl version: there is a default for PATH. `declined_on_fail` is `on_error
pass`. `back_compat`, for programs before 2004, is ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qpsmtpd.api import Finding, Plugin, Size, System, Transaction, Verdict, matching, opt
from qpsmtpd.nexthop.program import Finished
from qpsmtpd.scanners import (
    Content,
    ScannerError,
    ScannerOptions,
    VirusReport,
    check_command,
    is_false,
    put_away,
    replace_words,
    short_name,
    unscanned,
)
from qpsmtpd.scanners.command import MOST_OUTPUT, Command, last_line

#: Names of viruses that a refusal has.
_MOST_NAMES = 3


@dataclass(frozen=True, kw_only=True)
class ClamavOptions(ScannerOptions):
    """Options of virus/clamav."""

    clamscan_path: str = opt(
        "/usr/bin/clamscan",
        positional=True,
        check=matching(os.path.isabs, "an absolute path"),
        doc="The program: clamscan or clamdscan.",
    )
    action: Literal["reject", "add-header"] = opt(
        "reject", doc="What becomes of a message with a virus: it is refused, or only marked."
    )
    max_size: Size = opt(Size(524288), doc="Larger messages are not scanned.")
    clamd_conf: Path | None = opt(
        None, doc="The configuration file for clamdscan; by default its own."
    )
    tmp_dir: Path | None = opt(None, doc="The directory for temporary files of clamscan.")
    back_compat: bool = opt(False, flag=True, doc="Ignored; of older versions.")
    connections: int = opt(
        2, least=1, doc="How many messages each worker has scanned at once; others wait."
    )

    @staticmethod
    def rewrite(words: Sequence[str]) -> Sequence[str]:
        """declined_on_fail, alone or with a value."""
        words = ["declined_on_fail=1" if word == "declined_on_fail" else word for word in words]
        return replace_words(words, "declined_on_fail", _on_error)

    @property
    def command(self) -> list[str]:
        """The words of the command line."""
        words = [self.clamscan_path, "--stdout", "--no-summary"]
        if Path(self.clamscan_path).name.startswith("clamdscan"):
            words += [f"--config-file={self.clamd_conf}"] if self.clamd_conf else []
        else:
            words += [f"--tempdir={self.tmp_dir}"] if self.tmp_dir else []
        return [*words, "-"]


def _on_error(value: str) -> list[str]:
    return ["on_error", "defer" if is_false(value) else "pass"]


class Clamav(Plugin[ClamavOptions]):
    """Viruses, in the opinion of clamscan."""

    async def start(self) -> None:
        options, services = self.options, self.services
        self._command = Command(
            options.command,
            services.spool_dir,
            services.clock,
            timeout=options.timeout,
            connections=options.connections,
        )
        refuse, change = options.action == "reject", self.mode != "shadow"
        checked = f"by ClamAV on {services.me}"
        self._report = VirusReport(self.name, self.log, checked, refuse=refuse, change=change)

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether the program can be run."""
        yield check_command(system, self.options.clamscan_path, self.options)

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
            virus = await self._command.scan(content, _virus_in)
        except ScannerError as error:
            return unscanned(self.options, self.log, error)
        return self._report.about(tx, virus)


def _virus_in(finished: Finished) -> str:
    """What was found, from exit status and output (clamscan(1)).  Raises ScannerError."""
    if finished.status == 0:
        return ""
    if finished.status != 1:
        raise ScannerError(f"exit status {finished.status}: {last_line(finished)}")
    lines = (line for line in finished.output[:MOST_OUTPUT].splitlines())
    names = [
        line.removesuffix(" FOUND").rpartition(": ")[2] for line in lines if line.endswith(" FOUND")
    ]
    return short_name(", ".join(names[:_MOST_NAMES]))
