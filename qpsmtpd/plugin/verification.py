# SPDX-License-Identifier: MIT
"""Verification: what a mail system says when it is asked whether it has a recipient.

Plugins that deliver answer with it (`Plugin.knows_recipient`); verify_recipients asks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Answer = Literal["known", "unknown", "unsure", "unavailable"]


@dataclass(frozen=True, slots=True)
class Verification:
    """What is known about a recipient.

    answer: known, it would be taken, as far as can be told without a message; unknown, it would be
    refused for good; unsure, there is no clear answer about this recipient; unavailable, nobody
    answers questions now.
    status: the enhanced status code of "unknown" (RFC 3463).
    reason: why, for the log.
    """

    answer: Answer
    status: str = ""
    reason: str = ""


KNOWN = Verification("known")


def unknown(status: str = "5.1.1", reason: str = "") -> Verification:
    """The mail system does not have this recipient."""
    return Verification("unknown", status, reason)


def unsure(reason: str) -> Verification:
    """The mail system gives no clear answer about this recipient."""
    return Verification("unsure", reason=reason)


def unavailable(reason: str) -> Verification:
    """The mail system cannot be asked now."""
    return Verification("unavailable", reason=reason)
