# SPDX-License-Identifier: MIT
"""Checks: whether all is well, for monitoring that knows the conventions of Nagios plugins.

Each check is one number and says in which direction it gets worse; thresholds have defaults, and
whoever asks may give others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from qpsmtpd.metrics.status import Status

State = Literal["OK", "WARNING", "CRITICAL", "UNKNOWN"]

#: The exit status that each state has (Monitoring Plugins Development Guidelines).
EXIT_STATUS: Mapping[State, int] = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}

Thresholds = Mapping[str, float]


@dataclass(frozen=True)
class Check:
    """A number that has thresholds.

    value: the number; infinity or None where there is nothing to look at.
    warning, critical: from where on it is in that state, None for never.
    falling: lower numbers are worse.
    """

    name: str
    help: str
    value: Callable[[Status], float | None]
    warning: float | None = None
    critical: float | None = None
    falling: bool = False

    def exceeds(self, value: float, threshold: float | None) -> bool:
        """Whether a threshold is reached."""
        if threshold is None:
            return False
        return value <= threshold if self.falling else value >= threshold


def _missing(status: Status) -> float:
    lacking = max(0, status.workers_wanted - len(status.workers))
    return 100.0 * lacking / status.workers_wanted if status.workers_wanted else 0.0


def _silence(status: Status) -> float:
    return max((worker.silent for worker in status.workers), default=0.0)


def _fullness(status: Status) -> float | None:
    open_now = sum(status.connections_open.values())
    return 100.0 * open_now / status.connections_limit if status.connections_limit else None


CHECKS = (
    Check("workers_missing", "Workers that do not run, in per cent.", _missing, 1, 100),
    Check("silence", "Seconds since the event loop of a worker turned.", _silence, 10, 60),
    Check("connections", "Open connections, in per cent of max_connections.", _fullness, 80, 95),
    Check(
        "services_down",
        "Scanners, milters, DNS lists and the like that are down.",
        lambda status: sum(1 for each in status.services if each.down),
        1,
    ),
    Check("store_down", "Workers that cannot use the store.", lambda status: status.store.down, 1),
    Check(
        "certificate_days",
        "Days until a certificate expires.",
        lambda status: status.days_left,
        14,
        3,
        falling=True,
    ),
    Check(
        "accepted",
        "Messages accepted in the last minute.",
        lambda status: status.a_minute["accepted"],
        falling=True,
    ),
    Check(
        "deferred",
        "Messages deferred in the last minute.",
        lambda status: status.a_minute["deferred"],
    ),
    Check(
        "refused",
        "Messages refused in the last minute.",
        lambda status: status.a_minute["refused"],
    ),
    Check(
        "log_lines_lost",
        "Log lines lost since the start.",
        lambda status: status.log_lines_lost,
        1,
    ),
)
NAMES = tuple(check.name for check in CHECKS)


class Found(NamedTuple):
    """What a check has found, with the thresholds that it was held to."""

    check: Check
    value: float
    warning: float | None
    critical: float | None

    @property
    def state(self) -> State:
        """What that means."""
        if self.check.exceeds(self.value, self.critical):
            return "CRITICAL"
        return "WARNING" if self.check.exceeds(self.value, self.warning) else "OK"

    @property
    def performance(self) -> str:
        """For the graphs of the monitoring: the value and its thresholds, as ranges that are OK."""
        ranges = (self._range(threshold) for threshold in (self.warning, self.critical))
        return f"{self.check.name}={self.value:.6g};{';'.join(ranges)}".rstrip(";")

    def _range(self, threshold: float | None) -> str:
        if threshold is None:
            return ""
        return f"{threshold:g}:" if self.check.falling else f"{threshold:g}"


def checked(
    status: Status, warning: Thresholds | None = None, critical: Thresholds | None = None
) -> Iterator[Found]:
    """What all checks find; the thresholds given here replace the defaults."""
    for check in CHECKS:
        value = check.value(status)
        if value is not None and not math.isinf(value):
            yield Found(
                check,
                value,
                (warning or {}).get(check.name, check.warning),
                (critical or {}).get(check.name, check.critical),
            )


def verdict(found: list[Found]) -> tuple[State, str]:
    """The worst state, and the one line that monitoring reads."""
    worst: State = "OK"
    for state in ("WARNING", "CRITICAL"):
        if any(each.state == state for each in found):
            worst = state
    troubles = [f"{each.check.name} is {each.value:.4g}" for each in found if each.state != "OK"]
    text = ", ".join(troubles) or "all is well"
    return worst, f"QPSMTPD {worst} - {text} | {' '.join(each.performance for each in found)}"
