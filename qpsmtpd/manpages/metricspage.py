# SPDX-License-Identifier: MIT
"""qpsmtpd-metrics(7): everything that is counted and measured, from its declaration."""

from __future__ import annotations

from qpsmtpd.manpages import texts
from qpsmtpd.manpages.parts import sentence
from qpsmtpd.manpages.roff import Page
from qpsmtpd.metrics.catalogue import CATALOGUE
from qpsmtpd.metrics.metric import Metric

_SUFFIXES = {"counter": "_total", "info": "_info"}


def write(page: Page) -> None:
    """Write the page, but for its head and its last section."""
    page.heading("Description")
    page.prose(texts.METRICS)
    page.heading("Metrics")
    for metric in CATALOGUE:
        page.term(metric.name + _SUFFIXES.get(metric.kind, ""), _described(metric), metric.kind)


def _described(metric: Metric) -> str:
    text = sentence(metric.help)
    if metric.labels:
        text += f" Labels: {', '.join(f'`{label}`' for label in metric.labels)}."
    if metric.buckets:
        bounds = ", ".join(f"{bound:g}" for bound in metric.buckets)
        text += f" Buckets: {bounds}."
    return text
