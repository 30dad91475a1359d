# SPDX-License-Identifier: MIT
"""What becomes of a message after a virus scanner has seen it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.verdict import Verdict, deny
from qpsmtpd.scanners.results import VirusResult, add_virus_result


@dataclass(frozen=True, slots=True)
class VirusReport:
    """How a plugin reports what its scanner found.

    plugin: its name in the chain.
    checked: the value of X-Virus-Checked, which messages without a virus get.
    refuse: whether a message with a virus is refused; otherwise a field says so.
    change: whether the message may get header fields.
    """

    plugin: str
    log: logging.Logger
    checked: str
    refuse: bool
    change: bool

    def about(self, tx: Transaction, virus: str) -> Verdict | None:
        """The verdict on a message in which this virus was found; "" is none."""
        add_virus_result(tx, VirusResult(self.plugin, virus))
        if not virus:
            self._add(tx, ("X-Virus-Found", "No"), ("X-Virus-Checked", self.checked))
            return None
        self.log.info("virus found name=%r", virus)
        tx.session.adjust_karma(-1)
        if self.refuse:
            return deny(f"Virus found: {virus}", status="5.7.1", reason=f"virus {virus}")
        self._add(tx, ("X-Virus-Found", "Yes"), ("X-Virus-Details", virus))
        return None

    def _add(self, tx: Transaction, *fields: tuple[str, str]) -> None:
        for name, value in reversed(fields) if self.change else ():
            tx.add_header(name, value)
