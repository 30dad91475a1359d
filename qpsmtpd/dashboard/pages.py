# SPDX-License-Identifier: MIT
"""Pages: HTML of values, by the files in templates/.

Much of what is shown was written by strangers.  Each value is escaped for HTML, wherever it stands,
and characters that cannot be seen, or change the direction of writing, are spelled out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from qpsmtpd.dashboard.search import Moment
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.terminal import shown

_TEMPLATES = Path(__file__).parent / "templates"
_KILO = 1000


class Pages:
    """Renders pages.  site: the name of the machine, on all of them."""

    def __init__(self, site: str) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_visible,
            # All are read now, and not when the next version is being unpacked.
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            clock=_clock, day=_day, by_day=_by_day, iso=_iso, ticks=_ticks,
            count=_count, rate=_rate, with_code=_with_code, size=_size, wait=_wait, bound=_bound,
        )  # fmt: skip
        self._environment.globals.update(site=site, address=_address, zone=_zone)
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """The page that a template makes of values."""
        return self._environment.get_template(template).render(values)


def _visible(value: Any) -> Any:
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _address(path: str, parameters: Mapping[str, Any]) -> str:
    """A relative address with parameters."""
    return f"{path}?{urlencode(parameters, errors='replace')}" if parameters else path


def _local(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).astimezone()


def _zone() -> str:
    """The time zone of this machine, such as CET."""
    return f"{datetime.now(UTC).astimezone():%Z}"


def _clock(seconds: float) -> str:
    return f"{_local(seconds):%H:%M:%S}"


def _day(seconds: float) -> str:
    return f"{_local(seconds):%A, %-d %B %Y}"


def _by_day(decisions: Sequence[Decision]) -> list[tuple[str, list[Decision]]]:
    return [(day, list(group)) for day, group in groupby(decisions, lambda each: _day(each.time))]


def _iso(seconds: float) -> str:
    return _local(seconds).isoformat(timespec="seconds")


def _ticks(seconds: float) -> int:
    return Moment.of(seconds).ticks


def _count(number: float) -> Markup:
    """A whole number in groups of three digits."""
    return Markup(f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}"))  # noqa: S704 (digits)


def _rate(number: float) -> str:
    """How often something happens, with two digits where it is seldom."""
    return _count(number) if number >= 10 or number == int(number) else f"{number:.1f}"


def _size(octets: float) -> str:
    """As people write it, with two or three digits."""
    if octets < _KILO:
        return f"{octets:.0f} bytes"
    for unit in ("kB", "MB"):
        octets /= _KILO
        if octets < _KILO:
            return f"{octets:.1f} {unit}"
    return f"{octets / _KILO:.1f} GB"


def _wait(seconds: float) -> str:
    """A short time, with two or three digits."""
    if seconds < 0.001:
        return "<1 ms" if seconds else "0"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s"


def _with_code(text: str) -> Markup:
    """A text in which `this` is a command, or a word of a file."""
    parts = [escape(shown(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(shown(text))
    # Every other part was between two of them.
    marked = (f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
    return Markup("".join(marked))  # noqa: S704 (escaped)


def _bound(seconds: float | None) -> str:
    return "more" if seconds is None else _wait(seconds)
