# SPDX-License-Identifier: MIT
"""The XML of reports: by the facts of the published schema, and what strangers cannot do to it."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.mailauth.aggregate import Row
from qpsmtpd.mailauth.aggregatexml import NAMESPACE, total
from tests.unit.mailauth.reporting import (
    PUBLISHED,
    ROW,
    a_report,
    a_row,
    all_at,
    parsed,
    text_at,
)
from tests.unit.mailauth.test_aggregate import rows

# --- the schema -----------------------------------------------------------------------------------
#
# RFC 9990 appendix A, from the text of its draft; the types are those of XML Schema.

_DOTTED = r"(?:(?:1?\d?\d|2[0-4]\d|25[0-5])\.){3}(?:1?\d?\d|2[0-4]\d|25[0-5])"
_SIX = r"(?=.*:.*:)[0-9A-Fa-f:]{2,39}"
STRING = r"[^\x00-\x08\x0b\x0c\x0e-\x1f]*"
INTEGER = r"-?\d+"
POLICY = "none|quarantine|reject"
ALIGNMENT = "r|s"
DKIM = "none|pass|fail|policy|neutral|temperror|permerror"
SPF = "none|neutral|pass|fail|softfail|temperror|permerror"


class Child(NamedTuple):
    """An element in another: how often it stands there, and its text or its own children."""

    content: str | Schema
    least: int = 1
    most: int | None = 1


class Schema(NamedTuple):
    """The children of an element; `ordered` for xs:sequence, else xs:all."""

    children: Mapping[str, Child]
    ordered: bool = True


_REASON = Schema(
    {
        "type": Child("local_policy|mailing_list|other|policy_test_mode|trusted_forwarder"),
        "comment": Child(STRING, 0),
    },
    ordered=False,
)
_EVALUATED = Schema(
    {
        "disposition": Child(f"pass|{POLICY}"),
        "dkim": Child("pass|fail"),
        "spf": Child("pass|fail"),
        "reason": Child(_REASON, 0, None),
    }
)
_RECORD = Schema(
    {
        "row": Child(
            Schema(
                {
                    "source_ip": Child(f"{_DOTTED}|{_SIX}"),
                    "count": Child(INTEGER),
                    "policy_evaluated": Child(_EVALUATED),
                }
            )
        ),
        "identifiers": Child(
            Schema(
                {
                    "envelope_to": Child(STRING, 0),
                    "envelope_from": Child(STRING, 0),
                    "header_from": Child(STRING),
                },
                ordered=False,
            )
        ),
        "auth_results": Child(
            Schema(
                {
                    "dkim": Child(
                        Schema(
                            {
                                "domain": Child(STRING),
                                "selector": Child(STRING),
                                "result": Child(DKIM),
                                "human_result": Child(STRING, 0),
                            },
                            ordered=False,
                        ),
                        0,
                        None,
                    ),
                    "spf": Child(
                        Schema(
                            {
                                "domain": Child(STRING),
                                "scope": Child("mfrom", 0),
                                "result": Child(SPF),
                                "human_result": Child(STRING, 0),
                            },
                            ordered=False,
                        ),
                        0,
                    ),
                }
            )
        ),
    }
)
FEEDBACK = Schema(
    {
        "version": Child(r"1\.0", 0),
        "report_metadata": Child(
            Schema(
                {
                    "org_name": Child(STRING),
                    "email": Child(STRING),
                    "extra_contact_info": Child(STRING, 0),
                    "report_id": Child(STRING),
                    "date_range": Child(
                        Schema({"begin": Child(INTEGER), "end": Child(INTEGER)}, ordered=False)
                    ),
                    "error": Child(STRING, 0, None),
                    "generator": Child(STRING, 0),
                },
                ordered=False,
            )
        ),
        "policy_published": Child(
            Schema(
                {
                    "domain": Child(STRING),
                    "discovery_method": Child("psl|treewalk", 0),
                    "p": Child(POLICY),
                    "sp": Child(POLICY, 0),
                    "np": Child(POLICY, 0),
                    "fo": Child(STRING, 0),
                    "adkim": Child(ALIGNMENT, 0),
                    "aspf": Child(ALIGNMENT, 0),
                    "testing": Child("n|y", 0),
                },
                ordered=False,
            )
        ),
        "extension": Child(STRING, 0),
        "record": Child(_RECORD, 1, None),
    }
)


def faults(element: Element, schema: Schema, where: str = "feedback") -> list[str]:
    """What is against the schema."""
    names = [child.tag.removeprefix(f"{{{NAMESPACE}}}") for child in element]
    found = [f"{where}: {name} is not known" for name in names if name not in schema.children]
    if schema.ordered:
        order = list(schema.children)
        places = [order.index(name) for name in names if name in order]
        found += [f"{where}: order"] if places != sorted(places) else []
    for name, child in schema.children.items():
        count = names.count(name)
        if count < child.least or (child.most is not None and count > child.most):
            found.append(f"{where}: {name} is there {count} times")
    for name, each in zip(names, element, strict=True):
        known = schema.children.get(name)
        if known is None:
            continue
        if isinstance(known.content, Schema):
            found += faults(each, known.content, f"{where}/{name}")
        elif len(each) or not re.fullmatch(known.content, each.text or ""):
            found.append(f"{where}/{name}: {each.text!r}")
    return found


def faults_of(xml: bytes) -> list[str]:
    root = parsed(xml)
    assert root.tag == f"{{{NAMESPACE}}}feedback"
    return faults(root, FEEDBACK)


BARE = replace(PUBLISHED, failure_options="", testing=True, discovery="psl")


@pytest.mark.parametrize(
    "xml",
    [
        a_report().xml(),
        a_report(published=BARE).xml(),
        a_report((a_row(spf_result="", signatures=(), envelope_from="", reason=""), 1)).xml(),
        a_report((ROW, 1), (a_row(source="2001:db8::1", envelope_to="us.test"), 10**9)).xml(),
        a_report((a_row(disposition="pass", reason=""), 2)).xml(),
    ],
)
def test_reports_are_valid(xml: bytes) -> None:
    assert faults_of(xml) == []


def test_the_schema_finds_faults() -> None:
    """Or it would prove nothing."""
    good = a_report().xml().decode()
    for wrong, fault in [
        (good.replace("<p>reject</p>", "<p>no</p>"), "feedback/policy_published/p: 'no'"),
        (good.replace("<version>1.0</version>", "<versions/>"), "feedback: versions is not known"),
        (good.replace("<sp>quarantine</sp>", "<p>none</p>"), "policy_published: p is there 2"),
        (re.sub(r"(<row>.*?</row>)\s*(<ident.*?</identifiers>)", r"\2\1", good, flags=16), "order"),
        (re.sub(r"<row>.*?</row>", "", good, flags=16), "row is there 0 times"),
        (good.replace("<spf>pass</spf>", "<spf>softfail</spf>"), "policy_evaluated/spf: 'softfail"),
        (good.replace(">192.0.2.1<", ">192.0.2.256<"), "row/source_ip: '192.0.2.256'"),
    ]:
        assert fault in "\n".join(faults_of(wrong.encode())), fault


@given(st.lists(st.tuples(rows, st.integers(1, 10**12)), min_size=1, max_size=3))
def test_strangers_cannot_break_a_report(found: list[tuple[Row, int]]) -> None:
    """Whatever is in a row, the report is well-formed, and says it as far as it can."""
    root = parsed(a_report(*found).xml())
    for (row, count), record in zip(found, all_at(root, "record"), strict=True):
        assert int(text_at(record, "row/count")) == count
        assert text_at(record, "row/source_ip") == row.source
        assert text_at(record, "identifiers/header_from") == printable_ascii(row.header_from)
        assert text_at(record, "identifiers/envelope_from") == printable_ascii(row.envelope_from)
        domains = [each.text or "" for each in all_at(record, "auth_results/dkim/domain")]
        assert domains == [printable_ascii(domain) for domain, _, _ in row.signatures]
        if row.spf_result:
            assert text_at(record, "auth_results/spf/domain") == printable_ascii(row.spf_domain)


def test_what_a_report_says() -> None:
    root = parsed(a_report().xml())
    assert text_at(root, "report_metadata/org_name") == "receiver.test"
    assert text_at(root, "report_metadata/date_range/begin") == "1799971200"
    assert text_at(root, "report_metadata/date_range/end") == "1800057599"
    assert text_at(root, "policy_published/domain") == "author.test"
    assert text_at(root, "policy_published/np") == "none"
    assert text_at(root, "record/row/count") == "3"
    assert text_at(root, "record/row/policy_evaluated/reason/type") == "local_policy"
    assert [each.text for each in all_at(root, "record/auth_results/dkim/selector")] == ["s1", "s2"]
    assert total(((ROW, 3), (ROW, 4))) == 7


def test_the_old_readers_find_what_they_know_in_its_old_order() -> None:
    [policy] = all_at(parsed(a_report().xml()), "policy_published")
    names = [child.tag.rpartition("}")[2] for child in policy]
    assert [name for name in names if name in ("domain", "adkim", "aspf", "p", "sp", "fo")] == [
        *("domain", "adkim", "aspf", "p", "sp", "fo")
    ]


def test_names() -> None:
    report = a_report()
    assert re.fullmatch(r"[0-9a-f]{32}", report.id)
    assert report.file_name == (
        f"receiver.test!author.test!1799971200!1800057599!{report.id}.xml.gz"
    )
    assert report.subject == (
        f"Report Domain: author.test Submitter: receiver.test Report-ID: <{report.id}>"
    )


def test_the_same_report_is_the_same_whoever_makes_it() -> None:
    report, again = a_report(), a_report()
    assert (report.id, report.compressed()) == (again.id, again.compressed())
    assert gzip.decompress(report.compressed()) == report.xml()
    # No time in it (RFC 1952 section 2.3.1).
    assert report.compressed()[4:8] == bytes(4)
    others = [
        a_report(day="2027-01-16"),
        a_report(published=replace(PUBLISHED, domain="other.test")),
    ]
    assert len({report.id, *(other.id for other in others)}) == 3
