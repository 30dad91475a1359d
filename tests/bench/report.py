# SPDX-License-Identifier: MIT
"""The results as text: a table for each case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.cases import CASES, MB, AtOnce, Case, Idle, Strangers
from tests.bench.results import Cell, Results
from tests.bench.servers import AGAINST, SERVERS, Ours

OURS = "ours-1"
REFERENCE = "aiosmtpd"
#: The title of the column with the ratio to the other commit.
BEFORE = "to before"
#: The title of the column with the microseconds of CPU time that a message costs more than in the
#: case beside.
MORE = "us more"

#: What one worker is to reach, or need at most, in the column's unit; by case and column.
TARGETS = {
    ("one-per-connection", "msg/cpu-s"): 3500,
    ("many-per-connection", "msg/cpu-s"): 9000,
    ("5mb", "MB/cpu-s"): 400,
    ("200-at-once", "msg/s"): 1000,
    ("8000-at-once", "greeted ms"): 3000,
    ("idle", "KB each"): 15,
    ("authentication", MORE): 400,
    ("authentication-5", MORE): 4 * 150,
    ("authentication-1mb", MORE): 6000,
}


@dataclass(frozen=True)
class Column:
    """A column of a table; None has no value in it."""

    title: str
    value: Callable[[Cell], float | None]
    digits: int = 0

    @property
    def width(self) -> int:
        return max(7, len(self.title))

    def text(self, cell: Cell) -> str:
        """The value, right-adjusted."""
        return _number(self.value(cell), self.digits).rjust(self.width)


def tables(results: Results) -> Iterator[str]:
    """The lines of a table for each case that was measured."""
    for case in CASES.values():
        found = ((server, results.cells.get((server, case.name))) for server in SERVERS)
        rows = {server: cell for server, cell in found if cell is not None}
        if rows:
            yield from ("", case.title)
            beside = {server: results.cells.get((server, case.beside)) for server in rows}
            yield from _table(case, rows, beside)


def _table(
    case: Case, rows: Mapping[str, Cell], beside: Mapping[str, Cell | None]
) -> Iterator[str]:
    columns = columns_of(case)
    width = max(len(server.title) for server in SERVERS.values())
    titles = " ".join(column.title.rjust(column.width) for column in columns)
    before = f"{BEFORE:>9}" if AGAINST in rows else ""
    more = f"{MORE:>8} " if case.beside else ""
    yield f"  {'':{width}} {titles} {more}{'ratio':>6} {'target':>16} {before}".rstrip()
    for name in rows:
        row = _row(case, name, columns, rows, beside[name])
        yield f"  {SERVERS[name].title:{width}} {row}".rstrip()


def _row(
    case: Case,
    name: str,
    columns: Sequence[Column],
    rows: Mapping[str, Cell],
    beside: Cell | None,
) -> str:
    cell = rows[name]
    if cell.failed:
        return f"failed: {cell.failed}"
    figures = " ".join(column.text(cell) for column in columns)
    ratio, before = ratio_of(cell, rows.get(REFERENCE)), to_before(cell, rows.get(AGAINST))
    last = f"{_number(before, 2):>9}" if before else ""
    if case.beside:
        figures += f" {_number(microseconds_more(cell, beside), 0):>8}"
    return f"{figures} {_number(ratio, 2):>6} {_target(case, name):>16} {last}"


def columns_of(case: Case) -> list[Column]:
    """What the table of a case shows; big messages count by their size."""
    memory = Column("MB most", lambda cell: _scaled(cell.memory, 1 / MB))
    if isinstance(case, Idle):
        return [Column("KB each", lambda cell: _scaled(cell.idle, 1 / 1024), digits=1), memory]
    unit, scale = ("MB", case.size / MB) if case.size >= MB / 16 else ("msg", 1.0)
    columns = [
        Column(f"{unit}/s", lambda cell: _scaled(cell.rate, scale)),
        Column(f"{unit}/cpu-s", lambda cell: _scaled(cell.per_cpu_second, scale)),
        Column("p50 ms", lambda cell: cell.p50, digits=1),
        Column("p95 ms", lambda cell: cell.p95, digits=1),
        Column("p99 ms", lambda cell: cell.p99, digits=1),
        memory,
    ]
    if isinstance(case, AtOnce):
        columns.append(Column("greeted ms", lambda cell: cell.greeted))
    if isinstance(case, AtOnce | Strangers):
        columns.append(Column("refused", lambda cell: cell.refused))
    return columns


def _target(case: Case, server: str) -> str:
    if not isinstance(SERVERS[server], Ours):
        return ""
    found = (f"{value} {column}" for (name, column), value in TARGETS.items() if name == case.name)
    return next(found, "")


def ratio_of(cell: Cell | None, reference: Cell | None) -> float | None:
    """How many messages a server takes in a CPU second for one that the other takes.

    With idle connections: how much memory it needs for one byte of the other.
    """
    if cell is None or reference is None:
        return None
    if cell.per_cpu_second and reference.per_cpu_second:
        return cell.per_cpu_second / reference.per_cpu_second
    return cell.idle / reference.idle if cell.idle and reference.idle else None


def to_before(cell: Cell, before: Cell | None) -> float | None:
    """The same for the commit before: of both side by side, where they were measured so."""
    return cell.to_before or ratio_of(cell, before)


def microseconds_more(cell: Cell | None, beside: Cell | None) -> float | None:
    """How much more CPU time a message costs here than beside."""
    if cell is None or beside is None or not (cell.per_cpu_second and beside.per_cpu_second):
        return None
    return (1 / cell.per_cpu_second - 1 / beside.per_cpu_second) * 1e6


def last_lines(results: Results) -> Iterator[str]:
    """Below the tables: what one worker of ours does in each case that is about messages.

    That is a ratio to bare aiosmtpd where that can be measured as well, how much more it needs than
    in the case beside, and a ratio to the other commit if there is one.
    """
    for name, case in CASES.items():
        ours, bare, before = (results.cells.get((s, name)) for s in (OURS, REFERENCE, AGAINST))
        if ours is None or not ours.per_cpu_second or isinstance(case, Idle):
            continue
        if ratio := ratio_of(ours, bare):
            yield f"ratio to bare aiosmtpd: {name} {ratio:.1f}"
        else:
            yield f"messages per CPU second: {name} {ours.per_cpu_second:.0f}"
        more = microseconds_more(ours, results.cells.get((OURS, case.beside)))
        if more is not None:
            yield f"microseconds more than {case.beside}: {name} {more:.0f}"
        if ratio := to_before(ours, before):
            yield f"ratio to {results.machine['before']}: {name} {ratio:.2f}"


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
