# SPDX-License-Identifier: MIT
"""Sampling: what a worker has open, for those who watch it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qpsmtpd.metrics.catalogue import (
    CONNECTIONS_LIMIT,
    CONNECTIONS_OPEN,
    SPOOL_MEMORY,
)
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.protocol import SmtpProtocol

#: What a connection can be at.
STAGES = ("proxy", "connect", "command", "mail", "data", "decision", "queue")


def say_open(
    *, protocols: Iterable[SmtpProtocol], before_header: int, limit: int, memory: int
) -> None:
    """Say what a worker has open.

    before_header: connections whose PROXY header is still to come.  limit: max_connections.
    memory: octets of messages.
    """
    stages = Counter(stage_of(each.connection) for each in protocols)
    stages["proxy"] = before_header
    for stage in STAGES:
        FIGURES.add_sample(CONNECTIONS_OPEN, stages[stage], stage)
    FIGURES.add_sample(CONNECTIONS_LIMIT, limit)
    FIGURES.add_sample(SPOOL_MEMORY, memory)


def stage_of(connection: Connection | None) -> str:
    """What a connection is at; one that is being closed has no stage of its own."""
    if connection is None:
        return "command"
    if not connection.session.commands:
        return "connect"
    transaction = connection.session.transaction
    if transaction is None:
        return "command"
    if not connection.deciding:
        return "mail" if connection.incoming is None else "data"
    if transaction.message is None:
        return "data"
    return "queue" if transaction.trail.hook == "queue" else "decision"
