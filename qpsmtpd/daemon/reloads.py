# SPDX-License-Identifier: MIT
"""Reloads: who asks for a reload learns whether the new configuration is used.

A signal has no answer, and whoever loads the configuration once more to find out may see another
one, or lack the service's credentials.  So `ask` writes a word of its own into the directory that
systemd keeps for the service, and sends the signal; when the reload is over, the daemon writes that
word down with its verdict.  A verdict with another word is that of an earlier reload.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qpsmtpd.errors import QpsmtpdError

#: Seconds to wait for the verdict, less than systemd waits for us (TimeoutStartSec=).
PATIENCE = 80.0
POLL_INTERVAL = 0.05

_WANTED = "reload.wanted"
_DONE = "reload.done"
_USED = "used"
_REFUSED = "refused"


class Reloads:
    """The daemon's side: nothing happens without a directory."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._directory = _directory_in(environment)
        self._word = ""

    def begin(self) -> None:
        """The configuration is about to be read: this is for all who have asked until now."""
        if self._directory is not None:
            self._word = _text(self._directory / _WANTED)

    def end(self, *, success: bool) -> None:
        """The reload is over."""
        if self._directory is None or not self._word:
            return
        verdict = _USED if success else _REFUSED
        with suppress(OSError):  # who asked gives up in the end
            _write(self._directory / _DONE, f"{self._word} {verdict}")


def ask(pid: int, environment: Mapping[str, str]) -> bool:
    """Have the daemon read its configuration again; whether it uses the new one.

    Raises QpsmtpdError if there is no telling.
    """
    directory = _directory_in(environment)
    if directory is None:
        raise QpsmtpdError("reload is for systemd's ExecReload= (STATE_DIRECTORY is not set)")
    word = secrets.token_hex(8)
    try:
        failure = _written(directory / _WANTED, word)
        os.kill(pid, signal.SIGHUP)
        if failure is not None:
            raise QpsmtpdError(f"reloading, but with what result is unknown: {failure}")
        return _verdict(pid, directory / _DONE, word) == _USED
    except OSError as error:
        raise QpsmtpdError(f"the daemon cannot be asked to reload: {error.strerror}") from error


def _written(path: Path, word: str) -> OSError | None:
    """Write the word.  A full disk does not prevent a reload."""
    try:
        _write(path, word)
    except OSError as error:
        return error
    return None


def _verdict(pid: int, done: Path, word: str) -> str:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        given, _, verdict = _text(done).partition(" ")
        if given == word:
            return verdict
        os.kill(pid, 0)
        time.sleep(POLL_INTERVAL)
    raise QpsmtpdError(f"the daemon has not reloaded within {PATIENCE:g} seconds")


def _directory_in(environment: Mapping[str, str]) -> Path | None:
    name = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(name) if name else None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """Replace the file in one step."""
    new = path.with_suffix(".new")
    new.write_text(f"{text}\n")
    new.replace(path)
