# SPDX-License-Identifier: MIT
"""Both reports as text, as a page, and as mail; hostile texts are in all of them."""

from __future__ import annotations

import email
import email.policy
import io
import json
import re
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.digest import charts
from qpsmtpd.digest.charts import charts_of
from qpsmtpd.digest.dailyreport import daily
from qpsmtpd.digest.digest import Digest
from qpsmtpd.digest.mail import compose
from qpsmtpd.digest.page import page, part
from qpsmtpd.digest.plain import plain
from qpsmtpd.digest.sections import Column, Report, Section
from qpsmtpd.digest.shadowreport import shadow_report
from qpsmtpd.digest.text import lines_of
from qpsmtpd.mail.address import parse_mailbox
from tests.unit.decisions.examples import a_decision
from tests.unit.digest.examples import (
    DAY,
    HOSTILE,
    HOUR,
    accepted,
    digest_of,
    put_off,
    said,
    shadow_with,
)

SENDER = parse_mailbox("postmaster@mx.example")
TO = parse_mailbox("anna@example.test")


async def a_digest(*, hostile: str = HOSTILE) -> Digest:
    """With everything that a report can show."""
    return await digest_of(
        a_decision(-int(DAY)),
        a_decision(1, sender=f"{hostile}@{hostile}", helo=hostile, reply=f"550 {hostile}"),
        a_decision(2, hook="rcpt", about=hostile, plugin=hostile, recipients=()),
        a_decision(3, ip=hostile, reply="554 5.7.1 no"),
        put_off(10, about="late@x.example"),
        accepted(HOUR, sender="late@x.example", size=123_456_789),
        accepted(5, trail=(said("fault", plugin=hostile, seconds=2.0, reason=hostile),)),
    )


async def a_report(kind: str) -> Report:
    if kind == "daily":
        return daily(await a_digest())
    objection = said(reason=HOSTILE, plugin=HOSTILE)
    return shadow_report(await shadow_with(accepted(1, trail=(objection,), sender=HOSTILE)))


def parsed(text: str) -> Any:
    """The tree of a page that has no mistakes."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(text)


def texts_of(report: Report) -> Iterator[str]:
    for section in report.sections:
        yield from (section.title, *section.paragraphs, *section.lines)
        yield from (text for row in section.rows for text in row)


@pytest.mark.parametrize("kind", ["daily", "shadow"])
async def test_nothing_of_strangers_gets_through(kind: str) -> None:
    report = await a_report(kind)
    assert all(text.isprintable() for text in texts_of(report))
    charts = charts_of(await a_digest()) if kind == "daily" else {}
    text = page(report, charts)
    tree = parsed(text)
    assert not tree.findall(".//script")
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert not re.search(r"\b(src|href|style|on\w+)=", text)
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    told = "\n".join(lines_of(report, io.StringIO()))
    assert "\\x1b[31m<script>" in told
    assert "\x1b" not in told
    told.encode()


@given(st.text())
async def test_texts_arrive_as_they_are(text: str) -> None:
    text = "".join(char for char in text if char.isprintable())
    section = Section("key", text, (text,), (text,), (Column(text),), ((text,),))
    tree = parsed(page(Report(text, text, (section,)), {}))
    for path in (".//h1", ".//h2", ".//section/p", ".//th", ".//td", ".//pre"):
        assert (tree.find(path).text or "") == text.lstrip("\n")


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
    assert [section.key for section in report.sections] == ["summary", "course"]
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


# --- charts ---------------------------------------------------------------------------------------


async def test_charts() -> None:
    drawn = charts_of(await a_digest())
    assert list(drawn) == ["course", "reasons", "delays"]
    for chart in drawn.values():
        assert chart.get("role") == "img"
        assert chart.get("aria-label")
    tree = parsed(page(daily(await a_digest()), drawn))
    assert len(tree.findall(".//{*}svg")) == 3


async def test_the_columns_of_a_chart_have_the_heights_of_the_sums() -> None:
    digest = await digest_of(accepted(1), accepted(2), a_decision(3), put_off(HOUR))
    svg = charts_of(digest)["course"]
    heights: dict[str, float] = {}
    for rectangle in svg.iter("rect"):
        if rectangle.get("width") != "12":
            fill = str(rectangle.get("fill"))
            heights[fill] = heights.get(fill, 0) + float(str(rectangle.get("height")))
    unit = heights[charts.COLOURS["refused"]]
    assert heights[charts.COLOURS["accepted"]] == pytest.approx(2 * unit, abs=0.02)
    assert heights[charts.COLOURS["deferred"]] == pytest.approx(unit, abs=0.02)


async def test_without_svgwrite_there_are_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "find_spec", lambda _name: None)
    digest = await a_digest()
    assert charts_of(digest) == {}
    assert "<table" in page(daily(digest), charts_of(digest))


# --- mail -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["daily", "shadow"])
async def test_mail(kind: str) -> None:
    report = await a_report(kind)
    data = compose(report, page(report, {}), SENDER, TO, 1_800_000_000.0)
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert max(map(len, data.split(b"\r\n"))) <= 998
    data.decode("ascii")
    mail = email.message_from_bytes(data, policy=email.policy.SMTP)
    assert not mail.defects
    assert mail.get_content_type() == "multipart/alternative"
    assert (mail["To"], mail["Auto-Submitted"]) == ("anna@example.test", "auto-generated")
    assert mail["From"].addresses[0].addr_spec == "postmaster@mx.example"
    assert str(mail["Message-ID"]).endswith("@mx.example>")
    text, html = mail.iter_parts()
    assert isinstance(text, EmailMessage)
    assert isinstance(html, EmailMessage)
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert text.get_content().splitlines() == list(lines_of(report, io.StringIO()))
    parsed(html.get_content())
    assert not text.defects + html.defects


# --- the shadow -----------------------------------------------------------------------------------


async def test_what_the_shadow_report_shows(tmp_path: Path) -> None:
    (tmp_path / "chains").mkdir()
    (tmp_path / "chains/minimal").write_text("helo\n")
    (tmp_path / "chains/standard").write_text("helo\ndnsbl\nkarma reject 0\nuribl\n")
    (tmp_path / "chains/strict").write_text("helo\nkarma\n")
    (tmp_path / "plugins").write_text(
        f"$include {tmp_path}/chains/minimal\nkarma\ndnsbl mode=shadow\n"
    )
    shadow = await shadow_with(
        accepted(1, trail=(said(),), user="anna"),
        directory=tmp_path,
        chains=tmp_path / "chains",
    )
    report = shadow_report(shadow)
    keys = [section.key for section in report.sections]
    assert keys == ["objections", "examples", "level-standard", "level-strict", "try", "add"]
    by_key = {section.key: section for section in report.sections}
    assert by_key["level-standard"].rows == (
        (
            "dnsbl",
            "dnsbl mode=shadow",
            "the present line objected to 1 accepted at rcpt (1 with something that speaks for "
            "them)",
        ),
        ("karma reject 0", "karma", "the present line said nothing: unknown"),
        ("uribl", "-", "never asked: unknown"),
    )
    assert by_key["level-strict"].paragraphs[0].endswith("(minimal).")
    assert by_key["add"].lines == ("uribl mode=shadow",)
    assert by_key["try"].lines[-1] == "qpsmtpd try --compare /tmp/standard MAILDIR"
    assert by_key["objections"].rows[0] == (
        *("dnsbl", "rcpt", "mode=shadow", "1", "100 %", "1", "0", "logged in: 1"),
    )


async def test_a_shadow_without_objections() -> None:
    report = shadow_report(await shadow_with(accepted(1)))
    [section] = report.sections
    assert "No line with mode=shadow" in section.paragraphs[-1]


async def test_as_json() -> None:
    told = json.loads(json.dumps(plain(await a_digest())))
    assert told["totals"] == {"accepted": 2, "deferred": 1, "refused": 3}
    assert told["period"]["until"] - told["period"]["since"] == DAY
    assert told["course"][0]["counts"]["refused"] == 3
    shadow = json.loads(json.dumps(plain(await shadow_with(accepted(1, trail=(said(),))))))
    assert shadow["objections"][0]["examples"][0]["id"] == "A.B.0.1"


def test_the_charts_are_xml() -> None:
    from qpsmtpd.digest.charts import _bars

    fromstring(part(Report("", "", ()), {}))
    assert _bars("title", [("<&>", 0), ("b", 3)], "#000") is not None
