# SPDX-License-Identifier: MIT
"""Figures as text: OpenMetrics 1.0, or the older format of Prometheus (0.0.4).

The latter is what the textfile collector of the node exporter and promtool(1) read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qpsmtpd.metrics.catalogue import CATALOGUE
from qpsmtpd.metrics.metric import Metric
from qpsmtpd.metrics.reading import Labels, Reading

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_SUFFIXES = {"counter": "_total", "info": "_info"}


@dataclass(frozen=True)
class Format:
    """content_type: as HTTP names it."""

    content_type: str
    is_openmetrics: bool

    def text(self, reading: Reading) -> str:
        """All metrics that have a value."""
        lines = [line for metric in CATALOGUE for line in self._family(metric, reading)]
        if self.is_openmetrics:
            lines.append("# EOF")
        return "\n".join(lines) + "\n"

    def _family(self, metric: Metric, reading: Reading) -> Iterator[str]:
        samples = list(_samples(metric, reading))
        if not samples:
            return
        # The older format knows no family apart from its samples, and fewer kinds.
        if self.is_openmetrics:
            name, kind = metric.name, metric.kind
        else:
            name = metric.name + _SUFFIXES.get(metric.kind, "")
            kind = "gauge" if metric.kind == "info" else metric.kind
        yield f"# TYPE {name} {kind}"
        if metric.unit and self.is_openmetrics:
            yield f"# UNIT {name} {metric.unit}"
        yield f"# HELP {name} {_escaped_help(metric.help)}"
        yield from samples


OPENMETRICS = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", True)
PROMETHEUS = Format("text/plain; version=0.0.4; charset=utf-8", False)


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _samples(metric: Metric, reading: Reading) -> Iterator[str]:
    if metric.buckets:
        for labels, (counts, total) in sorted(reading.distributions.get(metric, {}).items()):
            # Most plugins never wait, in most hooks.
            if not labels or any(counts):
                yield from _histogram(metric, labels, counts, total)
        return
    name = metric.name + _SUFFIXES.get(metric.kind, "")
    for labels, value in sorted(reading.numbers.get(metric, {}).items()):
        yield _sample(name, _pairs(metric, labels), value)


def _histogram(
    metric: Metric, labels: Labels, counts: Iterable[float], total: float
) -> Iterator[str]:
    pairs, seen = _pairs(metric, labels), 0.0
    for bound, count in zip((*metric.buckets, math.inf), counts, strict=True):
        seen += count
        yield _sample(f"{metric.name}_bucket", [*pairs, ("le", _number(float(bound)))], seen)
    yield _sample(f"{metric.name}_count", pairs, seen)
    yield _sample(f"{metric.name}_sum", pairs, total)


def _pairs(metric: Metric, labels: Labels) -> list[tuple[str, str]]:
    return list(zip(metric.labels, labels, strict=True))


def _sample(name: str, pairs: Iterable[tuple[str, str]], value: float) -> str:
    inner = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in pairs)
    shown = _number(value) if value % 1 else f"{value:.0f}"
    return f"{name}{{{inner}}} {shown}" if inner else f"{name} {shown}"


def _number(value: float) -> str:
    """The shortest text that stands for a number (OpenMetrics, Numbers and Canonical Numbers)."""
    return "+Inf" if math.isinf(value) else repr(value)
