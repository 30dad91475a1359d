# SPDX-License-Identifier: MIT
"""Descriptors: how many connections the limit on open files allows (RLIMIT_NOFILE)."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import suppress

from qpsmtpd.config.problems import Problem

#: Descriptors of the process itself: logs, resolver, store, idle connections to next hops.
_OWN = 200


def raise_limit(connections: int) -> None:
    """Raise the limit to what this many connections need; 0 means unlimited."""
    with suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        hard = sys.maxsize if hard == resource.RLIM_INFINITY else hard
        wanted = min(_needed(connections), hard) if connections else hard
        if soft != resource.RLIM_INFINITY and soft < wanted < sys.maxsize:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_files() -> int:
    """Our limit on open files; sys.maxsize when there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def connections_for(descriptors: int) -> int:
    """How many connections this many descriptors allow.

    Every second connection uses a second one: for the next hop, a scratch file or a scanner.
    """
    return max(1, (descriptors - _OWN) * 2 // 3)


def check_limit(connections: int, workers: int) -> Iterator[Problem]:
    """A warning if the limit is too low for this many connections in this many workers."""
    files = open_files()
    enough_for = connections_for(files) * workers
    if connections > enough_for:
        yield Problem(
            "max_connections",
            f"{connections} connections are more than {files} open files in each of {workers} "
            f"workers allow, which is {enough_for}: raise that limit (LimitNOFILE= in the "
            "service's unit; ulimit -Hn without systemd), or lower max_connections",
            "warning",
        )


def _needed(connections: int) -> int:
    return connections * 3 // 2 + _OWN + 1
