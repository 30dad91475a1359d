# SPDX-License-Identifier: MIT
"""Site: what the dashboard has to know of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qpsmtpd.config.settings import Settings
from qpsmtpd.decisions.privacy import Privacy


class Site(NamedTuple):
    """name: of this machine.  directories: of the configuration.

    privacy: says what the network of a client is.
    """

    name: str
    directories: Sequence[Path]
    privacy: Privacy

    @classmethod
    def of(cls, settings: Settings, directories: Sequence[Path]) -> Site:
        """What these settings say."""
        privacy = Privacy(
            prefix4=settings.network_prefix_ipv4, prefix6=settings.network_prefix_ipv6
        )
        return cls(settings.me, directories, privacy)
