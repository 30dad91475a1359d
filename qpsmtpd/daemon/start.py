# SPDX-License-Identifier: MIT
"""Start: the processes of the daemon.

With one worker the process itself serves.  With more, it becomes their supervisor, which holds the
listening sockets (supervisor.py).
"""

from __future__ import annotations

import faulthandler
import grp
import logging
import os
import pwd
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from qpsmtpd.config.runoptions import RunOptions
from qpsmtpd.daemon import notify
from qpsmtpd.daemon.overseer import ServiceManager
from qpsmtpd.daemon.pidfile import write_pid_file
from qpsmtpd.daemon.server import Listener
from qpsmtpd.daemon.sockets import bind, passed_by_systemd, turn_away, turn_away_for
from qpsmtpd.daemon.supervisor import Supervisor
from qpsmtpd.daemon.worker import EXIT_CONFIG, HANDLED_LATER, Worker
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.logs.handler import install
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.metrics.memory import Memory, path_in

log = logging.getLogger(__name__)

#: For how long one look at a wrong configuration counts.  Six starts a minute are a third of what
#: the unit allows (StartLimitBurst), and whoever has mended it need not wait long.
TURN_AWAY_SECONDS = 10.0


def run(options: RunOptions) -> int:
    """Run the daemon; the exit status of the process."""
    install(LogLevel.LOGDEBUG if options.debug else LogLevel.LOGWARN)
    try:
        passed = passed_by_systemd(os.environ)
        listeners = passed or bind(options.listen)
        if not listeners:
            raise QpsmtpdError("nothing to listen on: give --listen, or sockets from systemd")
        if options.pid_file is not None:
            write_pid_file(options.pid_file)
        if options.user is not None:
            drop_privileges(options.user)
    except QpsmtpdError as error:
        log.critical("%s", error)
        return 1
    try:
        return _serve(options, listeners, stay_open=bool(passed))
    finally:
        if options.pid_file is not None:
            # The unprivileged user may not be allowed to; a stale file is recognised at start.
            with suppress(OSError):
                options.pid_file.unlink()


def _serve(options: RunOptions, listeners: Sequence[Listener], *, stay_open: bool) -> int:
    """Serve; stay_open: somebody else holds the sockets, and clients can connect without us."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_LATER)
    # A watchdog's SIGABRT shows where a process hangs.
    faulthandler.enable()
    memory = _memory(options)
    if options.worker_count > 1:
        status = Supervisor(options, listeners, memory).run()
    else:
        figures, overseer = memory.slot(0), ServiceManager()
        status = Worker(options, listeners, overseer, figures=figures, log_warnings=True).run()
    if status == EXIT_CONFIG:
        _put_off(listeners, stay_open=stay_open)
    return status


def _memory(options: RunOptions) -> Memory:
    """What the processes count in; mail is served even if others cannot read it."""
    path = path_in(options.environment)
    try:
        return Memory(options.worker_count, path)
    except OSError as error:
        log.warning("qpsmtpd status will not work: %s: %s", path, error.strerror)
        return Memory(options.worker_count)


def _put_off(listeners: Sequence[Listener], *, stay_open: bool) -> None:
    """Tell the clients that wait, and if there are any, those that come next as well.

    The first one after that has the configuration looked at again.  If each did, the service
    manager would see too many starts, and close the socket.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    notify.misconfigured()
    if turn_away(listeners) and stay_open:
        turn_away_for(listeners, TURN_AWAY_SECONDS)


def drop_privileges(user: str) -> None:
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
