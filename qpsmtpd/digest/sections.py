# SPDX-License-Identifier: MIT
"""Sections: a report as paragraphs and tables of texts, which text.py and page.py show alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

_UNITS = ("bytes", "KB", "MB", "GB", "TB")
_STEP = 1000.0


class Column(NamedTuple):
    """A column of a table.  Numbers are aligned to the right."""

    title: str
    number: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a report: paragraphs, command lines or lines of a file, and a table.

    key: by which others find it, for instance to put a chart there.
    """

    key: str
    title: str
    paragraphs: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.paragraphs or self.rows)


@dataclass(frozen=True)
class Report:
    """title: what it is about; subtitle: of which time."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]


def numbers(*titles: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(title, number=True) for title in titles)


def zone_at(seconds: float) -> str:
    """The time zone of this machine at a moment, such as CET."""
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Z}"


def shown_moment(seconds: float) -> str:
    """A time to the minute, in the time zone of this machine."""
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y-%m-%d %H:%M}"


def shown_duration(seconds: float) -> str:
    """A duration, as short as it can be read."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def shown_size(size: float) -> str:
    """A number of bytes."""
    for unit in _UNITS[:-1]:
        if size < _STEP:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} {_UNITS[-1]}"


def shown_share(part: int, whole: int) -> str:
    """A part in per cent."""
    return f"{100 * part / whole:.0f} %" if whole else "-"


def trend(now: float, before: float) -> str:
    """The change in per cent; "new" if there was nothing before."""
    if not before and now:
        return "new"
    percent = round(100 * (now - before) / before) if before else 0
    return f"{percent:+} %" if percent else "="
