# SPDX-License-Identifier: MIT
"""`qpsmtpd dmarc-report`: show and send DMARC aggregate reports."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from qpsmtpd import __version__
from qpsmtpd.commands.arguments import add_command, add_config, directories_of
from qpsmtpd.commands.asdaemon import become_daemon, environment_of_daemon, store_file
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.loader import new_store, resolver_by
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlines import plugin_name
from qpsmtpd.config.problems import errors_in
from qpsmtpd.config.settings import Settings, load_settings
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.errors import QpsmtpdError, StoreError
from qpsmtpd.mailauth.aggregate import day_of
from qpsmtpd.mailauth.aggregatecounts import DAY, AggregateCounts
from qpsmtpd.mailauth.aggregatexml import total
from qpsmtpd.plugin.options import Seconds, read_words
from qpsmtpd.plugin.reportoptions import DmarcReportOptions
from qpsmtpd.plugin.services import Clock, Entry
from qpsmtpd.reports.handover import hand_over_by
from qpsmtpd.reports.sending import KEPT_DAYS, Identity, Reporter, due_days

#: Seconds to wait for the store: nobody's mail waits meanwhile.
STORE_TIMEOUT = 15.0

_PLUGIN = "dmarc"
_GENERATOR = f"qpsmtpd {__version__}"


def add_dmarc_report(commands: Any) -> None:
    """Add the command `dmarc-report`."""
    text = (
        "Show what was counted for DMARC aggregate reports, or send the reports that are due. The "
        "unit qpsmtpd-dmarc-report.timer sends them, once it is enabled; the plugin dmarc counts, "
        "with its option reporting."
    )
    parser = add_command(commands, "dmarc-report", _dmarc_report, text)
    add_config(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--send", action="store_true", help="send what is due, each report once")
    what.add_argument(
        "--show", nargs="?", const="", metavar="DOMAIN",
        help="list the reports of each day (this is the default), or print that about DOMAIN "
        "as XML",
    )  # fmt: skip
    parser.add_argument(
        "--day", type=_day, metavar="YYYY-MM-DD",
        help="only this day, in UTC (with a DOMAIN: today, if not given)",
    )  # fmt: skip
    parser.epilog = (
        "Root's command runs as the daemon's user. The exit status is 1 if the mail system did not "
        "take a report; the next run tries that again."
    )


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day (2026-11-29)") from None


@dataclass(frozen=True)
class _Setup:
    """What the configuration says."""

    settings: Settings
    options: DmarcReportOptions
    environment: dict[str, str]

    @property
    def identity(self) -> Identity:
        address = self.options.sender_of_reports
        if address is None:
            raise QpsmtpdError("the line dmarc of the file plugins needs report_sender=ADDRESS")
        return Identity(address, _GENERATOR)


def _dmarc_report(arguments: argparse.Namespace) -> int:
    setup = _read(directories_of(arguments.config))
    try:
        if arguments.send:
            return asyncio.run(_send(setup, arguments.day))
        if arguments.show:
            return asyncio.run(_show(setup, arguments.show.lower(), arguments.day))
        return asyncio.run(_list(setup, arguments.day))
    except StoreError as error:
        raise QpsmtpdError(f"the store cannot be used: {error}") from error


def _read(directories: Sequence[Path]) -> _Setup:
    """What the configuration says.  Raises QpsmtpdError.

    No plugin but ours is imported, and no file of the store is opened by root.
    """
    files, machine = ConfigFiles(directories), Machine()
    settings, problems = load_settings(files)
    if errors_in(problems):
        raise QpsmtpdError("the configuration has errors; qpsmtpd check-config says which")
    settings = replace(settings, store_timeout=Seconds(STORE_TIMEOUT))
    environment = environment_of_daemon(machine)
    become_daemon(machine, store_file(settings, environment))
    return _Setup(settings, _options(files), environment)


def _options(files: ConfigFiles) -> DmarcReportOptions:
    """The options of the line that counts, or of the first.  Raises QpsmtpdError."""
    found = [
        _options_of(entry)
        for entry in files.entries("plugins")
        if plugin_name(entry).partition(":")[0] == _PLUGIN
    ]
    if not found:
        raise QpsmtpdError(f"the file plugins has no line {_PLUGIN}, so nothing is counted")
    return next((each for each in found if each.reporting), found[0])


def _options_of(entry: Entry) -> DmarcReportOptions:
    # What it does not know is for every plugin, or none of ours.
    reading = read_words(PluginFinder().find(_PLUGIN).Options, entry.text.split()[1:])
    if not isinstance(reading.options, DmarcReportOptions):
        raise QpsmtpdError(f"{entry.where}: {_PLUGIN}: {'; '.join(reading.problems)}")
    return reading.options


@asynccontextmanager
async def _counts(setup: _Setup) -> AsyncIterator[AggregateCounts]:
    store = new_store(setup.settings, setup.environment)
    try:
        yield AggregateCounts(store, Clock())
    finally:
        await store.close()


# --- showing --------------------------------------------------------------------------------


async def _list(setup: _Setup, day: str | None) -> int:
    now = Clock().now()
    days = [day] if day else [day_of(now - ago * DAY) for ago in range(KEPT_DAYS + 1)]
    rows = [("DAY", "DOMAIN", "MESSAGES", "ROWS", "REPORT")]
    async with _counts(setup) as counts:
        for each in days:
            async for row in _rows_of(counts, each, day_of(now)):
                rows.append(row)
    print("\n".join(_table(rows)))
    return 0


async def _rows_of(
    counts: AggregateCounts, day: str, today: str
) -> AsyncIterator[tuple[str, str, str, str, str]]:
    for domain in await counts.domains(day):
        found = await counts.rows(day, domain)
        outcome = await counts.outcome(day, domain)
        state = outcome or ("counting" if day == today else "due")
        yield day, domain, str(total(found)), str(len(found)), state


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


async def _show(setup: _Setup, domain: str, day: str | None) -> int:
    day = day or day_of(Clock().now())
    async with _counts(setup) as counts:
        published = await counts.published(day, domain)
        rows = await counts.rows(day, domain)
    if published is None or not rows:
        print(f"nothing was counted about {domain} on {day}", file=sys.stderr)
        return 1
    print(setup.identity.report(day, published, rows).xml().decode(), end="")
    return 0


# --- sending --------------------------------------------------------------------------------


async def _send(setup: _Setup, day: str | None) -> int:
    if not setup.options.reporting:
        print("reports are off: the line dmarc has no reporting=yes")
        return 0
    if not setup.options.report_via:
        raise QpsmtpdError("the line dmarc of the file plugins needs report_via=HOST:PORT")
    clock = Clock()
    days = list(due_days(clock.now()))
    if day is not None:
        if day not in days:
            raise QpsmtpdError(
                f"no report about {day} is due: that would be {days[-1]} to {days[0]}"
            )
        days = [day]
    identity = setup.identity
    hand_over = hand_over_by(setup.options.report_via, setup.settings.me)
    resolver = resolver_by(setup.environment)
    try:
        async with _counts(setup) as counts:
            reporter = Reporter(counts, resolver, clock, identity, hand_over, _say)
            return 0 if await reporter.run(days) else 1
    finally:
        await hand_over.close()
        await resolver.close()


def _say(text: str) -> None:
    print(text, flush=True)
