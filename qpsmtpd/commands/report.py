# SPDX-License-Identifier: MIT
"""`qpsmtpd report`: what became of mail in a period, and what more would have been refused."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element

from qpsmtpd.commands.arguments import (
    add_command,
    add_config,
    directories_of,
    number_type,
    silence,
)
from qpsmtpd.commands.daemonstore import DaemonStore
from qpsmtpd.commands.log import add_selection, selection_by
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.problems import errors_in
from qpsmtpd.config.settings import Settings, load_settings
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.digest.charts import charts_of
from qpsmtpd.digest.dailyreport import daily
from qpsmtpd.digest.digest import Digest
from qpsmtpd.digest.gather import ROWS, gather
from qpsmtpd.digest.mail import compose
from qpsmtpd.digest.page import page
from qpsmtpd.digest.plain import plain
from qpsmtpd.digest.sections import Report
from qpsmtpd.digest.shadow import Shadow
from qpsmtpd.digest.shadowreport import shadow_report
from qpsmtpd.digest.shadows import shadow_of
from qpsmtpd.digest.text import lines_of
from qpsmtpd.errors import AddressError, QpsmtpdError, StoreError
from qpsmtpd.mail.address import Address, parse_mailbox
from qpsmtpd.reports.handover import HandOverError, hand_over_by

_DAY = 86400.0
_EPILOG = (
    "It tells of the last 24 hours, and of the last 14 days with --shadow, unless --since says "
    "otherwise, and compares them with the period of the same length before. The sums are those of "
    "`qpsmtpd log` with the same options: both read the decisions in the store of the running "
    "daemon, which decisions_days, decisions_size and the privacy settings bound. The charts in "
    "HTML need python3-svgwrite. The unit qpsmtpd-report.timer mails yesterday's report, once it "
    "is enabled, to the addresses in report_to. The exit status is 1 if there is nothing in the "
    "period, or the mail system did not take the report."
)


def add_report(commands: Any) -> None:
    """Add the command `report`."""
    text = "Sum up what became of mail, or show what more would have been refused."
    parser = add_command(commands, "report", _report, text)
    add_selection(parser)
    parser.add_argument(
        "--shadow",
        action="store_true",
        help="what lines with mode=shadow, mode=tag or reject 0 would have refused, and what is "
        "known of the levels of filters above the present one",
    )
    parser.add_argument(
        "--rows",
        type=number_type(1),
        default=ROWS,
        metavar="N",
        help=f"of a table (default {ROWS})",
    )
    parser.add_argument(
        "--format", choices=("text", "html", "json"), default="text", help="what to print"
    )
    parser.add_argument(
        "--mail", action="store_true", help="send it to the addresses in the file report_to"
    )
    add_config(parser)
    parser.epilog = _EPILOG


def _report(arguments: argparse.Namespace) -> int:
    files = ConfigFiles(directories_of(arguments.config))
    store = DaemonStore.of(files)
    if arguments.mail:
        _check_mail(files)
    store.become_owner()
    try:
        with silence():
            found = asyncio.run(_gather(store, files, arguments))
    except StoreError as error:
        raise QpsmtpdError(f"the store {store.place} does not answer: {error}") from None
    if arguments.mail:
        return asyncio.run(_send(found, store.settings))
    _print(found, arguments.format)
    if not _decisions(found):
        print("qpsmtpd: there are no decisions in this period", file=sys.stderr)
    return 0 if _decisions(found) else 1


def _check_mail(files: ConfigFiles) -> None:
    """Raises QpsmtpdError if a report cannot be mailed."""
    settings, problems = load_settings(files)
    if errors_in(problems):
        raise QpsmtpdError("the configuration has errors; qpsmtpd check-config says which")
    if not settings.report_to:
        raise QpsmtpdError("nobody is to get the report: the file report_to has no address")


async def _gather(
    store: DaemonStore, files: ConfigFiles, arguments: argparse.Namespace
) -> Digest | Shadow:
    now = time.time()
    settings = store.settings
    privacy = Privacy(prefix4=settings.network_prefix_ipv4, prefix6=settings.network_prefix_ipv6)
    async with store.book() as book:
        secret = await book.known_secret()
        selection = _with_beginning(replace(selection_by(arguments), secret=secret), arguments, now)
        if arguments.shadow:
            return await shadow_of(
                book, selection, files, now=now, host=settings.me, privacy=privacy
            )
        return await gather(
            book, selection, now=now, host=settings.me, privacy=privacy, rows=arguments.rows
        )


def _with_beginning(selection: Selection, arguments: argparse.Namespace, now: float) -> Selection:
    """The selection, which begins some time before its end if nobody has said when."""
    end = min(selection.until, now)
    if arguments.since is None:
        return replace(selection, since=end - (14 * _DAY if arguments.shadow else _DAY))
    if selection.since >= end:
        raise QpsmtpdError("--since has to be before --until, and before now")
    return selection


def _decisions(found: Digest | Shadow) -> int:
    return found.totals.total if isinstance(found, Digest) else found.decisions


# --- showing and sending ------------------------------------------------------------------------


def _rendered(found: Digest | Shadow) -> tuple[Report, dict[str, Element]]:
    if isinstance(found, Digest):
        return daily(found), charts_of(found)
    return shadow_report(found), {}


def _print(found: Digest | Shadow, form: str) -> None:
    report, charts = _rendered(found)
    if form == "json":
        print(json.dumps(plain(found)))
    elif form == "html":
        print(page(report, charts), end="")
    else:
        print(*lines_of(report, sys.stdout), sep="\n")


def _sender(settings: Settings) -> Address:
    """Whom the report is from.  Raises QpsmtpdError."""
    text = settings.report_from or f"postmaster@{settings.me}"
    try:
        return parse_mailbox(text)
    except AddressError:
        raise QpsmtpdError(f"{text} is not an address: name one in the file report_from") from None


async def _send(found: Digest | Shadow, settings: Settings) -> int:
    """Mail it to everybody; 1 if the mail system did not take all."""
    report, charts = _rendered(found)
    html = page(report, charts)
    sender = _sender(settings)
    hand_over = hand_over_by(settings.report_via, settings.me)
    failures = 0
    try:
        for to in map(parse_mailbox, settings.report_to):
            try:
                message = compose(report, html, sender, to, time.time())
                await hand_over.send(sender, to, message)
                print(f"sent to {to}", flush=True)
            except HandOverError as error:
                failures += 1
                print(f"qpsmtpd: not sent to {to}: {error}", file=sys.stderr)
    finally:
        await hand_over.close()
    return 1 if failures else 0
