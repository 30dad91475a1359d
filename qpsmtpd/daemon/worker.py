# SPDX-License-Identifier: MIT
"""Worker: one process that serves connections until it is told to stop.

Signals: SIGHUP reloads the configuration, SIGUSR1 reopens log files, SIGTERM and SIGINT drain.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from qpsmtpd.config.loader import load, load_logging
from qpsmtpd.config.problems import ConfigErrors, Problem
from qpsmtpd.config.runoptions import RunOptions
from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.daemon import descriptors
from qpsmtpd.daemon.overseer import Overseer
from qpsmtpd.daemon.scoreboard import Slot
from qpsmtpd.daemon.server import Listener, Server
from qpsmtpd.daemon.sockets import describe
from qpsmtpd.logs.handler import PluginHandler, install, sinks_apart
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.metrics.memory import Slot as FiguresSlot

log = logging.getLogger(__name__)

#: Exit status when the configuration is wrong (EX_CONFIG of sysexits.h).
EXIT_CONFIG = 78

#: Seconds that sessions have to finish their transaction when the worker stops.
DRAIN_SECONDS = 60.0

#: Bytes that asyncio allocates for the input of each TLS connection, in place of its 256 KB.
TLS_BUFFER = 32 << 10

#: How many new objects let Python's collector look at the young ones, how often it does that before
#: it looks at those that are older, and at all.  A session leaves nothing for it to find, so we let
#: it look less often than the 700, 10 and 10 of Python: of a stranger's message that spares 5 %.
COLLECTOR_THRESHOLDS = (10_000, 20, 20)

#: Signals that would end a process which has no handler for them yet: blocked until it has.
HANDLED_LATER = (signal.SIGHUP, signal.SIGUSR1)


def run_loop(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a coroutine on uvloop if it is installed, else on asyncio's own loop.

    QPSMTPD_EVENT_LOOP=asyncio forces the latter.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return int(runner.run(main()))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """None for asyncio's own."""
    if os.environ.get("QPSMTPD_EVENT_LOOP") != "asyncio":
        with suppress(ImportError):
            from uvloop import new_event_loop

            return new_event_loop
    SSLProtocol.max_size = TLS_BUFFER
    return None


@dataclass
class Worker:
    """Serves the listening sockets.

    overseer: hears how it is doing.
    slot: its place on the scoreboard, if it is not the only worker.
    figures: where it counts; without it for nobody.
    log_warnings: whether to log what is odd about a configuration; the supervisor does that too.
    """

    options: RunOptions
    listeners: Sequence[Listener]
    overseer: Overseer
    slot: Slot | None = None
    figures: FiguresSlot | None = None
    log_warnings: bool = False

    def run(self) -> int:
        """Serve until told to stop; the exit status of the process."""
        if self.figures is not None:
            FIGURES.use(self.figures)
        return run_loop(self._main)

    async def _main(self) -> int:
        loop = asyncio.get_running_loop()
        pings = loop.create_task(self._say_alive())
        try:
            snapshot = await load_snapshot(self.options)
        except ConfigErrors as error:
            await report_errors(error, self.options)
            return EXIT_CONFIG
        handler = self._use(snapshot)
        stop, hangup = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        loop.add_signal_handler(signal.SIGUSR1, handler.reopen)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_LATER)
        self.overseer.when_gone(stop.set)
        await self._serve(Server(snapshot, loop, self.slot), stop, hangup)
        pings.cancel()
        return 0

    async def _say_alive(self) -> None:
        """Report that our loop is turning, as often as the overseer wants to hear it."""
        while (interval := self.overseer.interval) is not None:
            self.overseer.alive()
            await asyncio.sleep(interval)

    async def _serve(self, server: Server, stop: asyncio.Event, hangup: asyncio.Event) -> None:
        await server.listen(self.listeners)
        await server.snapshot.chain.notify_all("post_fork")
        # What start-up created lives forever: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        log.info("taking connections on %s", ", ".join(map(describe, self.listeners)))
        self.overseer.ready()
        reloader = asyncio.create_task(self._reload_for_ever(server, hangup))
        await stop.wait()
        reloader.cancel()
        self.overseer.stopping()
        log.info("stopping connections=%d", server.connections)
        await server.drain(DRAIN_SECONDS)

    def _use(self, snapshot: Snapshot) -> PluginHandler:
        handler = use_logging(snapshot, self.options)
        if self.log_warnings:
            report_oddities(snapshot)
        return handler

    async def _reload_for_ever(self, server: Server, hangup: asyncio.Event) -> None:
        while True:
            await hangup.wait()
            hangup.clear()
            self.overseer.reloading()
            self.overseer.reloaded(success=await self._reload(server))

    async def _reload(self, server: Server) -> bool:
        """Use the configuration as it is now for new sessions, if it can be used."""
        FIGURES.begin_reload()
        used = await self._use_anew(server)
        FIGURES.end_reload(used=used)
        return used

    async def _use_anew(self, server: Server) -> bool:
        try:
            snapshot = await load_snapshot(self.options)
        except ConfigErrors as error:
            report(error.problems)
            log.error("the old configuration stays in use")
            return False
        except Exception:
            log.exception("fault in the reload: the old configuration stays in use")
            return False
        self._use(snapshot)
        server.reload(snapshot)
        log.log(LogLevel.LOGNOTICE, "configuration reloaded")
        return True


async def load_snapshot(options: RunOptions) -> Snapshot:
    """Load the configuration; the command line overrides it.  Raises ConfigErrors."""
    snapshot = await load(options.config, options.environment)
    overrides = {
        name: value
        for name in ("max_from_ip", "max_connections", "reverse_lookup")
        if (value := getattr(options, name)) is not None
    }
    settings = replace(snapshot.settings, **overrides)
    descriptors.raise_limit(settings.max_connections)
    shortage = descriptors.check_limit(settings.max_connections, options.worker_count)
    return replace(snapshot, settings=settings, warnings=(*snapshot.warnings, *shortage))


def check_configuration(options: RunOptions) -> int:
    """Load the configuration and drop it; 0 when it can be used, else EXIT_CONFIG."""

    async def check() -> int:
        try:
            snapshot = await load_snapshot(options)
        except ConfigErrors as error:
            await report_errors(error, options)
            return EXIT_CONFIG
        report_oddities(snapshot)
        await snapshot.stop()
        return 0

    return run_loop(check)


def use_logging(snapshot: Snapshot, options: RunOptions) -> PluginHandler:
    """Send log lines where this configuration says; returns the one and only handler."""
    level = LogLevel.LOGDEBUG if options.debug else snapshot.settings.stderr_level
    return install(level, snapshot.logging)


async def report_errors(errors: ConfigErrors, options: RunOptions) -> None:
    """Log why a configuration is not used: on stderr, and where its logging plugins write.

    For processes that have none in use, so that nothing but stderr would have it.
    """
    report(errors.problems)
    snapshot = await load_logging(options.config, options.environment)
    if snapshot is not None:
        if sinks := sinks_apart(snapshot.logging):
            install(snapshot.settings.stderr_level, sinks, to_both=False)
            report(errors.problems)
            log.error("a configuration with these errors is not used")
        await snapshot.stop()


def report_oddities(snapshot: Snapshot) -> None:
    """Log what is odd about a configuration that is used, and what of it is not used."""
    report(snapshot.warnings)
    for reason in snapshot.left_out:
        log.info("left out: %s", reason)


def report(problems: Sequence[Problem]) -> None:
    """Log problems of a configuration, each with its file and line."""
    for problem in problems:
        level = logging.ERROR if problem.severity == "error" else logging.WARNING
        log.log(level, "%s", problem)
