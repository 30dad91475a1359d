# SPDX-License-Identifier: MIT
"""HopFigures: what is counted of one next hop."""

from __future__ import annotations

from qpsmtpd.metrics.catalogue import NEXT_HOP_CONNECTS, NEXT_HOP_SECONDS, NEXT_HOP_TRANSACTIONS
from qpsmtpd.metrics.counting import FIGURES


class HopFigures:
    """The series of a next hop.

    done: counts transactions that it has answered.  took: takes the seconds of each.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self.done = FIGURES.series(NEXT_HOP_TRANSACTIONS, place, "done")
        self.took = FIGURES.series(NEXT_HOP_SECONDS, place).note

    def failed(self, *, in_doubt: bool) -> None:
        """A transaction came to no answer."""
        FIGURES.count(NEXT_HOP_TRANSACTIONS, self._place, "in_doubt" if in_doubt else "failed")

    def connected(self, *, success: bool) -> None:
        """An attempt to connect has ended."""
        FIGURES.count(NEXT_HOP_CONNECTS, self._place, "done" if success else "failed")
