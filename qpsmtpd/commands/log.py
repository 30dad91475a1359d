# SPDX-License-Identifier: MIT
"""`qpsmtpd log`: what became of mail lately, from the store (`log2sql` in Perl, among others)."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

from qpsmtpd.commands.arguments import (
    add_command,
    add_config,
    directories_of,
    number_type,
    silence,
    time_type,
)
from qpsmtpd.commands.daemonstore import DaemonStore
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.decisions.book import Book
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.output import FORMATS
from qpsmtpd.decisions.selection import Selection, parse_client
from qpsmtpd.decisions.sieve import sieve_for
from qpsmtpd.errors import QpsmtpdError, StoreError
from qpsmtpd.terminal import fitted

#: How many decisions are shown if nobody says which.
_FEW = 50
#: Seconds between two looks at the store with --follow.
_LOOK = 1.0


_EPILOG = (
    f"Without --since, --until and --last, text has the last {_FEW}, other formats have all. "
    "Decisions are in the store of the running daemon, for as long as decisions_days and "
    "decisions_size say; the log of the daemon is the long memory. Control characters are "
    "escaped, in SQL as %XX. The exit status is 1 when nothing was found."
)


def add_log(commands: Any) -> None:
    """Add the command `log`."""
    text = "Show, follow and export what became of messages and refused clients lately."
    parser = add_command(commands, "log", _log, text)
    add_selection(parser)
    parser.add_argument("-n", "--last", type=number_type(1), metavar="N", help="only the last N")
    parser.add_argument("-f", "--follow", action="store_true", help="wait for more, and show it")
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default="text", help="text, or for other programs"
    )
    add_config(parser)
    parser.epilog = _EPILOG


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which decisions are meant."""
    when = "a date, a date and a time, today, yesterday, or an age such as 90m, 2h or 3d"
    parser.add_argument("--since", type=time_type, metavar="WHEN", help=when)
    parser.add_argument("--until", type=time_type, metavar="WHEN", help="the same")
    parser.add_argument("--client", type=_client, metavar="IP", help="a client, or a network")
    parser.add_argument(
        "--address", default="", help="a sender, recipient or user; @DOMAIN for all of a domain"
    )
    parser.add_argument(
        "--plugin", default="", help="the plugin that decided, or would have (mode=shadow)"
    )
    parser.add_argument("--outcome", choices=("accepted", "deferred", "refused"), default="")
    parser.add_argument(
        "--id",
        default="",
        help="of a session, a transaction or a message, or the queue id of the mail system behind",
    )
    parser.add_argument("--text", default="", help="a part of a reply, a reason or a name")


def selection_by(arguments: argparse.Namespace) -> Selection:
    """What those options say."""
    return Selection(
        since=arguments.since or 0.0,
        until=float("inf") if arguments.until is None else arguments.until,
        client=arguments.client,
        address=arguments.address,
        plugin=arguments.plugin,
        outcome=arguments.outcome,
        about=arguments.id,
        text=arguments.text,
    )


def _client(text: str) -> Any:
    try:
        return parse_client(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _log(arguments: argparse.Namespace) -> int:
    store = DaemonStore.of(ConfigFiles(directories_of(arguments.config)))
    store.become_owner()
    try:
        with silence():
            return asyncio.run(_show(store, arguments))
    except StoreError as error:
        raise QpsmtpdError(f"the store {store.place} does not answer: {error}") from None


async def _show(store: DaemonStore, arguments: argparse.Namespace) -> int:
    heading, lines = FORMATS[arguments.format]
    if heading:
        print(*heading(), sep="\n")
    count = 0
    async with store.opened(read_only=True) as opened:
        book = Book(opened)
        selection = replace(selection_by(arguments), secret=await book.known_secret())
        async for decision in _wanted(book, selection, arguments):
            count += 1
            for line in lines(decision):
                # Other formats are not for reading: a line is a line.
                text = fitted(sys.stdout, line) if arguments.format == "text" else line
                print(text, flush=arguments.follow)
    if book.damaged:
        print(f"qpsmtpd: {book.damaged} entries of the store cannot be read", file=sys.stderr)
    if not count:
        kept = store.settings.decisions_days
        nothing = "nothing found" if kept else "nothing is kept (decisions_days is 0)"
        print(f"qpsmtpd: {nothing}", file=sys.stderr)
    return 0 if count else 1


async def _wanted(
    book: Book, selection: Selection, arguments: argparse.Namespace
) -> AsyncIterator[Decision]:
    for decision in await _last(book, selection, _number(arguments)):
        yield decision
    if arguments.last is None and _number(arguments) is None:
        sieve = sieve_for([selection])
        async for decision in book.oldest_first(selection.since, selection.until, sieve):
            if selection.has(decision):
                yield decision
    if arguments.follow:
        async for new in book.watch(_LOOK):
            for decision in filter(selection.has, new):
                yield decision


def _number(arguments: argparse.Namespace) -> int | None:
    """How many are wanted; None means all."""
    if arguments.last is not None:
        return int(arguments.last)
    dated = arguments.since is not None or arguments.until is not None
    return None if dated or arguments.format != "text" else _FEW


async def _last(book: Book, selection: Selection, number: int | None) -> Iterable[Decision]:
    """The last ones, in the order of their times."""
    found: deque[Decision] = deque()
    if number is None:
        return found
    async for decision in book.newest_first(selection.until, sieve_for([selection])):
        if decision.time < selection.since:
            break
        if selection.has(decision):
            found.appendleft(decision)
            if len(found) == number:
                break
    return found
