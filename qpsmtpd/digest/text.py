# SPDX-License-Identifier: MIT
"""A report as text, for terminals and mail."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TextIO

from qpsmtpd.digest.sections import Column, Report, Section
from qpsmtpd.terminal import styled

#: Of a paragraph, in mail as well.
_WIDTH = 78
#: Characters of a cell, unless it is the last one.
_MOST_CELL = 44


def lines_of(report: Report, stream: TextIO) -> Iterator[str]:
    """The lines; headings are bold where the stream is a terminal."""
    yield styled(stream, "bold", f"{report.title}, {report.subtitle}")
    for section in report.sections:
        yield ""
        yield styled(stream, "bold", section.title)
        for paragraph in section.paragraphs:
            yield from textwrap.wrap(paragraph, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        yield from (f"    {line}" for line in section.lines)
        if section.rows:
            yield from _table(section)


def _table(section: Section) -> Iterator[str]:
    heading = tuple(column.title for column in section.columns)
    rows = [tuple(map(_cut, row[:-1])) + row[-1:] for row in (heading, *section.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, section.columns, strict=True)
        yield f"  {'  '.join(_aligned(*cell) for cell in cells)}".rstrip()


def _aligned(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.number else text.ljust(width)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CELL else f"{text[: _MOST_CELL - 1]}…"
