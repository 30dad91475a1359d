# SPDX-License-Identifier: MIT
import csv
import io
import json
import sqlite3

import pytest

from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.output import COLUMNS, FORMATS, TABLE
from tests.unit.decisions.examples import a_decision

HOSTILE = a_decision(
    helo="\x1b]0;owned\x07\x1b[2J\u202e",
    sender="'); DROP TABLE x; --@\udcff.example",
    about="\\'; DROP TABLE x; --",
    reply="550 line\r\nINSERT",
    message_id='=cmd|"calc"!A1',
)


def lines_of(name: str, *decisions: Decision) -> list[str]:
    heading, lines = FORMATS[name]
    return [*(heading() if heading else ()), *(line for each in decisions for line in lines(each))]


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_of_a_stranger_gets_through_to_a_terminal(name: str) -> None:
    lines = lines_of(name, HOSTILE)
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 1 + (FORMATS[name][0] is not None)


def test_text_says_who_what_and_why() -> None:
    (line,) = lines_of("text", a_decision())
    for part in (
        *("refused", "192.0.2.7 (mail.client.example)", "from=<Sender@Client.example>"),
        *("to=<user@example.test> and 1 more", "by spamassassin: 552 5.7.1", "[score 12 of 5]"),
    ):
        assert part in line
    (line,) = lines_of("text", a_decision(results="spf=pass dmarc=pass"))
    assert "[score 12 of 5] spf=pass dmarc=pass id=A.B.0.1" in line
    (line,) = lines_of("text", a_decision(hook="rcpt", about="user@example.test", recipients=()))
    assert "rcpt=user@example.test" in line
    (line,) = lines_of("text", a_decision(hook="command", about="command"))
    assert "command=command" not in line


def test_json_has_names() -> None:
    (line,) = lines_of("json", a_decision())
    found = json.loads(line)
    assert found["plugin"] == "spamassassin"
    assert found["trail"][0]["plugin"] == "dnsbl"


def test_csv_is_no_formula_to_a_spreadsheet() -> None:
    heading, row = csv.reader(io.StringIO("\n".join(lines_of("csv", HOSTILE))))
    assert tuple(heading) == tuple(COLUMNS)
    found = dict(zip(heading, row, strict=True))
    assert found["message_id"] == "'" + HOSTILE.message_id
    assert found["recipients"] == "user@example.test other@example.test"
    assert found["time"].startswith("2027-01-15 08:00:00")


def test_sql_is_a_table() -> None:
    database = sqlite3.connect(":memory:")
    # Twice, because several exports may be put into one table.
    for _ in range(2):
        database.executescript("\n".join(lines_of("sql", a_decision(), HOSTILE)))
    rows = database.execute(f"SELECT sender, about, size FROM {TABLE}").fetchall()
    assert rows[0] == ("Sender@Client.example", "", 4711)
    assert rows[1] == ("'); DROP TABLE x; --@%FF.example", "%5C'; DROP TABLE x; --", 4711)
    assert len(rows) == 4
