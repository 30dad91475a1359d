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
from collections.abc import Sequence
from contextlib import suppress

from qpsmtpd.config.runoptions import RunOptions
from qpsmtpd.daemon import notify
from qpsmtpd.daemon.overseer import ServiceManager
from qpsmtpd.daemon.pidfile import write_pid_file
from qpsmtpd.daemon.server import Listener
from qpsmtpd.daemon.sockets import bind, passed_by_systemd, turn_away
from qpsmtpd.daemon.supervisor import Supervisor
from qpsmtpd.daemon.worker import EXIT_CONFIG, HANDLED_LATER, Worker
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.logs.handler import install
from qpsmtpd.logs.levels import LogLevel

log = logging.getLogger(__name__)


def run(options: RunOptions) -> int:
    """Run the daemon; the exit status of the process."""
    install(LogLevel.LOGDEBUG if options.debug else LogLevel.LOGWARN)
    try:
        listeners = passed_by_systemd(os.environ) or bind(options.listen)
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
        return _serve(options, listeners)
    finally:
        if options.pid_file is not None:
            # The unprivileged user may not be allowed to; a stale file is recognised at start.
            with suppress(OSError):
                options.pid_file.unlink()


def _serve(options: RunOptions, listeners: Sequence[Listener]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_LATER)
    # A watchdog's SIGABRT shows where a process hangs.
    faulthandler.enable()
    if options.worker_count > 1:
        return Supervisor(options, listeners, options.worker_count).run()
    status = Worker(options, listeners, ServiceManager(), log_warnings=True).run()
    if status == EXIT_CONFIG:
        notify.misconfigured()
        turn_away(listeners)
    return status


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
