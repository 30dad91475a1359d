# SPDX-License-Identifier: MIT
"""Handover: the program that runs set-id programs for a daemon that must not gain privileges.

    python3 -IS setid_runner.py "/usr/sbin/exim4 -bS" ...

The service manager starts it for each connection, which is on descriptor 0 (SOCK_SEQPACKET).  Its
arguments are the command lines that may be run; nothing else is run.  So its caller, which may have
been compromised, can choose one of those and nothing more.

The caller sends the words of a command, NUL between them, and with them (SCM_RIGHTS) descriptors
for its standard input, output and error, and one more where it reads descriptor 3.  The answers
are, one per packet:

    started PID     or
    refused WHY
    killed          after the caller sent something more or hung up; a set-uid program lives on
    ended STATUS    minus the number of the signal, if one ended it

It uses nothing of ours and little of the standard library, because it starts for each message.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

#: Bytes of the longest request.
MOST = 4096

_DESCRIPTORS = (3, 4)

#: What Python ignores, but no program expects to be ignored.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


def serve(connection: socket.socket, allowed: Sequence[str]) -> None:
    """Run the one command that the caller asks for, if it is allowed."""
    request, descriptors, *_ = socket.recv_fds(
        connection, MOST, max(_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
    )
    try:
        pid = _start(tuple(request.decode().split("\0")), descriptors, allowed)
    except (OSError, ValueError) as error:
        _tell(connection, f"refused {getattr(error, 'strerror', None) or error}")
        return
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    _tell(connection, f"started {pid}")
    _tell(connection, f"ended {_wait(connection, pid)}")


def _start(words: tuple[str, ...], descriptors: Sequence[int], allowed: Sequence[str]) -> int:
    """The process id of the command.  Raises ValueError when it may not be run, and OSError."""
    if words not in [tuple(line.split()) for line in allowed]:
        raise ValueError("not among the commands that may be run")
    if len(descriptors) not in _DESCRIPTORS:
        raise ValueError("standard input, output and error are missing")
    standard = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(descriptors)]
    return os.posix_spawn(
        words[0], words, ENVIRONMENT, file_actions=standard, setsigdef=_DEFAULT_SIGNALS
    )


def _wait(connection: socket.socket, pid: int) -> int:
    """The exit status of the process, which is killed when the caller no longer wants it."""
    process = os.pidfd_open(pid)
    poller = select.poll()
    for descriptor in (process, connection.fileno()):
        poller.register(descriptor, select.POLLIN)
    while process not in dict(poller.poll()):
        poller.unregister(connection)
        with contextlib.suppress(PermissionError):  # somebody else's, being set-uid
            signal.pidfd_send_signal(process, signal.SIGKILL)
        _tell(connection, "killed")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _tell(connection: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError):  # the caller has gone; the command is on its own
        connection.send(text.encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=0), sys.argv[1:])
