# SPDX-License-Identifier: MIT
"""`qpsmtpd try`: what would become of messages, without delivering any."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from qpsmtpd.commands.arguments import add_command, add_config, directories_of, silence
from qpsmtpd.commands.asdaemon import become_daemon
from qpsmtpd.commands.daemonstore import DaemonStore
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.loader import resolver_by
from qpsmtpd.config.problems import ConfigErrors
from qpsmtpd.dialogue.player import DialogueError, format_transcript
from qpsmtpd.dialogue.player import load as load_script
from qpsmtpd.doctor.credentials import VARIABLE, credentials_of_service
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.errors import QpsmtpdError, StoreError
from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.plugin.services import Resolver
from qpsmtpd.store.opening import SharedStore
from qpsmtpd.store.view import Ask
from qpsmtpd.terminal import fitted
from qpsmtpd.trial import report
from qpsmtpd.trial.course import EXIT_STATUS, Course
from qpsmtpd.trial.envelope import Given, parse_recipients
from qpsmtpd.trial.mailbox import STDIN, count_of, is_directory, messages_in
from qpsmtpd.trial.names import RecordedResolver, RecordingResolver
from qpsmtpd.trial.playing import play, play_script
from qpsmtpd.trial.stage import Stage, staged

_SCRIPT = ".smtp"


def add_try(commands: Any) -> None:
    """Add the command `try`."""
    text = "Show what would become of messages, plugin by plugin, without delivering any."
    parser = add_command(commands, "try", _try, text)
    parser.add_argument(
        "file",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a message, an mbox, a Maildir or a directory of messages, also compressed by gzip; "
        "a dialogue script (.smtp); - is standard input",
    )
    parser.add_argument("--client", type=_ip, metavar="IP", help="the client's address")
    parser.add_argument("--helo", metavar="HOST", help="what it says in EHLO")
    parser.add_argument("--old-helo", action="store_true", help="it says HELO, and not EHLO")
    parser.add_argument("--tls", action="store_true", help="it uses STARTTLS")
    parser.add_argument("--user", default="", metavar="NAME", help="this user is logged in")
    parser.add_argument("--from", dest="sender", metavar="ADDRESS", help="the reverse-path")
    parser.add_argument(
        "--to", action="append", default=[], metavar="ADDRESS", help="a recipient; may be repeated"
    )
    parser.add_argument(
        "--compare", type=Path, metavar="DIR", help="show only what changes with this configuration"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what the DNS says here")
    parser.add_argument("--dns", type=Path, metavar="FILE", help="ask this record, not the DNS")
    parser.add_argument(
        "--in-order",
        action="store_true",
        help="each message finds what earlier ones have left in the store",
    )
    parser.add_argument("--full", action="store_true", help="every step, also of many messages")
    parser.add_argument("--json", action="store_true", help="one object for each message")
    add_config(parser)
    parser.epilog = (
        "What is not given is taken from the trace of each message: the client and its name from "
        "the topmost Received field that names one from outside (what stands above is taken off), "
        "sender and recipients from Return-Path, Delivered-To and the like, else To. The code is "
        "that of the daemon, and so is the store, which is only read. Scanners, milters and tables "
        "are asked; nothing is handed over. Root becomes the daemon's user first. The exit status "
        "is 0 if all were accepted, 3 if one was deferred, 4 refused, 5 broken off, 1 if nothing "
        "could be tried."
    )


def _ip(text: str) -> str:
    try:
        return str(parse_ip(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None


class _Site(NamedTuple):
    """Where the configuration and the store are, and the environment of the daemon."""

    directories: tuple[Path, ...]
    store: DaemonStore
    environment: Mapping[str, str]


def _try(arguments: argparse.Namespace) -> int:
    if arguments.record and arguments.dns:
        raise QpsmtpdError("give --record or --dns, not both")
    directories = directories_of(arguments.config)
    machine = Machine()
    store = DaemonStore.of(ConfigFiles(directories))
    with tempfile.TemporaryDirectory(prefix="qpsmtpd-try-") as scratch:
        environment = _credentials(machine, Path(scratch), store)
        _leave_root(machine, store, Path(scratch))
        site = _Site(directories, store, environment)
        try:
            with silence():
                return asyncio.run(_run(site, arguments))
        except ConfigErrors as error:
            text = "\n  ".join(map(str, error.problems))
            raise QpsmtpdError(f"the configuration cannot be used:\n  {text}") from None


def _credentials(machine: Machine, scratch: Path, store: DaemonStore) -> Mapping[str, str]:
    """The environment of the daemon, with copies of what systemd passes to it (TLS keys)."""
    with credentials_of_service(machine) as credentials:
        for seen, source in credentials.sources.items():
            if os.access(source, os.R_OK):
                shutil.copy(source, scratch / Path(seen).name)
        environment = {**store.environment, **credentials.environment}
        return {**environment, VARIABLE: str(scratch)} if credentials.sources else environment


def _leave_root(machine: Machine, store: DaemonStore, scratch: Path) -> None:
    """Become the daemon's user: plugins are not run as root.  Raises QpsmtpdError if it cannot."""
    if os.geteuid() != 0:
        return
    with suppress(QpsmtpdError):
        become_daemon(machine, store.file, own=scratch)
    if os.geteuid() == 0:
        raise QpsmtpdError(
            "root runs no plugins: run this as the daemon's user "
            "(runuser -u qpsmtpd -- qpsmtpd try ...)"
        )


async def _run(site: _Site, arguments: argparse.Namespace) -> int:
    async with AsyncExitStack() as stack:
        resolver = await stack.enter_async_context(_resolver(site, arguments))
        below = await stack.enter_async_context(_below(site.store))
        scripts = [file for file in arguments.file if file.suffix == _SCRIPT]
        if scripts:
            if len(scripts) < len(arguments.file) or arguments.compare:
                raise QpsmtpdError("dialogue scripts are tried by themselves, and not compared")
            return await _play_scripts(site, scripts, resolver, below)
        configurations = [site.directories, *([(arguments.compare,)] if arguments.compare else [])]
        stages = [
            await stack.enter_async_context(
                staged(
                    each,
                    site.environment,
                    resolver=resolver,
                    below=below,
                    logins=bool(arguments.user),
                )
            )
            for each in configurations
        ]
        return await _play_messages(stages, arguments)


@asynccontextmanager
async def _resolver(site: _Site, arguments: argparse.Namespace) -> AsyncIterator[Resolver | None]:
    """What to ask in place of the DNS, None for the DNS itself."""
    if arguments.dns:
        recorded = RecordedResolver.of(arguments.dns)
        yield recorded
        if recorded.missing:
            some = ", ".join(sorted(recorded.missing)[:5])
            text = f"{len(recorded.missing)} lookups are not in {arguments.dns} ({some})"
            print(f"qpsmtpd: {text}", file=sys.stderr)
        return
    if not arguments.record:
        yield None
        return
    real = resolver_by(site.environment)
    recording = RecordingResolver(real)
    try:
        yield recording
    finally:
        await real.close()
    recording.save(arguments.record)


@asynccontextmanager
async def _below(store: DaemonStore) -> AsyncIterator[Ask | None]:
    """What reads from the daemon's store; None if there is none yet."""
    if store.file is not None and not store.file.exists():
        yield None
        return
    async with store.opened(read_only=True) as opened:
        assert isinstance(opened, SharedStore)
        try:
            await opened.count("try")
        except StoreError as error:
            text = f"the store {store.place} cannot be read, so plugins have no memory: {error}"
            print(f"qpsmtpd: {text}", file=sys.stderr)
        yield opened.ask


async def _play_messages(stages: list[Stage], arguments: argparse.Namespace) -> int:
    given = Given(
        ip=arguments.client,
        helo=arguments.helo,
        sender=None if arguments.sender is None else arguments.sender.strip("<>"),
        recipients=parse_recipients(arguments.to),
        old_helo=arguments.old_helo,
        tls=arguments.tls,
        user=arguments.user,
    )
    messages = itertools.chain.from_iterable(map(messages_in, arguments.file))
    total = sum(count_of(file) for file in arguments.file if file != STDIN)
    sums, progress = report.Sums(), report.Progress(sys.stderr, total)
    single = _is_single(arguments.file)
    worst = 0
    async for courses in play(stages, messages, given, in_order=arguments.in_order):
        sums.add(courses)
        worst = max(worst, *(EXIT_STATUS[each.result] for each in courses))
        with _without_progress(progress, sums):
            for line in _lines(courses, arguments, single=single):
                print(line if arguments.json else fitted(sys.stdout, line))
    progress.clear()
    if not sums.total:
        raise QpsmtpdError("there are no messages")
    if not arguments.json and (sums.total > 1 or arguments.compare):
        print(*sums.lines(compared=bool(arguments.compare)), sep="\n")
    return worst


@contextmanager
def _without_progress(progress: report.Progress, sums: report.Sums) -> Iterator[None]:
    if sys.stdout.isatty():
        progress.clear()
    yield
    progress.show(sums.total)


def _is_single(files: list[Path]) -> bool:
    """Whether it is one file with, as a rule, one message."""
    return len(files) == 1 and not is_directory(files[0])


def _lines(
    courses: tuple[Course, ...], arguments: argparse.Namespace, *, single: bool
) -> Iterator[str]:
    if arguments.json:
        yield from _json(courses)
    elif len(courses) > 1:
        yield from report.change(*courses)
    elif arguments.full or (single and not courses[0].name.rpartition(":")[2].isdigit()):
        yield from report.in_full(courses[0])
    else:
        yield report.one_line(courses[0])


def _json(courses: tuple[Course, ...]) -> Iterator[str]:
    if len(courses) == 1:
        yield json.dumps(courses[0].as_dict())
    elif courses[0].verdict != courses[-1].verdict:
        before, after = (each.as_dict() for each in courses)
        yield json.dumps({"name": courses[0].name, "before": before, "after": after})


async def _play_scripts(
    site: _Site, scripts: list[Path], resolver: Resolver | None, below: Ask | None
) -> int:
    """Play dialogue scripts on the configuration; 0 if it answers all as they say."""
    failed = 0
    for file in scripts:
        script, now = load_script(file), Course(str(file))
        async with staged(
            site.directories, site.environment, resolver=resolver, below=below, limits=True
        ) as stage:
            try:
                transcript = await play_script(stage, script, now)
                print(f"{file}: passed\n{format_transcript(transcript)}")
            except DialogueError as error:
                failed += 1
                print(error)
        for line in report.answers(now.pending):
            print(line)
    return EXIT_STATUS["refused"] if failed else 0
