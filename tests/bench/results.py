# SPDX-License-Identifier: MIT
"""Results: one cell for each server and case, kept in a JSON file that is saved after each cell."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tests.bench.callgrind import Counts


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one server did in one case; None is what the case does not tell.

    failed: why there is nothing, else empty.
    rate: messages per second.  per_cpu_second: messages per second of the server's CPU time.
    p50, p95, p99: milliseconds from connect to the final reply.
    memory: bytes, the most that all processes of the server used.
    idle: bytes of it for each idle connection.
    refused: clients that did not get their message through, or were not refused as they should be.
    greeted: milliseconds that the last client waited for its greeting, beyond the prescribed wait.
    to_before: messages per CPU second for one of the commit before, both side by side.
    """

    failed: str = ""
    messages: int | None = None
    rate: float | None = None
    per_cpu_second: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    memory: int | None = None
    idle: float | None = None
    refused: int | None = None
    greeted: float | None = None
    to_before: float | None = None


def median_of(cells: Sequence[Cell]) -> Cell:
    """The median of each figure of several runs; the worst of memory and refusals.

    If one of them failed, that one.
    """
    for cell in cells:
        if cell.failed:
            return cell
    figures: dict[str, Any] = {}
    for name in (each.name for each in fields(Cell)):
        values = [getattr(cell, name) for cell in cells]
        if name != "failed" and None not in values:
            figures[name] = (max if name in _WORST else statistics.median)(values)
    return Cell(**figures)


_WORST = ("memory", "refused")


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


@dataclass(frozen=True)
class Results:
    """All cells so far.

    machine: what the figures were taken on, by name.
    instructions: of a message, see instructions.py.
    """

    machine: dict[str, str]
    cells: dict[tuple[str, str], Cell]  # (server, case)
    instructions: dict[tuple[str, str], Counts] = field(default_factory=dict)

    def complete(self, server: str, case: str) -> bool:
        """Whether there are figures for this server in this case."""
        cell = self.cells.get((server, case))
        return cell is not None and not cell.failed

    def save(self, path: Path) -> None:
        """Write the file, at once or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = {
            "machine": self.machine,
            "cells": _listed(self.cells),
            "instructions": _listed(self.instructions),
        }
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(stored, indent=1) + "\n")
        unfinished.rename(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote; nothing when there is no such file."""
        if not path.exists():
            return cls({}, {})
        stored = json.loads(path.read_text())
        return cls(
            stored["machine"],
            {_key(each): Cell(**each) for each in stored["cells"]},
            {_key(each): Counts(**each) for each in stored.get("instructions", ())},
        )


def _listed(figures: Mapping[tuple[str, str], Cell | Counts]) -> list[dict[str, Any]]:
    return [
        {"server": server, "case": case, **_told(figure)}
        for (server, case), figure in figures.items()
    ]


def _key(stored: dict[str, Any]) -> tuple[str, str]:
    """Server and case, which are taken out of what was stored."""
    return stored.pop("server"), stored.pop("case")


def _told(figures: Cell | Counts) -> dict[str, Any]:
    """The figures that there are, with as many digits as mean something."""
    values = {name: value for name, value in asdict(figures).items() if value not in (None, "")}
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
