# SPDX-License-Identifier: MIT
"""Metric: what is counted or measured, declared once.

The exporter, the manual page and `qpsmtpd status` all read these declarations (catalogue.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

#: Seconds that a plugin, a look-up or a next hop takes.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
#: Seconds that greylisting delays a message.
DELAYS = (60, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800)

#: How many sets of label values a metric has at most; all further ones together are OTHER.
MOST_SERIES = 500
OTHER = "other"

Kind = Literal["counter", "gauge", "histogram", "info"]
#: How the values of several workers become one.
Combination = Literal["sum", "least"]

_is_name = re.compile(r"qpsmtpd(_[a-z0-9]+)+").fullmatch
_is_label = re.compile(r"[a-z]+(_[a-z]+)*").fullmatch
#: What the exporter appends to a name (OpenMetrics, Suffixes).
_RESERVED = ("_total", "_created", "_count", "_sum", "_bucket", "_info", "_gcount", "_gsum")


@dataclass(frozen=True, eq=False)
class Metric:
    """One family of series, in the terms of OpenMetrics.

    name: without the suffix that the kind brings (`_total`).
    help: what it is, as one sentence.
    labels: the names of the labels.  What a client says must never become the value of one.
    unit: the last word of the name, if it has one.
    buckets: upper bounds of a histogram; one more bucket has the rest.
    combined: how a gauge is combined over the workers; everything else is summed.
    sampled: it is asked for once a second (`Figures.each_second`), and gone when nobody says it.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    combined: Combination = "sum"
    sampled: bool = False

    def __post_init__(self) -> None:
        if not _is_name(self.name) or self.name.endswith(_RESERVED):
            raise ValueError(f"{self.name!r} cannot be the name of a metric")
        if not all(map(_is_label, self.labels)):
            raise ValueError(f"{self.name}: {self.labels} cannot be names of labels")
        if self.unit and not self.name.endswith(f"_{self.unit}"):
            raise ValueError(f"{self.name} does not end with its unit {self.unit}")
        if bool(self.buckets) != (self.kind == "histogram"):
            raise ValueError(f"{self.name}: histograms have buckets, and nothing else has")
        if list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"{self.name}: the buckets do not ascend")

    @property
    def cells(self) -> int:
        """How many numbers a series has: a histogram one for each bucket, the rest, and the sum."""
        return len(self.buckets) + 2 if self.buckets else 1


def counter(name: str, text: str, *labels: str, unit: str = "") -> Metric:
    """What only grows."""
    return Metric(name, "counter", text, labels, unit)


def gauge(
    name: str, text: str, *labels: str, unit: str = "", combined: Combination = "sum"
) -> Metric:
    """What is the case now."""
    return Metric(name, "gauge", text, labels, unit, combined=combined)


def sampled(
    name: str, text: str, *labels: str, unit: str = "", combined: Combination = "sum"
) -> Metric:
    """What somebody says once a second."""
    return Metric(name, "gauge", text, labels, unit, combined=combined, sampled=True)


def histogram(
    name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS, unit: str = "seconds"
) -> Metric:
    """How large or long something was, by buckets."""
    return Metric(name, "histogram", text, labels, unit, buckets)
