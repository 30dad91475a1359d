# SPDX-License-Identifier: MIT
"""A report as an HTML page, or as the part of one.

It is built as a tree, so every text is escaped when it is written, and nobody can forget to.  The
page needs no scripts, and nothing from elsewhere; a part has no style, which is its page's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement, tostring

from qpsmtpd.digest.sections import Column, Report, Section

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
p { margin: 0.3rem 0; max-width: 46rem; }
pre { overflow-x: auto; }
.table { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; vertical-align: top; }
td { border-top: 1px solid #8884; max-width: 22rem; overflow-wrap: break-word; }
th { font-weight: 600; }
th::first-letter { text-transform: uppercase; }
td:not(.number) { min-width: 5.5rem; }
td:not(.number):last-child { min-width: 13rem; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
section { overflow-x: auto; }
svg { display: block; height: auto; margin: 0.5rem 0; width: 100%; }
svg { max-width: 45rem; min-width: 34rem; }
"""


def page(report: Report, charts: Mapping[str, Element]) -> str:
    """A whole page; the charts by the key of their section."""
    root = Element("html", lang="en")
    head = SubElement(root, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    SubElement(head, "title").text = f"{report.title}, {report.subtitle}"
    SubElement(head, "style").text = _STYLE
    body = SubElement(root, "body")
    SubElement(body, "h1").text = report.title
    SubElement(body, "p").text = report.subtitle
    body.append(element_of(report, charts))
    return f"<!DOCTYPE html>\n{_written(root)}\n"


def part(report: Report, charts: Mapping[str, Element]) -> str:
    """The sections alone, for the page of somebody else."""
    return "".join(map(_written, element_of(report, charts)))


def element_of(report: Report, charts: Mapping[str, Element]) -> Element:
    """The sections as an element `main`."""
    main = Element("main")
    for section in report.sections:
        found = SubElement(main, "section", id=section.key)
        SubElement(found, "h2").text = section.title
        for paragraph in section.paragraphs:
            _add_paragraph(found, paragraph)
        if section.lines:
            SubElement(found, "pre").text = "\n".join(section.lines)
        if section.key in charts:
            found.append(charts[section.key])
        if section.rows:
            _add_table(found, section)
    return main


_commands = re.compile("`((?:qpsmtpd|reject) [^`]*)`").split


def _add_paragraph(parent: Element, text: str) -> None:
    """A paragraph; commands and options of ours in it are between backticks."""
    element = SubElement(parent, "p")
    element.text, *parts = _commands(text)
    for place, each in enumerate(parts):
        if place % 2:
            element[-1].tail = each
        else:
            SubElement(element, "code").text = each


def _add_table(parent: Element, section: Section) -> None:
    # It scrolls by itself on a narrow screen, also by the keyboard.
    around = SubElement(parent, "div", {"class": "table", "tabindex": "0", "role": "region"})
    around.set("aria-label", section.title)
    table = SubElement(around, "table")
    row = SubElement(SubElement(table, "thead"), "tr")
    for column in section.columns:
        SubElement(row, "th", {"scope": "col", **_class_of(column)}).text = column.title
    body = SubElement(table, "tbody")
    for cells in section.rows:
        row = SubElement(body, "tr")
        for column, text in zip(section.columns, cells, strict=True):
            SubElement(row, "td", _class_of(column)).text = text


def _class_of(column: Column) -> dict[str, str]:
    return {"class": "number"} if column.number else {}


def _written(element: Element) -> str:
    return tostring(element, encoding="unicode", method="html")
