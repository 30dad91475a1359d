# SPDX-License-Identifier: MIT
"""Decisions as text for people, and for other programs: JSON, CSV, SQL.

Much of a decision was written by strangers.  On a terminal no control character gets through; in
CSV nothing is a formula to a spreadsheet; in SQL nothing ends a string, whatever database reads it.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from qpsmtpd.decisions.decision import Decision
from qpsmtpd.terminal import shown, styled

COLOURS = {"accepted": "green", "deferred": "yellow", "refused": "red"}

#: The columns of the table, and their types in SQL.
COLUMNS: Mapping[str, str] = {
    name: {"recipient_count": "INTEGER", "size": "INTEGER", "seconds": "REAL"}.get(name, "TEXT")
    for name in Decision._fields
}
TABLE = "qpsmtpd_decision"

#: Spreadsheets take a cell that begins like this for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def text_lines(decision: Decision) -> Iterator[str]:
    """One line for people."""
    outcome = styled(sys.stdout, COLOURS[decision.outcome], f"{decision.outcome:8}")
    yield shown_time(decision.time) + f"  {outcome}  " + shown(" ".join(_words(decision)))


def _words(decision: Decision) -> Iterator[str]:
    yield f"{decision.ip}{f' ({decision.name})' if decision.name else ''}"
    yield from _what(decision)
    yield f"by {decision.plugin}: {decision.reply}"
    if decision.reason and decision.reason not in decision.reply:
        yield f"[{decision.reason}]"
    if decision.results:
        yield decision.results
    yield f"id={decision.id}"


def _what(decision: Decision) -> Iterator[str]:
    """What was decided about."""
    if decision.hook == "message":
        first = decision.recipients[0] if decision.recipients else ""
        yield f"from=<{decision.sender}> to=<{first}>"
        if decision.recipient_count > 1:
            yield f"and {decision.recipient_count - 1} more"
    elif decision.about not in ("", decision.hook):
        yield f"{decision.hook}={decision.about}"
    else:
        yield decision.hook


def json_lines(decision: Decision) -> Iterator[str]:
    """One object a line."""
    yield json.dumps(decision.as_dict())


def csv_heading() -> Iterator[str]:
    """The names of the columns."""
    yield ",".join(COLUMNS)


def csv_lines(decision: Decision) -> Iterator[str]:
    """One row (RFC 4180), without the line end."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(map(_cell, _row(decision)))
    yield row.getvalue()


def sql_heading() -> Iterator[str]:
    """The table."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    yield f"CREATE TABLE IF NOT EXISTS {TABLE} ({columns});"


def sql_lines(decision: Decision) -> Iterator[str]:
    """One row, for MySQL, MariaDB, PostgreSQL and SQLite alike."""
    values = ", ".join(map(_literal, _row(decision)))
    yield f"INSERT INTO {TABLE} VALUES ({values});"  # noqa: S608 (literals by _literal)


#: By the name of a format: what comes first, and the lines of a decision.
FORMATS: dict[
    str, tuple[Callable[[], Iterator[str]] | None, Callable[[Decision], Iterator[str]]]
] = {
    "text": (None, text_lines),
    "json": (None, json_lines),
    "csv": (csv_heading, csv_lines),
    "sql": (sql_heading, sql_lines),
}


def shown_time(seconds: float) -> str:
    """A time as people write it, in the time zone of this machine."""
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def _row(decision: Decision) -> list[Any]:
    """The columns, each as a number or a text."""
    values = decision.as_dict()
    values["time"] = datetime.fromtimestamp(decision.time, UTC).isoformat(sep=" ")[:23]
    values["recipients"] = " ".join(decision.recipients)
    values["trail"] = json.dumps(values["trail"])
    return list(values.values())


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = shown(value)
    return f"'{text}" if value.startswith(_FORMULA) else text


def _literal(value: Any) -> str:
    """A literal of SQL.  A backslash, which not all databases take literally, is %5C."""
    if not isinstance(value, str):
        return str(value)
    text = "".join(char if char.isprintable() and char != "\\" else _hex(char) for char in value)
    return "'" + text.replace("'", "''") + "'"


def _hex(char: str) -> str:
    return "".join(f"%{octet:02X}" for octet in char.encode("utf-8", "surrogateescape"))
