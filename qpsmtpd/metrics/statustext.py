# SPDX-License-Identifier: MIT
"""The status as text for a terminal, a page of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TextIO

from qpsmtpd.metrics.catalogue import OUTCOMES
from qpsmtpd.metrics.checks import checked
from qpsmtpd.metrics.status import PluginStatus, Status, Timing
from qpsmtpd.terminal import can_show, shown, styled

#: Rows of a table.
_MOST_ROWS = 12
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.:-=+*#"
#: Days before its end from when on a certificate is marked.
_SOON = 14
_STYLES = {"WARNING": "yellow", "CRITICAL": "red"}


class Line(NamedTuple):
    """A line of the page, and a style of terminal.py."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class View:
    """Where the page is shown: a stream, which decides on colours and characters, and how wide.

    cut: whether lines end where the view does.
    """

    stream: TextIO
    width: int = 80
    cut: bool = False

    def shown(self, line: Line) -> str:
        """A line as it is written.  What was configured may have any characters in it."""
        text = shown(line.text)
        text = text[: self.width] if self.cut else text
        return styled(self.stream, line.style, text) if line.style else text

    def bars(self, numbers: Sequence[float]) -> str:
        """A bar for each number, as high as it is in comparison."""
        bars = _BARS if can_show(self.stream, _BARS) else _PLAIN_BARS
        most = max(numbers, default=0)
        if not most:
            return bars[0] * len(numbers)
        return "".join(bars[round(number / most * (len(bars) - 1))] for number in numbers)


def page(status: Status, view: View) -> Iterator[str]:
    """The lines of the status."""
    return map(view.shown, _page(status, view))


def _page(status: Status, view: View) -> Iterator[Line]:
    yield Line(f"qpsmtpd {status.version}, up for {_duration(status.up)}", "bold")
    for found in checked(status):
        if found.state != "OK":
            text = f"{found.check.help.rstrip('.')}: {found.value:.4g}"
            yield Line(f"{found.state}: {text}", _STYLES[found.state])
    for heading, lines in (
        ("Messages", _messages(status, view)),
        ("Connections", _connections(status)),
        ("Plugins", _plugins(status)),
        ("Slowest", _slowest(status)),
        ("DNS", _dns(status)),
        ("Scanners, milters, DNS lists, store", _services(status)),
        ("Next hops", _next_hops(status)),
        ("Daemon", _daemon(status)),
    ):
        yield from _section(heading, list(lines))


def _section(heading: str, lines: Sequence[str | Line]) -> Iterator[Line]:
    if not lines:
        return
    yield Line("")
    yield Line(heading, "bold")
    for line in lines:
        text, style = line if isinstance(line, Line) else (line, "")
        yield Line(f"  {text}", style)


def _messages(status: Status, view: View) -> Iterator[str]:
    yield f"{'':12}{'a minute':>12}{'in all':>14}"
    for outcome in OUTCOMES:
        yield f"{outcome:12}{status.a_minute[outcome]:12.1f}{status.messages[outcome]:14,}"
    minutes = status.minutes[-min(60, view.width - 26) :]
    if len(minutes) > 1:
        most = max(minute.accepted for minute in minutes)
        bars = view.bars([minute.accepted for minute in minutes])
        yield f"{'by minute':12}{bars} accepted, up to {most:,}"
    if status.refusals:
        yield f"refused before a message: {_counts(status.refusals)}"
    if status.message_timing.number:
        yield f"from MAIL to the reply: {_timing(status.message_timing)}"
    if status.greylist_delay.number:
        yield f"delayed by greylisting: {_timing(status.greylist_delay)}"
    for method, results in status.authentication.items():
        yield f"{method}: {_counts(results)}"


def _connections(status: Status) -> Iterator[str]:
    limit = f" of {status.connections_limit:,}" if status.connections_limit else ""
    stages = {stage: number for stage, number in status.connections_open.items() if number}
    now = f"{sum(stages.values()):,}{limit} open"
    yield now + (f": {_counts(stages)}" if stages else "")
    yield f"{status.connections:,} in all, {status.a_minute['connections']:.1f} a minute"
    if status.connections_refused:
        yield f"no room for {_counts(status.connections_refused)}"
    if status.sessions_ended:
        yield f"came as far as: {_counts(status.sessions_ended)}"
    if status.tls or status.tls_failures:
        yield f"TLS: {_counts({**status.tls, 'failed': status.tls_failures})}"
    if status.logins:
        yield f"logins: {_counts(status.logins)}"


def _plugins(status: Status) -> Iterator[str]:
    """What each has said, the one with the most refusals first."""
    said = [each for each in status.plugins if each.answers]
    said.sort(key=lambda each: (-_refusals(each), -sum(each.answers.values()), each.plugin))
    for each in said[:_MOST_ROWS]:
        yield f"{f'{each.plugin} {each.hook}':36} {_counts(each.answers)}"
    yield from _more(len(said))


def _refusals(plugin: PluginStatus) -> int:
    return plugin.answers.get("deny", 0) + plugin.answers.get("defer", 0)


def _slowest(status: Status) -> Iterator[str]:
    for each in status.slowest[:5]:
        yield f"{f'{each.plugin} {each.hook}':36} {_timing(each.timing)}"


def _dns(status: Status) -> Iterator[str]:
    if status.dns.timing.number:
        yield _counts(status.dns.lookups)
        yield _timing(status.dns.timing)


def _services(status: Status) -> Iterator[Line]:
    for each in status.services:
        numbers = f", {each.failures:,} failures, {each.outages:,} outages" if each.failures else ""
        yield _service(f"{each.kind} {each.place}", each.down, numbers)
    store = status.store
    if store.done or store.failed:
        yield _service("store", store.down, f", {store.done:,} answers, {store.failed:,} failures")


def _service(name: str, down: int, numbers: str) -> Line:
    state = f"down in {down} worker{'s' if down > 1 else ''}" if down else "up"
    return Line(f"{name:44} {state}{numbers}", "red" if down else "")


def _next_hops(status: Status) -> Iterator[str]:
    for each in status.next_hops:
        yield (
            f"{each.next_hop:36} {_counts(each.transactions) or 'nothing yet'}; "
            f"{each.busy} busy, {each.idle} idle, {each.connects_failed:,} failed to connect"
        )
        if each.timing.number:
            yield f"{'':36} {_timing(each.timing)}"


def _daemon(status: Status) -> Iterator[str | Line]:
    died = f", {status.worker_deaths:,} died" if status.worker_deaths else ""
    yield f"{len(status.workers)} of {status.workers_wanted} workers{died}"
    for worker in status.workers[:_MOST_ROWS]:
        silent = f", silent for {worker.silent:.0f} s" if worker.silent > 5 else ""
        connections = f"{worker.connections:,} connection{'' if worker.connections == 1 else 's'}"
        yield f"  process {worker.pid} since {_moment(worker.since)}, {connections}{silent}"
    yield from _more(len(status.workers))
    if status.reloads:
        yield f"reloads: {_counts(status.reloads)}"
    for each in status.certificates:
        text = f"certificate {each.certificate}: {each.days:.0f} days left"
        yield Line(text, "yellow" if each.days < _SOON else "")
    yield f"event loops were late: {_timing(status.lag)}"
    yield f"{status.spool_memory:,} bytes of messages in memory"
    if status.log_lines_lost:
        yield f"{status.log_lines_lost:,} log lines lost"


def _more(number: int) -> Iterator[str]:
    if number > _MOST_ROWS:
        yield f"and {number - _MOST_ROWS} more; --json has all"


def _counts(counts: Mapping[str, int]) -> str:
    """The numbers that are not zero, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {number:,}" for name, number in ordered if number)


def _timing(timing: Timing) -> str:
    if not timing.number:
        return "not yet"
    often = "once" if timing.number == 1 else f"{timing.number:,} times"
    most = "over 5 % longer than is measured"
    if timing.most is not None:
        most = f"95 % within {_seconds(timing.most)}"
    return f"{often}, mean {_seconds(timing.mean)}, {most}"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else _duration(seconds)


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def _moment(time: float) -> str:
    return f"{datetime.fromtimestamp(time).astimezone():%Y-%m-%d %H:%M:%S}"
