# SPDX-License-Identifier: MIT
"""A program on a terminal of its own, and somebody who reads the screen before typing."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

SIZE = (24, 80)  # lines and columns, the smallest that are usual
TIMEOUT = 300.0  # seconds of a whole session

ENTER = "\r"
TAB = "\t"
UP = "\x1b[A"
DOWN = "\x1b[B"
CLEAR = "\x15"  # control-U

_GO_TO = re.compile(r"\x1b\[[0-9;]*[Hd]")
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|[()][0-9A-Z]|[=>])|[\x0e\x0f\r]")


class Terminal:
    """The terminal; what was shown is text, where a line begins wherever the cursor was put."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._deadline = time.monotonic() + TIMEOUT
        self._shown = b""

    def wait_for(self, pattern: str) -> str:
        """Read until this is shown; what was shown since the last call.

        Raises AssertionError when the program ends first or takes too long.
        """
        while not re.search(pattern, self._text()):
            assert self._read(), f"{pattern!r} was not shown: {self._text()}"
        text, self._shown = self._text(), b""
        return text

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def wait_for_end(self) -> str:
        """Read until the program has ended; what was shown since the last call."""
        while self._read():
            pass
        return self._text()

    def _text(self) -> str:
        # Debian 13's debconf shows blanks where no line may be broken.
        text = self._shown.decode(errors="replace").replace("\xa0", " ")
        return _CONTROL.sub("", _GO_TO.sub("\n", text))

    def _read(self) -> bool:
        """Read on; whether the program is still there."""
        left = self._deadline - time.monotonic()
        ready = select.select([self._descriptor], [], [], max(left, 0))[0]
        assert ready, f"too slow: {self._text()}"
        try:
            octets = os.read(self._descriptor, 65536)
        except OSError:  # how Linux says that nobody is left on the other side
            octets = b""
        self._shown += octets
        return bool(octets)


@contextmanager
def on_terminal(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a command on a terminal; it has to end well."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execvpe(command[0], list(command), environment)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    try:
        yield Terminal(descriptor)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"ended with {status}"
