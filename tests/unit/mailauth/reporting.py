# SPDX-License-Identifier: MIT
"""What tests of aggregate reports share: a policy, rows, and what is in an XML report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from qpsmtpd.mailauth.aggregate import Published, Row
from qpsmtpd.mailauth.aggregatexml import NAMESPACE, Report

DAY = "2027-01-15"

PUBLISHED = Published(
    "author.test", "reject", "quarantine", "none", "r", "s", False, "treewalk", "1:d",
    ("mailto:dmarc@author.test",),
)  # fmt: skip
ROW = Row(
    "192.0.2.1", "none", "fail", "pass", "local_policy", "sub.author.test", "sender.test",
    signatures=(("author.test", "s1", "fail"), ("other.test", "s2", "pass")),
    spf_domain="sender.test", spf_result="softfail",
)  # fmt: skip


def a_row(**changes: Any) -> Row:
    return replace(ROW, **changes)


def a_report(*rows: tuple[Row, int], published: Published = PUBLISHED, day: str = DAY) -> Report:
    return Report(
        "receiver.test", "reports@receiver.test", "qpsmtpd 2.0", day, published,
        rows or ((ROW, 3),),
    )  # fmt: skip


def parsed(xml: bytes) -> Element:
    return ElementTree.fromstring(xml)


def text_at(parent: Element, path: str) -> str:
    """The text of the only element at a path."""
    [found] = parent.findall("/".join(f"{{{NAMESPACE}}}{name}" for name in path.split("/")))
    return found.text or ""


def all_at(parent: Element, path: str) -> list[Element]:
    return parent.findall("/".join(f"{{{NAMESPACE}}}{name}" for name in path.split("/")))
