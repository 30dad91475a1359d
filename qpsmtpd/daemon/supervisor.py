# SPDX-License-Identifier: MIT
"""Supervisor: forks the workers, which share the listening sockets, and replaces those that die.

Theory of operation.  It serves nobody and holds no configuration; but it has imported the plugins,
so that all workers share one copy.  One loop waits for signals, for what the workers report, and
for the time when something is due.  For a reload, a process of its own first loads the
configuration; if it can, all workers are told, and the reload is over when each has answered.  A
worker that cannot start, because the files are broken by now, is tried again, less and less often,
and at once after the next reload that succeeds; meanwhile the others serve.

Under a watchdog every worker has to report that its event loop is turning.  One that does not is
killed: by SIGABRT, so that the log says where it hangs, then by SIGKILL.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginlines import import_plugins
from qpsmtpd.config.runoptions import RunOptions
from qpsmtpd.daemon import notify
from qpsmtpd.daemon.overseer import ALIVE, NOT_RELOADED, READY, RELOADED, ToSupervisor
from qpsmtpd.daemon.reloads import Reloads
from qpsmtpd.daemon.scoreboard import Scoreboard
from qpsmtpd.daemon.server import Listener
from qpsmtpd.daemon.worker import HANDLED_LATER, Worker, check_configuration
from qpsmtpd.metrics.catalogue import RELOADS, WORKER_DEATHS
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.metrics.memory import Memory, private_slot

log = logging.getLogger(__name__)

#: The fewest seconds from the start of a worker that died to that of the next one; doubled by each
#: that never accepted a connection, so that one that cannot live costs little.
RESTART_DELAY = 1.0
MOST_RESTART_DELAY = 30.0
#: Seconds that loading the configuration may take when it is checked.
CHECK_SECONDS = 60.0
#: Seconds that a worker may be silent, however often the service manager wants to hear from us.
LEAST_SILENCE = 10.0

_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGCHLD,
)


@dataclass
class _Worker:
    """What the supervisor knows about a worker."""

    connection: socket.socket
    slot: int
    started: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    ready: bool = False
    reloading: bool = False
    aborted: bool = False


class Supervisor:
    """Keeps a number of workers alive, as many as there are places in the memory of figures."""

    def __init__(self, options: RunOptions, listeners: Sequence[Listener], memory: Memory) -> None:
        self._options = options
        self._listeners = listeners
        self._memory = memory
        self._count = count = memory.head.workers
        self._workers: dict[int, _Worker] = {}
        self._scoreboard = Scoreboard(count)
        self._checker: int | None = None  # process id of the one that checks the configuration
        self._started = False
        self._stopping = False
        self._reloading = False
        self._reload_wanted = False
        self._reloads = Reloads(options.environment)
        self._refused = False  # the configuration, by the last reload
        self._status = 0
        self._failures = 0  # workers in a row that never accepted a connection
        self._restart_at = 0.0
        self._watchdog = notify.watchdog_interval()
        self._selector = selectors.DefaultSelector()
        self._signals, self._signalled = socket.socketpair()

    def run(self) -> int:
        """Supervise until told to stop; the exit status of the process."""
        self._catch_signals()
        FIGURES.use(self._memory.supervisors)
        import_plugins(ConfigFiles(self._options.config))
        # A worker's collector would make a copy of every page that it looks at.
        gc.freeze()
        self._check()
        while self._workers or self._checker is not None or not self._stopping:
            for key, _ in self._selector.select(self._seconds_to_wait()):
                if key.data is None:
                    self._handle_signals()
                else:
                    self._hear(key.data)
            self._run_due()
        return self._status

    def _catch_signals(self) -> None:
        """Have signals arrive at the selector."""
        for end in (self._signals, self._signalled):
            end.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _handle_signals(self) -> None:
        for number in self._signals.recv(4096):
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP:
                self._reload()
            elif number == signal.SIGUSR1:
                self._tell_workers(signal.SIGUSR1)
            else:
                self._stop()

    # --- what is due ------------------------------------------------------------------------

    def _seconds_to_wait(self) -> float | None:
        waits = [self._watchdog] if self._watchdog is not None else []
        if self._missing:
            waits.append(max(0.0, self._restart_at - time.monotonic()))
        return min(waits, default=None)

    def _run_due(self) -> None:
        if self._watchdog is not None:
            notify.alive()
            self._kill_hung(max(2 * self._watchdog, LEAST_SILENCE))
        if time.monotonic() >= self._restart_at:
            for _ in range(self._missing):
                self._start_worker()

    @property
    def _missing(self) -> int:
        """How many workers have to be started to replace others."""
        return self._count - len(self._workers) if self._started and not self._stopping else 0

    def _kill_hung(self, silence: float) -> None:
        now = time.monotonic()
        for pid, worker in self._workers.items():
            if now - worker.heard < silence:
                continue
            log.error("worker hangs pid=%d seconds=%.0f, ending it", pid, now - worker.heard)
            _send(pid, signal.SIGKILL if worker.aborted else signal.SIGABRT)
            worker.aborted = True
            worker.heard = now - silence / 2

    # --- workers ----------------------------------------------------------------------------

    def _start_worker(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        taken = {worker.slot for worker in self._workers.values()}
        slot = min(set(range(self._count)) - taken)
        pid = self._fork(lambda: self._be_worker(ours, theirs, slot))
        theirs.close()
        self._workers[pid] = _Worker(ours, slot)
        self._selector.register(ours, selectors.EVENT_READ, pid)

    def _be_worker(self, ours: socket.socket, theirs: socket.socket, slot: int) -> int:
        # Otherwise no worker would notice that the supervisor is gone.
        for end in (ours, *(worker.connection for worker in self._workers.values())):
            end.close()
        overseer = ToSupervisor(theirs, self._watchdog)
        places = self._scoreboard.slot(slot), self._memory.slot(slot)
        return Worker(self._options, self._listeners, overseer, *places).run()

    def _hear(self, pid: int) -> None:
        """A worker reports something, or has closed its end."""
        worker = self._workers.get(pid)
        if worker is None:  # reaped meanwhile
            return
        said = b""
        with suppress(OSError):
            said = worker.connection.recv(4096)
        if not said:
            self._selector.unregister(worker.connection)
        worker.heard = time.monotonic()
        worker.aborted = worker.aborted and ALIVE not in said
        if READY in said:
            self._on_ready(pid, worker)
        if NOT_RELOADED in said:
            self._refused = True
            log.error("worker pid=%d keeps the old configuration", pid)
        if RELOADED in said or NOT_RELOADED in said:
            worker.reloading = False
            self._finish_reload()

    def _on_ready(self, pid: int, worker: _Worker) -> None:
        log.debug("worker started pid=%d", pid)
        worker.ready = True
        self._failures = 0
        all_ready = all(other.ready for other in self._workers.values())
        if not self._started and not self._stopping and all_ready:
            self._started = True
            self._say_ready()

    def _reap(self) -> None:
        """Collect the processes that have ended."""
        while self._workers or self._checker is not None:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            if pid == self._checker:
                self._checked(code)
            elif pid in self._workers:
                self._on_exit(pid, code)

    def _on_exit(self, pid: int, code: int) -> None:
        worker = self._workers.pop(pid)
        with suppress(KeyError):
            self._selector.unregister(worker.connection)
        worker.connection.close()
        self._scoreboard.clear(worker.slot)
        self._memory.vacate(worker.slot)
        if self._stopping:
            return
        if not self._started:
            self._status = max(code, 1)
            self._stop()
            return
        log.error("worker ended pid=%d status=%d, starting another", pid, code)
        FIGURES.count(WORKER_DEATHS)
        self._failures = 0 if worker.ready else self._failures + 1
        delay = min(RESTART_DELAY * 2**self._failures, MOST_RESTART_DELAY)
        self._restart_at = max(self._restart_at, worker.started + delay)
        self._finish_reload()

    def _tell_workers(self, number: signal.Signals) -> None:
        for pid in self._workers:
            _send(pid, number)

    # --- changes ----------------------------------------------------------------------------

    def _check(self) -> None:
        """Load the configuration in a process of its own."""

        def check() -> int:
            FIGURES.use(private_slot())
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, CHECK_SECONDS)
            return check_configuration(self._options)

        self._checker = self._fork(check)

    def _checked(self, status: int) -> None:
        self._checker = None
        if self._stopping:
            return
        if status == -signal.SIGALRM:
            log.error("loading the configuration takes more than %g seconds", CHECK_SECONDS)
        if self._started and status:
            self._refused = True
            log.error("the old configuration stays in use")
        elif self._started:
            self._reload_workers()
        elif status:
            self._status = max(status, 1)
            self._stop()
        else:
            for _ in range(self._count):
                self._start_worker()
        self._finish_reload()

    def _reload(self) -> None:
        """All workers take the new configuration, or none does."""
        if not self._started or self._reloading:
            self._reload_wanted = True
        elif not self._stopping:
            self._reloading = True
            self._refused = False
            self._reloads.begin()
            notify.reloading()
            self._check()

    def _reload_workers(self) -> None:
        for pid, worker in self._workers.items():
            worker.reloading = True
            _send(pid, signal.SIGHUP)
        # A worker that could not start with the files as they were may do so now.
        self._failures = 0
        self._restart_at = 0.0

    def _finish_reload(self) -> None:
        """Report that the reload is over, if it is."""
        waiting = any(worker.reloading for worker in self._workers.values())
        if self._reloading and self._checker is None and not waiting:
            self._reloading = False
            FIGURES.count(RELOADS, "refused" if self._refused else "used")
            self._reloads.end(success=not self._refused)
            self._say_ready()

    def _say_ready(self) -> None:
        status = f"Taking connections with {self._count} workers"
        notify.ready(f"{status}; {notify.REFUSED}" if self._refused else status)
        if self._reload_wanted:
            self._reload_wanted = False
            self._reload()

    def _stop(self) -> None:
        """Let the workers finish; new connections are refused, unless systemd holds the sockets.

        After a start that failed, the sockets are left to whoever called us.
        """
        if self._started and not self._stopping:
            notify.stopping()
        self._stopping = True
        for listener in self._listeners if self._started else ():
            listener.socket.close()
        self._tell_workers(signal.SIGTERM)
        if self._checker is not None:
            _send(self._checker, signal.SIGTERM)

    # --- processes --------------------------------------------------------------------------

    def _fork(self, life: Callable[[], int]) -> int:
        """Fork a process whose exit status `life` returns; its process id."""
        with _blocked():
            pid = os.fork()
            if pid == 0:
                self._be_child(life)
        return pid

    def _be_child(self, life: Callable[[], int]) -> None:
        """Become a process of its own; does not return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            at_once = [number for number in _SIGNALS if number not in HANDLED_LATER]
            signal.pthread_sigmask(signal.SIG_UNBLOCK, at_once)
            self._selector.close()
            self._signals.close()
            self._signalled.close()
            status = life()
        except BaseException:
            log.exception("fault in a process of the daemon")
        finally:
            os._exit(status)


@contextmanager
def _blocked() -> Iterator[None]:
    """Block signals meanwhile: a child must not take one that is meant for its parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
