# SPDX-License-Identifier: MIT
"""Workers: the processes of the daemon.

With one worker the process itself serves.  With more, it becomes the supervisor: it holds the
listening sockets, forks the workers, which share them, passes signals on, and replaces a worker
that dies.  It never serves, holds no configuration and waits for signals only.
"""

from __future__ import annotations

import grp
import io
import logging
import os
import pwd
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from qpsmtpd import log as logs
from qpsmtpd.config.runoptions import RunOptions
from qpsmtpd.daemon import notify
from qpsmtpd.daemon.server import Listener
from qpsmtpd.daemon.sockets import bind, passed_by_systemd
from qpsmtpd.daemon.worker import Worker, check_configuration
from qpsmtpd.errors import QpsmtpdError

log = logging.getLogger(__name__)

#: Seconds until a worker that died is replaced, so that one that cannot live costs little.
RESTART_DELAY = 1.0

_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGCHLD,
)


def run(options: RunOptions) -> int:
    """Run the daemon; the exit status of the process."""
    logs.install(logs.LogLevel.LOGDEBUG if options.debug else logs.LogLevel.LOGWARN)
    try:
        listeners = passed_by_systemd(os.environ) or bind(options.listen)
        if not listeners:
            raise QpsmtpdError("nothing to listen on: give --listen, or sockets from systemd")
        _write_pid_file(options.pid_file)
        if options.user is not None:
            become(options.user)
    except QpsmtpdError as error:
        log.critical("%s", error)
        return 1
    try:
        return _serve(options, listeners)
    finally:
        if options.pid_file is not None:
            # The unprivileged user may not be allowed to; a stale file is recognised at start.
            with suppress(OSError):
                options.pid_file.unlink()


def _serve(options: RunOptions, listeners: Sequence[Listener]) -> int:
    workers = options.workers or os.cpu_count() or 1
    if workers > 1:
        return Supervisor(options, listeners, workers).run()
    told = (_say_ready, notify.reloading, notify.stopping)
    return Worker(options, listeners, *told, log_warnings=True).run()


def become(user: str) -> None:
    """Give up root for this user and all its groups.  Raises QpsmtpdError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise QpsmtpdError(f"there is no user {user!r}") from None
    if os.getuid() == entry.pw_uid:
        return
    try:
        os.setgroups(os.getgrouplist(user, entry.pw_gid))
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except OSError as error:
        raise QpsmtpdError(f"cannot become {user!r}: {error.strerror}") from error
    os.environ["HOME"] = entry.pw_dir
    log.info("running as user=%s group=%s", user, grp.getgrgid(entry.pw_gid).gr_name)


def _write_pid_file(path: Path | None) -> None:
    """Write our process id; refuse when the one that is there lives."""
    if path is None:
        return
    try:
        other = int(path.read_text())
        os.kill(other, 0)
    except (OSError, ValueError):
        pass
    else:
        if other != os.getpid():
            raise QpsmtpdError(f"{path}: qpsmtpd runs already, with process id {other}")
    try:
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise QpsmtpdError(f"{path}: {error.strerror}") from error


def _say_ready() -> None:
    notify.ready("Taking connections")


class Supervisor:
    """Keeps a number of workers alive."""

    def __init__(self, options: RunOptions, listeners: Sequence[Listener], count: int) -> None:
        self._options = options
        self._listeners = listeners
        self._count = count
        self._workers: set[int] = set()
        self._restart_at = 0.0
        self._stopping = False
        self._unblocked: set[int | signal.Signals] = set()
        self._watchdog = notify.watchdog_interval()

    def run(self) -> int:
        """Supervise until told to stop; the exit status of the process."""
        self._unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        if status := self._check():
            return status
        started = all(self._start() for _ in range(self._count))
        if started:
            notify.ready(f"Taking connections with {self._count} workers")
        else:
            self._stop_workers()
        while self._workers or not self._stopping:
            self._handle_next_signal()
        return 0 if started else 1

    def _handle_next_signal(self) -> None:
        received = self._next_signal()
        if self._watchdog is not None:
            notify.alive()
        if received is None:
            if self._seconds_to_restart() == 0:
                self._restart_at = time.monotonic() + RESTART_DELAY
                self._start()
        elif received.si_signo == signal.SIGCHLD:
            self._bury()
        elif received.si_signo == signal.SIGHUP:
            self._reload()
        elif received.si_signo == signal.SIGUSR1:
            self._tell_workers(signal.SIGUSR1)
        else:
            self._stop_workers()

    def _next_signal(self) -> signal.struct_siginfo | None:
        """The next signal; None when there is something to do without one."""
        waits = [self._seconds_to_restart(), self._watchdog]
        wait = min((seconds for seconds in waits if seconds is not None), default=None)
        if wait is None:
            return signal.sigwaitinfo(_SIGNALS)
        return signal.sigtimedwait(_SIGNALS, wait)

    def _seconds_to_restart(self) -> float | None:
        """Until another worker is to be started; None while none is missing."""
        if self._stopping or len(self._workers) == self._count:
            return None
        return max(0.0, self._restart_at - time.monotonic())

    # --- workers ----------------------------------------------------------------------------

    def _start(self) -> bool:
        """Fork a worker and wait until it takes connections, or has failed to."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            self._be_worker(theirs)
        os.close(theirs)
        self._workers.add(pid)
        with os.fdopen(ours, "rb") as pipe:
            ready = pipe.read(1) == b"R"
        if ready:
            log.debug("worker started pid=%d", pid)
        return ready

    def _be_worker(self, pipe: int) -> None:
        """The life of a worker process; does not return."""
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._unblocked)
            # It is the supervisor that systemd listens to.
            supervisor = os.fdopen(pipe, "wb", buffering=0)
            told = (lambda: _tell(supervisor), lambda: None, lambda: None)
            worker = Worker(self._options, self._listeners, *told)
            status = worker.run()
        except BaseException:
            log.exception("worker fails")
        finally:
            os._exit(status)

    def _check(self) -> int:
        """Load the configuration in a process of its own; 0 when it can be used."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, self._unblocked)
                status = check_configuration(self._options)
            except BaseException:
                log.exception("the configuration cannot be checked")
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _reload(self) -> None:
        """All workers take the new configuration, or none does."""
        notify.reloading()
        if self._check() == 0:
            self._tell_workers(signal.SIGHUP)
        else:
            log.error("the old configuration stays in use")
        notify.ready(f"Taking connections with {self._count} workers")

    def _tell_workers(self, number: signal.Signals) -> None:
        for pid in self._workers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _stop_workers(self) -> None:
        if not self._stopping:
            notify.stopping()
        self._stopping = True
        self._tell_workers(signal.SIGTERM)

    def _bury(self) -> None:
        """Collect the workers that have ended; the next ones are started with a delay."""
        while self._workers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._workers.discard(pid)
            if not self._stopping:
                exit_code = os.waitstatus_to_exitcode(status)
                log.error("worker ended pid=%d status=%d, starting another", pid, exit_code)
                self._restart_at = time.monotonic() + RESTART_DELAY


def _tell(supervisor: io.RawIOBase) -> None:
    """Tell the supervisor once that this worker takes connections."""
    # After each reload this is called again: the descriptor may be a client's by then.
    if not supervisor.closed:
        with suppress(OSError), supervisor:
            supervisor.write(b"R")
