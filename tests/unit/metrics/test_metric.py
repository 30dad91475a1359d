# SPDX-License-Identifier: MIT
"""Declarations that would not work are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qpsmtpd.metrics.metric import Metric, counter, gauge, histogram


@pytest.mark.parametrize(
    "declare",
    [
        lambda: counter("mail_received", "Not ours."),
        lambda: counter("qpsmtpd_messages_total", "With a suffix that is the format's."),
        lambda: gauge("qpsmtpd_Size", "A capital letter."),
        lambda: counter("qpsmtpd_size", "A label that is none.", "le-1"),
        lambda: gauge("qpsmtpd_size", "A unit that the name does not have.", unit="bytes"),
        lambda: histogram("qpsmtpd_wait_seconds", "In disorder.", buckets=(2, 1)),
        lambda: histogram("qpsmtpd_wait_seconds", "One bucket twice.", buckets=(1, 1)),
        lambda: Metric("qpsmtpd_wait", "histogram", "Without buckets."),
        lambda: Metric("qpsmtpd_wait", "counter", "With buckets.", buckets=(1, 2)),
    ],
)
def test_what_cannot_be(declare: Callable[[], Metric]) -> None:
    with pytest.raises(ValueError, match=r"qpsmtpd|mail_received"):
        declare()
