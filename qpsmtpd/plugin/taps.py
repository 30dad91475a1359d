# SPDX-License-Identifier: MIT
"""Taps: passes the blocks of one body to the functions that plugins have registered for it.

They do not get the empty line before the body.  A function that fails gets no further blocks; what
that costs, the chain decides at the end of the message.
"""

from __future__ import annotations

from collections.abc import Iterable

from qpsmtpd.mail.session import Tap

_EMPTY_LINE = b"\r\n"


class Taps:
    """The taps of one message."""

    __slots__ = ("_begun", "_taps", "faults")

    def __init__(self, taps: Iterable[Tap]) -> None:
        self._begun = False
        self._taps = list(taps)
        #: Plugins whose function failed, and the exceptions.
        self.faults: list[tuple[str, BaseException]] = []

    def listen(self, block: bytes) -> None:
        """Pass on the next block; the first one begins with the whole empty line."""
        if not self._begun:
            self._begun = True
            block = block.removeprefix(_EMPTY_LINE)
            if not block:
                return
        for tap in tuple(self._taps):
            try:
                tap.listen(block)
            except (Exception, SystemExit) as error:
                self._taps.remove(tap)
                self.faults.append((tap.plugin, error))
