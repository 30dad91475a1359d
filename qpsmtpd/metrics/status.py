# SPDX-License-Identifier: MIT
"""Status: how the daemon is doing, as one value for people, monitoring, and pages.

    status = status_of(read(path))
    status.to_json()

`read` raises NotRunningError if the daemon does not run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics.catalogue import OUTCOMES
from qpsmtpd.metrics.metric import Metric
from qpsmtpd.metrics.reading import Distribution, Labels, Reading

#: Seconds that "lately" means, and minutes that the history has.
LATELY = 60.0
MINUTES = 60

_DAY = 86400.0
_MOST = 0.95


class Timing(NamedTuple):
    """How long something took: how often, and seconds on average and of 95 % of them at most.

    most: None if it is more than the largest bucket.
    """

    number: int
    mean: float
    most: float | None


@dataclass(frozen=True)
class WorkerStatus:
    """A worker: the process, when it was started, and what it has open.

    silent: seconds since it wrote its figures last, which it does every second.
    """

    pid: int
    since: float
    silent: float
    connections: int


@dataclass(frozen=True)
class Minute:
    """What a minute of the history had; `time` is its end, in seconds since the epoch."""

    time: float
    accepted: int
    deferred: int
    refused: int
    connections: int


@dataclass(frozen=True)
class PluginStatus:
    """What a plugin has said in a hook, by kind of answer, and how long it took when it waited."""

    plugin: str
    hook: str
    answers: dict[str, int]
    timing: Timing


@dataclass(frozen=True)
class DnsStatus:
    """Look-ups by result (found, empty, nxdomain, timeout, error), and how long they took."""

    lookups: dict[str, int]
    timing: Timing


@dataclass(frozen=True)
class ServiceStatus:
    """A scanner, a milter, a DNS list or the like.

    down: how many workers do not ask it, because it is down.
    """

    kind: str
    place: str
    down: int
    failures: int
    outages: int


@dataclass(frozen=True)
class NextHopStatus:
    """A server that messages are handed to: transactions by result, connections, seconds."""

    next_hop: str
    transactions: dict[str, int]
    connects_failed: int
    busy: int
    idle: int
    timing: Timing


@dataclass(frozen=True)
class StoreStatus:
    """down: how many workers cannot use the store."""

    down: int
    done: int
    failed: int
    outages: int


@dataclass(frozen=True)
class CertificateStatus:
    """A certificate: its file, when it expires, and in how many days."""

    certificate: str
    expires: float
    days: float


@dataclass(frozen=True)
class Status:
    """How the daemon is doing.  Everything is since its start, unless it says otherwise.

    time, since: now, and when the daemon was started, in seconds since the epoch.
    up: for how many seconds it has been running, whatever became of the clock.
    workers_wanted: how many there should be.
    connections_open: now, by stage; connections_limit: 0 means no limit.
    a_minute: messages by outcome, and connections, of about the last minute.
    messages: by outcome.  refusals: what was refused before there was a message, by plugin.
    authentication: by method and result.
    lag: how late timers were: what held the event loops.
    minutes: the last hour, the newest last.
    """

    version: str
    time: float
    since: float
    up: float
    workers: tuple[WorkerStatus, ...]
    workers_wanted: int
    worker_deaths: int
    reloads: dict[str, int]
    connections: int
    connections_open: dict[str, int]
    connections_limit: int
    connections_refused: dict[str, int]
    sessions_ended: dict[str, int]
    tls: dict[str, int]
    tls_failures: int
    logins: dict[str, int]
    a_minute: dict[str, float]
    messages: dict[str, int]
    message_bytes: int
    message_timing: Timing
    refusals: dict[str, int]
    authentication: dict[str, dict[str, int]]
    greylist_delay: Timing
    plugins: tuple[PluginStatus, ...]
    dns: DnsStatus
    services: tuple[ServiceStatus, ...]
    next_hops: tuple[NextHopStatus, ...]
    store: StoreStatus
    certificates: tuple[CertificateStatus, ...]
    blocking_calls: int
    spool_memory: int
    lag: Timing
    log_lines_lost: int
    minutes: tuple[Minute, ...]

    @property
    def slowest(self) -> tuple[PluginStatus, ...]:
        """The plugins that wait, the one that takes longest on average first."""
        waiting = [each for each in self.plugins if each.timing.number]
        return tuple(sorted(waiting, key=lambda each: -each.timing.mean))

    @property
    def days_left(self) -> float:
        """Of the certificate that expires first; infinity without any."""
        return min((each.days for each in self.certificates), default=math.inf)

    def to_json(self) -> dict[str, Any]:
        """Names and values for other programs; a Timing is a list of its fields' values."""
        return asdict(self)


def status_of(reading: Reading) -> Status:
    """What these figures mean."""
    number, distribution = reading.number, reading.distribution
    return Status(
        version=reading.head.version,
        time=reading.time,
        since=reading.head.created,
        up=reading.monotonic - reading.head.monotonic,
        workers=tuple(_workers(reading)),
        workers_wanted=reading.head.workers,
        worker_deaths=int(number(catalogue.WORKER_DEATHS)),
        reloads=_by(reading, catalogue.RELOADS),
        connections=int(number(catalogue.CONNECTIONS)),
        connections_open=_by(reading, catalogue.CONNECTIONS_OPEN),
        connections_limit=int(number(catalogue.CONNECTIONS_LIMIT)),
        connections_refused=_by(reading, catalogue.CONNECTIONS_REFUSED),
        sessions_ended=_by(reading, catalogue.SESSIONS_ENDED),
        tls=_by(reading, catalogue.TLS_SESSIONS),
        tls_failures=int(number(catalogue.TLS_FAILURES)),
        logins=_by(reading, catalogue.LOGINS),
        a_minute=_lately(reading),
        messages={name: int(number(catalogue.MESSAGES, name)) for name in OUTCOMES},
        message_bytes=int(number(catalogue.MESSAGE_BYTES)),
        message_timing=_timing(catalogue.MESSAGE_SECONDS, distribution(catalogue.MESSAGE_SECONDS)),
        refusals=_by(reading, catalogue.REFUSALS),
        authentication=_authentication(reading),
        greylist_delay=_timing(catalogue.GREYLIST_DELAY, distribution(catalogue.GREYLIST_DELAY)),
        plugins=tuple(_plugins(reading)),
        dns=DnsStatus(
            _by(reading, catalogue.DNS_LOOKUPS, 1),
            _timing(catalogue.DNS_SECONDS, distribution(catalogue.DNS_SECONDS)),
        ),
        services=tuple(_services(reading)),
        next_hops=tuple(_next_hops(reading)),
        store=StoreStatus(
            down=int(number(catalogue.STORE_DOWN)),
            done=int(number(catalogue.STORE_OPERATIONS, "done")),
            failed=int(number(catalogue.STORE_OPERATIONS, "failed")),
            outages=int(number(catalogue.STORE_OUTAGES)),
        ),
        certificates=tuple(_certificates(reading)),
        blocking_calls=int(number(catalogue.BLOCKING_CALLS)),
        spool_memory=int(number(catalogue.SPOOL_MEMORY)),
        lag=_timing(catalogue.LOOP_LAG, distribution(catalogue.LOOP_LAG)),
        log_lines_lost=int(reading.total(catalogue.LOG_LINES_LOST)),
        minutes=tuple(_minutes(reading)),
    )


def _by(reading: Reading, metric: Metric, label: int = 0) -> dict[str, int]:
    """The sums by one of the labels."""
    sums: dict[str, int] = {}
    for labels, value in sorted(reading.numbers.get(metric, {}).items()):
        sums[labels[label]] = sums.get(labels[label], 0) + int(value)
    return sums


def _timing(metric: Metric, distribution: Distribution) -> Timing:
    most = distribution.quantile(_MOST, metric.buckets)
    mean = distribution.mean
    return Timing(int(distribution.number), mean, None if math.isinf(most) else most)


def _workers(reading: Reading) -> Iterator[WorkerStatus]:
    for process in reading.processes:
        silent = max(0.0, reading.monotonic - process.seen)
        yield WorkerStatus(process.pid, process.since, silent, process.connections)


def _lately(reading: Reading) -> dict[str, float]:
    """Messages and connections a minute; in the first one, what there were until now."""
    now, before = reading.totals, reading.totals_at(reading.monotonic - LATELY)
    minutes = max(now.time - before.time, LATELY) / 60.0
    return {
        name: (getattr(now, name) - getattr(before, name)) / minutes
        for name in (*OUTCOMES, "connections")
    }


def _minutes(reading: Reading) -> Iterator[Minute]:
    moments = [reading.monotonic - 60.0 * ago for ago in range(MINUTES, -1, -1)]
    begun = [moment for moment in moments if moment > reading.head.monotonic - 60.0]
    totals = [reading.totals_at(moment) for moment in begun[:-1]] + [reading.totals]
    for moment, before, after in zip(begun[1:], totals, totals[1:], strict=False):
        gained = (int(new - old) for new, old in zip(after[1:], before[1:], strict=True))
        yield Minute(reading.time - reading.monotonic + moment, *gained)


def _authentication(reading: Reading) -> dict[str, dict[str, int]]:
    results: dict[str, dict[str, int]] = {}
    for (method, result), value in sorted(
        reading.numbers.get(catalogue.AUTHENTICATION, {}).items()
    ):
        results.setdefault(method, {})[result] = int(value)
    return results


def _plugins(reading: Reading) -> Iterator[PluginStatus]:
    answers: dict[Labels, dict[str, int]] = {}
    for (plugin, hook, answer), value in reading.numbers.get(catalogue.PLUGIN_ANSWERS, {}).items():
        answers.setdefault((plugin, hook), {})[answer] = int(value)
    metric = catalogue.PLUGIN_SECONDS
    for plugin, hook in sorted({*answers, *reading.distributions.get(metric, {})}):
        timing = _timing(metric, reading.distribution(metric, plugin, hook))
        said = {
            name: number
            for name, number in sorted(answers.get((plugin, hook), {}).items())
            if number
        }
        if said or timing.number:
            yield PluginStatus(plugin, hook, said, timing)


def _services(reading: Reading) -> Iterator[ServiceStatus]:
    for (kind, place), down in sorted(reading.numbers.get(catalogue.SERVICE_DOWN, {}).items()):
        failures = reading.number(catalogue.SERVICE_FAILURES, kind, place)
        outages = reading.number(catalogue.SERVICE_OUTAGES, kind, place)
        yield ServiceStatus(kind, place, int(down), int(failures), int(outages))


def _next_hops(reading: Reading) -> Iterator[NextHopStatus]:
    metric, number = catalogue.NEXT_HOP_CONNECTS, reading.number
    for name in sorted({labels[0] for labels in reading.numbers.get(metric, {})}):
        transactions = {
            result: int(value)
            for (hop, result), value in sorted(
                reading.numbers.get(catalogue.NEXT_HOP_TRANSACTIONS, {}).items()
            )
            if hop == name
        }
        yield NextHopStatus(
            name,
            transactions,
            connects_failed=int(number(metric, name, "failed")),
            busy=int(number(catalogue.NEXT_HOP_CONNECTIONS, name, "busy")),
            idle=int(number(catalogue.NEXT_HOP_CONNECTIONS, name, "idle")),
            timing=_timing(
                catalogue.NEXT_HOP_SECONDS, reading.distribution(catalogue.NEXT_HOP_SECONDS, name)
            ),
        )


def _certificates(reading: Reading) -> Iterator[CertificateStatus]:
    found = reading.numbers.get(catalogue.CERTIFICATE_EXPIRY, {})
    for (name,), expires in sorted(found.items()):
        yield CertificateStatus(name, expires, (expires - reading.time) / _DAY)
