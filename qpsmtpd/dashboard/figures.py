# SPDX-License-Identifier: MIT
"""Figures: parts of the daemon's status as pages show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import tostring

from markupsafe import Markup

from qpsmtpd.digest.charts import are_there, columns
from qpsmtpd.digest.digest import Bin, Counts
from qpsmtpd.metrics.checks import Found, checked
from qpsmtpd.metrics.status import Minute, PluginStatus, Status

MINUTE = 60.0


class Answers(NamedTuple):
    """What a plugin has said in all hooks since the daemon started.

    would: refusals that counted for nothing (mode=shadow, tag).  failed: faults and timeouts.
    seconds: on average, where it had to wait; None if it never had to.
    """

    refused: int = 0
    deferred: int = 0
    would: int = 0
    failed: int = 0
    seconds: float | None = None


def answers_by_plugin(plugins: Iterable[PluginStatus]) -> Mapping[str, Answers]:
    """By the name of the plugin in the chain."""
    said: dict[str, Counter[str]] = {}
    waited: dict[str, tuple[int, float]] = {}
    for each in plugins:
        said.setdefault(each.plugin, Counter()).update(each.answers)
        number, seconds = waited.get(each.plugin, (0, 0.0))
        timing = each.timing
        waited[each.plugin] = number + timing.number, seconds + timing.number * timing.mean
    return {
        plugin: Answers(
            answers["deny"],
            answers["defer"],
            answers["shadow"] + answers["tag"],
            answers["fault"] + answers["timeout"],
            waited[plugin][1] / waited[plugin][0] if waited[plugin][0] else None,
        )
        for plugin, answers in said.items()
    }


def concerns(status: Status) -> Iterator[str]:
    """What somebody should look at, a sentence for each: what `qpsmtpd status --check` finds."""
    for found in checked(status):
        if found.state != "OK":
            details = _DETAILS.get(found.check.name)
            yield from [_about(found)] if details is None else details(status)


def _about(found: Found) -> str:
    return f"{found.check.help.removesuffix('.')}: {found.value:.4g}."


def _services_down(status: Status) -> Iterator[str]:
    yield from (f"{each.kind} {each.place} is down." for each in status.services if each.down)


def _certificates(status: Status) -> Iterator[str]:
    for each in sorted(status.certificates, key=lambda each: each.days)[:1]:
        when = f"expires in {each.days:.0f} days" if each.days > 0 else "has expired"
        yield f"The certificate {each.certificate} {when}."


def _store_down(_: Status) -> Iterator[str]:
    yield "The store does not answer: greylisting, karma and the like have no effect."


_DETAILS: Mapping[str, Callable[[Status], Iterator[str]]] = {
    "services_down": _services_down,
    "certificate_days": _certificates,
    "store_down": _store_down,
}


def last_hour(minutes: Sequence[Minute]) -> Markup | None:
    """A chart of what became of messages; None if it cannot be drawn, or there is nothing."""
    bins = [
        Bin(each.time - MINUTE, Counts(each.accepted, each.deferred, each.refused))
        for each in minutes
    ]
    if not are_there() or not any(each.counts.total for each in bins):
        return None
    drawing = columns(bins, "Messages in the last hour, by minutes")
    return Markup(tostring(drawing, encoding="unicode", method="html"))  # noqa: S704 (escaped)
