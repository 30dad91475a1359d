# SPDX-License-Identifier: MIT
"""virus/klez_filter: does nothing, so that configurations of the Perl version work as they are.

There it refused messages with the worm Klez, of 2002, by the look of their first lines. That worm
is not seen any more, and every virus scanner knows it: see virus/clamdscan. Remove the line.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.api import Plugin, opt


@dataclass(frozen=True, kw_only=True)
class KlezFilterOptions:
    """Options of virus/klez_filter."""

    ignored: str = opt("", rest=True, doc="Whatever the line says.")


class KlezFilter(Plugin[KlezFilterOptions]):
    """Nothing."""

    warning = "does nothing: the worm that it knew is of 2002; remove this line"
