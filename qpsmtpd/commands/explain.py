# SPDX-License-Identifier: MIT
"""`qpsmtpd explain`: why something was refused, or what else became of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpsmtpd.commands.arguments import (
    add_command,
    add_config,
    directories_of,
    number_type,
    silence,
)
from qpsmtpd.commands.daemonstore import DaemonStore
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.sieve import sieve_for
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.units import SERVICE
from qpsmtpd.errors import QpsmtpdError, StoreError
from qpsmtpd.explain.logfiles import (
    about,
    decision_in,
    last_of,
    lines_of,
    lines_of_journal,
    rotated,
)
from qpsmtpd.explain.query import Query, parse_query
from qpsmtpd.explain.remedy import remedies
from qpsmtpd.explain.story import story
from qpsmtpd.terminal import fitted, shown

_FEW = 3
_LOG_PLUGINS = ("logging/file", "logging/json")


def add_explain(commands: Any) -> None:
    """Add the command `explain`."""
    text = "Tell what became of a message or a client, and what to do if that was wrong."
    parser = add_command(commands, "explain", _explain, text)
    parser.add_argument(
        "what",
        nargs="+",
        metavar="WHAT",
        help="the id of a session, a transaction or a message, the queue id of the mail system "
        "behind, an address, a domain, a client; or `last refused for ADDRESS`",
    )
    parser.add_argument(
        "--last",
        type=number_type(1),
        default=_FEW,
        metavar="N",
        help=f"at most N, by default {_FEW}",
    )
    parser.add_argument(
        "--log", action="store_true", help="also show what the log has about these sessions"
    )
    parser.add_argument("--json", action="store_true", help="one object for each decision")
    add_config(parser)
    parser.epilog = (
        "Decisions are looked up in the store of the running daemon, and if it has none, in the "
        "log: files that logging/file or logging/json write, rotated ones as well, and the "
        "journal. The exit status is 1 when nothing was found."
    )


def _explain(arguments: argparse.Namespace) -> int:
    query = parse_query(arguments.what)
    files = ConfigFiles(directories_of(arguments.config))
    most = 1 if query.last else arguments.last
    with silence():
        found = _in_store(DaemonStore.of(files), query, most) or _in_log(files, query, most)
        shown_lines = about(_log_lines(files), [each.id for each in found]) if arguments.log else []
        for decision in found:
            print(*_lines(decision, files, as_json=arguments.json), sep="\n")
    if shown_lines and not arguments.json:
        print("The log says:", *(f"  {shown(line)}" for line in shown_lines), sep="\n")
    if not found:
        print(f"qpsmtpd: nothing is known of {shown(query.text)}", file=sys.stderr)
    return 0 if found else 1


def _lines(decision: Decision, files: ConfigFiles, *, as_json: bool) -> Iterator[str]:
    todo = list(remedies(decision, files))
    if as_json:
        yield json.dumps({**decision.as_dict(), "remedies": todo})
        return
    for line in _told(decision, todo):
        yield fitted(sys.stdout, line)


def _told(decision: Decision, todo: list[str]) -> Iterator[str]:
    yield from story(decision)
    if todo:
        yield "  If that was wrong:"
        yield from (f"    - {line}" for line in todo)


# --- the store ------------------------------------------------------------------------------


def _in_store(store: DaemonStore, query: Query, most: int) -> list[Decision]:
    """What the store has; nothing, with a word on stderr, if it cannot be read."""

    def look() -> list[str]:
        found = asyncio.run(_look(store, query, most))
        return [decision.encode() for decision in found]

    try:
        lines = _as_owner(store.file, look)
    except (StoreError, OSError) as error:
        if store.file is None or store.file.exists():
            print(f"qpsmtpd: the store {store.place} does not answer: {error}", file=sys.stderr)
        return []
    return [Decision.decode(line) for line in lines]


def _as_owner(file: Path | None, look: Any) -> Any:
    """Read a file as its owner: SQLite makes files beside it."""
    status = None if file is None else file.stat()
    if os.geteuid() != 0 or status is None or status.st_uid == 0:
        return look()
    machine = Machine()
    with suppress(KeyError):
        return machine.as_user(machine.account(pwd.getpwuid(status.st_uid).pw_name), look)
    raise OSError(f"its owner {status.st_uid} does not exist")


async def _look(store: DaemonStore, query: Query, most: int) -> list[Decision]:
    found: list[Decision] = []
    async with store.book() as book:
        query = replace(query, secret=await book.known_secret())
        async for decision in book.newest_first(sieve=sieve_for(query.meanings)):
            if query.means(decision):
                found.insert(0, decision)
                if len(found) == most:
                    break
    if book.damaged:
        print(f"qpsmtpd: {book.damaged} entries of the store cannot be read", file=sys.stderr)
    return found


# --- the log --------------------------------------------------------------------------------


def _in_log(files: ConfigFiles, query: Query, most: int) -> list[Decision]:
    found = (decision_in(line) for line in _log_lines(files) if query.may_be_in(line))
    return last_of((each for each in found if each is not None and query.means(each)), most)


def _log_lines(files: ConfigFiles) -> Iterator[str]:
    """All lines, file by file, and then the journal's."""
    for file in log_files(files):
        for each in rotated(file):
            yield from lines_of(each)
    yield from lines_of_journal(SERVICE)


def log_files(files: ConfigFiles) -> list[Path]:
    """The files that the configuration logs to, as they are named there."""
    found = []
    with suppress(QpsmtpdError):
        for entry in files.entries("logging"):
            words = entry.text.split()
            if words[0].partition(":")[0] in _LOG_PLUGINS and words[-1].startswith("/"):
                found.append(Path(words[-1]))
    return found
