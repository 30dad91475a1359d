# SPDX-License-Identifier: MIT
"""Hops: whether each next hop of the chain will take our mail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from qpsmtpd.config.pluginlines import PluginLine
from qpsmtpd.doctor.hop_maildir import check_maildir
from qpsmtpd.doctor.hop_postfix import check_postfix_queue
from qpsmtpd.doctor.hop_program import check_exim_bsmtp, check_qmail_queue
from qpsmtpd.doctor.hop_remote import check_remote
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.finding import Finding

CHECKS: Mapping[str, Callable[[Installation, PluginLine], Iterator[Finding]]] = {
    "queue/exim-bsmtp": check_exim_bsmtp,
    "queue/lmtp": check_remote,
    "queue/maildir": check_maildir,
    "queue/postfix-queue": check_postfix_queue,
    "queue/qmail-queue": check_qmail_queue,
    "queue/smtp-forward": check_remote,
}


def check_next_hops(installation: Installation) -> Iterator[Finding]:
    """Each plugin that delivers."""
    lines = [line for line in installation.lines.plugins if "queue" in line.cls.hooks()]
    if not lines:
        text = "no plugin delivers messages, so qpsmtpd does not start"
        yield Finding.error("plugins", text, "Choose a delivery:", "dpkg-reconfigure qpsmtpd")
    for line in lines:
        name = line.name.partition(":")[0]
        if name in CHECKS:
            yield from CHECKS[name](installation, line)
        elif name != "queue/discard":  # the configuration is warned of already
            yield Finding.notice(line.name, "delivers in a way that is not known here")
