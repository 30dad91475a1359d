# SPDX-License-Identifier: MIT
"""Detach: leave the terminal and go on in the background, as daemons without a supervisor do."""

from __future__ import annotations

import os
import sys


def detach() -> None:
    """Go on in a new process in a session of its own; the calling one exits with 0.

    Standard input, output and error are /dev/null from then on.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)
