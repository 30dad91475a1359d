# SPDX-License-Identifier: MIT
"""Hops: whether there is a next hop, and what the plugins say about each."""

from __future__ import annotations

from collections.abc import Iterator

from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.finding import Finding


def check_next_hops(installation: Installation) -> Iterator[Finding]:
    """What each plugin that delivers found, and whether there is one."""
    examined = installation.examined
    if examined and not any("queue" in plugin.hooks for plugin in examined):
        text = "no plugin delivers messages, so qpsmtpd does not start"
        yield Finding.error("plugins", text, "Choose a delivery:", "dpkg-reconfigure qpsmtpd")
    yield from installation.found("Next hops")
