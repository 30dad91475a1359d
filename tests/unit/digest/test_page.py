# SPDX-License-Identifier: MIT
"""Hostile texts are in all reports: none gets through."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.digest.charts import charts_of
from qpsmtpd.digest.page import page
from qpsmtpd.digest.sections import Column, Report, Section
from qpsmtpd.digest.text import lines_of
from tests.unit.digest.examples import (
    a_digest,
    a_report,
    parsed,
    texts_of,
)


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


def test_commands_look_like_commands() -> None:
    text = "Try `qpsmtpd explain ID`, or `reject 0`; `others` do not."
    html = page(Report("t", "s", (Section("k", "T", (text,)),)), {})
    assert "Try <code>qpsmtpd explain ID</code>, or <code>reject 0</code>; `others` do" in html
