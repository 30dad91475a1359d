# SPDX-License-Identifier: MIT
"""A small client for SMTP and LMTP, for plugins that hand messages to a next hop.

    plugin ──▶ submit ──▶ pool ──▶ client ──▶ wire ──▶ the next hop
               (replies → verdicts)  (the steps)  (bytes, limits)

A plugin makes a pool in `start`, runs one piece of work on it per message, and turns the replies
into a verdict.  What wins here: a message counts as taken after the next hop's 2xx to its end,
and at no other time; everything doubtful is a NextHopError, for which the client gets a 451.
"""

from qpsmtpd.nexthop.client import Client, EnvelopeReplies, connect
from qpsmtpd.nexthop.delivered import Delivered, fingerprint
from qpsmtpd.nexthop.dots import DotStuffer
from qpsmtpd.nexthop.hopchecks import check_cleanup, check_next_hop, check_questions
from qpsmtpd.nexthop.hopenvelope import offer_dsn, offer_extensions
from qpsmtpd.nexthop.hopoptions import NextHopOptions, is_host, make_pool
from qpsmtpd.nexthop.hopreply import HopReply, NextHopError
from qpsmtpd.nexthop.metadata import hello_of, xclient_commands
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.nexthop.prober import Prober
from qpsmtpd.nexthop.refusals import Refusals
from qpsmtpd.nexthop.routes import Destination, Routes, are_hosts
from qpsmtpd.nexthop.submit import (
    Outcome,
    check_recipient,
    hand_over,
    log_refusals,
    mixed,
    notice_owed,
    refused,
    remember_refusals,
    room_for,
    taken,
    told_apart,
    unavailable,
)
from qpsmtpd.nexthop.target import Target, smtp_target

__all__ = [
    "Client",
    "Delivered",
    "Destination",
    "DotStuffer",
    "EnvelopeReplies",
    "HopReply",
    "NextHopError",
    "NextHopOptions",
    "Outcome",
    "Pool",
    "Prober",
    "Refusals",
    "Routes",
    "Target",
    "are_hosts",
    "check_cleanup",
    "check_next_hop",
    "check_questions",
    "check_recipient",
    "connect",
    "fingerprint",
    "hand_over",
    "hello_of",
    "is_host",
    "log_refusals",
    "make_pool",
    "mixed",
    "notice_owed",
    "offer_dsn",
    "offer_extensions",
    "refused",
    "remember_refusals",
    "room_for",
    "smtp_target",
    "taken",
    "told_apart",
    "unavailable",
    "xclient_commands",
]
