# SPDX-License-Identifier: MIT
"""DMARC records: which count, what they say, and what becomes of mistakes in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mailauth.dmarcrecord import (
    MAX_REMEMBERED,
    MAX_TAGS,
    MAX_URIS,
    POLICIES,
    DmarcRecord,
    choose_record,
    is_dmarc_record,
    parse_record,
)


@pytest.mark.parametrize(
    "text", ["v=DMARC1", "v=DMARC1;", "v=DMARC1;p=none", "v \t=\tDMARC1 \t; p=none", "v=DMARC1 "]
)
def test_records(text: str) -> None:
    assert is_dmarc_record(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " v=DMARC1;",
        "v=DMARC1,p=none",
        "v=DMARC1\n;",
        "V=DMARC1",
        "v=dmarc1",
        "v=DMARC2",
        "DMARC1",
    ],
)
def test_other_texts(text: str) -> None:
    assert not is_dmarc_record(text)


def test_choice() -> None:
    one, two = "v=DMARC1; p=none", "v=DMARC1; p=reject"
    assert choose_record([]) is None
    assert choose_record(["v=spf1 -all"]) is None
    assert choose_record(["v=spf1 -all", two]) == parse_record(two)
    assert choose_record([one, two]) is None
    assert choose_record([one, one]) is None


def test_all_tags() -> None:
    text = (
        "v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; aspf=s; fo=1:d; psd=n; t=y; "
        "rua=mailto:a@a.example!10m , https://b.example/x; ruf=mailto:c@a.example; later=x"
    )
    record = parse_record(text)
    assert record == DmarcRecord(
        "reject", "quarantine", "none", "s", "s", "n", testing=True, applies=True, tags=record.tags
    )
    assert record.report_uris == ("mailto:a@a.example", "https://b.example/x")
    assert record.get("fo") == "1:d"
    assert record.get("ruf") == "mailto:c@a.example"
    assert record.get("ri") == ""


def test_defaults() -> None:
    record = parse_record("v=DMARC1; p=quarantine")
    assert (record.policy, record.subdomains, record.nonexistent) == ("quarantine",) * 3
    assert (record.dkim_alignment, record.spf_alignment, record.psd) == ("r", "r", "u")
    assert not record.testing
    assert record.report_uris == ()
    assert parse_record("v=DMARC1; p=none; sp=reject").nonexistent == "reject"
    assert parse_record("v=DMARC1; p=none; np=reject").subdomains == "none"


@pytest.mark.parametrize(
    ("tags", "applies"),
    [
        ("p=reject", True),
        ("P=reject", False),
        ("p=", False),
        ("p=rejected", False),
        ("sp=reject", False),
        ("p=reject; sp=", True),
        ("p=reject; np=x", False),
        ("rua=mailto:a@a.example", True),
        ("rua=a@a.example", False),
        ("rua=mailto:", False),
        ("rua=mailto:a b", False),
        ("rua=,mailto:a", True),
        ("p=x; rua=mailto:a@a.example", True),
    ],
)
def test_whether_it_applies(tags: str, applies: bool) -> None:
    record = parse_record(f"v=DMARC1; {tags}")
    assert record.applies is applies
    if "p=reject" not in tags or "np=x" in tags:
        assert (record.policy, record.subdomains, record.nonexistent) == ("none",) * 3


def test_tags_beyond_the_limit_are_not_read() -> None:
    many = "x=1;" * (MAX_TAGS - 2)
    assert parse_record(f"v=DMARC1;{many}p=reject").policy == "reject"
    assert parse_record(f"v=DMARC1;{many}x=1;p=reject").policy == "none"


def test_uris_beyond_the_limit_are_not_read() -> None:
    many = "mailto:a@a.example," * (MAX_URIS + 1)
    assert len(parse_record(f"v=DMARC1; rua={many}").report_uris) == MAX_URIS


def test_long_records_are_not_remembered() -> None:
    short, long = "v=DMARC1; p=reject; x=", "v=DMARC1; p=reject; x=" + "x" * MAX_REMEMBERED
    assert parse_record(short) is parse_record(short)
    assert parse_record(long) is not parse_record(long)
    assert parse_record(long).policy == "reject"


@given(text=st.text(max_size=100))
def test_any_text(text: str) -> None:
    record = parse_record(f"v=DMARC1;{text}")
    assert {record.policy, record.subdomains, record.nonexistent} <= set(POLICIES)
    assert all(uri.isascii() and uri.isprintable() for uri in record.report_uris)
    assert all(value.isascii() and value.isprintable() for _, value in record.tags)
