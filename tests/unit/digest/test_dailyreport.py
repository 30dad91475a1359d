# SPDX-License-Identifier: MIT
from __future__ import annotations

import sys

from qpsmtpd.digest.charts import charts_of
from qpsmtpd.digest.dailyreport import daily
from qpsmtpd.digest.text import lines_of
from tests.unit.digest.examples import (
    a_digest,
    accepted,
    digest_of,
)


async def test_what_the_daily_report_shows() -> None:
    report = daily(await a_digest())
    assert [section.key for section in report.sections] == [
        *("summary", "course", "reasons", "plugins", "networks", "senders", "recipients"),
        *("delays", "checks", "new"),
    ]
    told = "\n".join(lines_of(report, sys.stdout))
    summary = {row[0]: row[1:] for row in report.sections[0].rows}
    assert summary["accepted"] == ("2", "0", "new")
    assert summary["refused"] == ("3", "1", "+200 %")
    assert summary["deferred"] == ("1", "0", "new")
    assert summary["size of accepted messages"] == ("123 MB", "0 bytes", "new")
    assert "60 min" in told or "59 min" in told or "1 h" in told


async def test_without_decisions() -> None:
    report = daily(await digest_of())
    assert report.sections[0].paragraphs == ("Nothing is kept in the store.",)
    assert [section.key for section in report.sections] == ["summary"]
    assert charts_of(await digest_of()) == {}


async def test_reservations() -> None:
    [text] = daily(await digest_of(accepted(5))).sections[0].paragraphs
    assert text.startswith("Nothing older than ")
    report = daily(await digest_of(accepted(-5), accepted(5)))
    [text] = report.sections[0].paragraphs
    assert text.startswith("There is no trend")
    assert all(column.title != "trend" for section in report.sections for column in section.columns)


async def test_others_are_in_the_tables() -> None:
    report = daily(
        await digest_of(*(accepted(n, sender=f"{n}@x.example") for n in range(9)), rows=3)
    )
    [senders] = [section for section in report.sections if section.key == "senders"]
    assert senders.rows[-1] == ("(others): 6", "6", "0", "0")
