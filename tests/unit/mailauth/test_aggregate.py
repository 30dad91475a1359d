# SPDX-License-Identifier: MIT
"""Which messages are counted, under what, and that rows survive the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.session import Transaction
from qpsmtpd.mailauth.aggregate import (
    MAX_SIGNATURES,
    MAX_TEXT,
    MAX_URIS,
    Published,
    Row,
    bounds_of,
    day_of,
    published_by,
    row_of,
)
from qpsmtpd.mailauth.dkim import DkimResult
from qpsmtpd.mailauth.dmarc import DmarcResult
from qpsmtpd.mailauth.dmarcrecord import parse_record
from qpsmtpd.mailauth.results import DKIM_RESULTS, SPF_RESULT
from qpsmtpd.mailauth.spf import SpfResult
from qpsmtpd.testing import a_transaction
from tests.unit.mailauth.reporting import PUBLISHED, ROW

RECORD = (
    "v=DMARC1; p=reject; sp=quarantine; np=none; aspf=s; fo=1:d;"
    " rua=mailto:a@author.test!10k, mailto:b@author.test"
)


def a_result(code: Any = "fail", record: str = RECORD, **more: Any) -> DmarcResult:
    read = parse_record(record)
    more = {"author": "author.test", "where": "author.test", **more}
    return DmarcResult(code, policy=read.policy, declared=read.policy, record=read, **more)


def a_tx(sender: str = "x@sender.test", *recipients: str) -> Transaction:
    tx = a_transaction(sender, *recipients, message="\n")
    tx.notes[SPF_RESULT] = SpfResult("softfail", "mailfrom", "sender.test")
    return tx


# --- policies -------------------------------------------------------------------------------------


def test_what_is_published() -> None:
    published = published_by(a_result())
    rua = ("mailto:a@author.test!10k", "mailto:b@author.test")
    assert published == replace(PUBLISHED, rua=rua)
    assert published_by(a_result("pass", testing=True)) is not None


@pytest.mark.parametrize(
    "result",
    [
        a_result("temperror"),
        a_result("permerror"),
        DmarcResult("none", author="author.test"),
        a_result(record="v=DMARC1; p=reject"),
        a_result(record="v=DMARC1; p=reject; rua=nothing"),
        a_result(where='au"thor.test'),
        a_result(where="a..b"),
    ],
)
def test_nobody_asks_for_a_report(result: DmarcResult) -> None:
    assert published_by(result) is None


def test_foreign_tags_are_limited() -> None:
    rua = ",".join(f"mailto:{n}@author.test" for n in range(50))
    long = f"mailto:{'a' * 500}@author.test"
    published = published_by(a_result(record=f"v=DMARC1; p=none; fo=<x>; rua={long},{rua}"))
    assert published is not None
    assert published.failure_options == ""
    assert len(published.rua) == MAX_URIS - 1
    assert published.rua[0] == "mailto:0@author.test"


# --- rows -----------------------------------------------------------------------------------------


def test_a_row() -> None:
    tx = a_tx()
    tx.notes[DKIM_RESULTS] = (
        DkimResult("fail", domain="author.test", selector="s1"),
        DkimResult("permerror", domain="", selector="s"),
        DkimResult("pass", domain="other.test", selector="s2"),
        DkimResult("pass", domain="author.test", selector="s3"),
    )
    result = a_result(author="sub.author.test", aligned=(("spf", "author.test"),))
    row = row_of(tx, result, refused=False)
    signatures = (
        ("other.test", "s2", "pass"),
        ("author.test", "s3", "pass"),
        ("author.test", "s1", "fail"),
    )
    assert row == replace(ROW, signatures=signatures)
    ranked = row_of(tx, a_result(), refused=False).signatures
    assert [selector for _, selector, _ in ranked] == ["s3", "s2", "s1"]


def test_a_row_of_a_bounce_without_checks() -> None:
    row = row_of(a_transaction("", message="\n"), a_result(), refused=False)
    assert (row.envelope_from, row.signatures, row.spf_domain, row.spf_result) == ("", (), "", "")


NONE = RECORD.replace("p=reject", "p=none")


@pytest.mark.parametrize(
    ("result", "refused", "expected"),
    [
        (a_result("pass"), False, ("pass", "")),
        (a_result("pass", NONE), False, ("none", "")),
        (a_result("fail"), True, ("reject", "")),
        (a_result("fail"), False, ("none", "local_policy")),
        (a_result("fail", NONE), False, ("none", "")),
        (a_result("fail", testing=True), False, ("none", "policy_test_mode")),
    ],
)
def test_disposition(result: DmarcResult, refused: bool, expected: tuple[str, str]) -> None:
    row = row_of(a_tx(), result, refused=refused)
    assert (row.disposition, row.reason) == expected


def test_recipients_are_left_out_unless_wanted() -> None:
    tx = a_tx("x@sender.test", "a@one.test", "b@one.test")
    assert row_of(tx, a_result(), refused=False).envelope_to == ""
    assert row_of(tx, a_result(), refused=False, with_recipient=True).envelope_to == "one.test"
    tx = a_tx("x@sender.test", "a@one.test", "b@two.test")
    assert row_of(tx, a_result(), refused=False, with_recipient=True).envelope_to == ""


def test_foreign_text_is_cleaned_and_cut() -> None:
    tx = a_tx()
    bad = "a\0\r\n<é\udc80" + "x" * 1000
    tx.notes[DKIM_RESULTS] = (DkimResult("pass", domain=bad, selector=bad),) * 50
    tx.notes[SPF_RESULT] = SpfResult("fail", "helo", bad)
    row = row_of(tx, a_result(author=bad), refused=False)
    assert len(row.signatures) == MAX_SIGNATURES
    for text in (row.header_from, row.spf_domain, *row.signatures[0][:2]):
        assert text.startswith("a???<??xxx")
        assert len(text) == MAX_TEXT


# --- json -----------------------------------------------------------------------------------------

_texts = st.text(max_size=20)
rows = st.builds(
    Row,
    source=st.ip_addresses().map(str),
    disposition=st.sampled_from(["none", "pass", "quarantine", "reject"]),
    dkim=st.sampled_from(["pass", "fail"]),
    spf=st.sampled_from(["pass", "fail"]),
    reason=st.sampled_from(["", "local_policy", "policy_test_mode"]),
    header_from=_texts,
    envelope_from=_texts,
    envelope_to=_texts,
    signatures=st.lists(st.tuples(_texts, _texts, _texts), max_size=3).map(tuple),
    spf_domain=_texts,
    spf_result=_texts,
)


@given(rows)
def test_rows_survive_the_store(row: Row) -> None:
    text = row.to_json()
    assert text.isascii()
    assert "\n" not in text
    assert Row.from_json(text) == row


def test_policies_survive_the_store() -> None:
    assert Published.from_json(PUBLISHED.to_json()) == PUBLISHED


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "[1,2", '["a"]', "null"])
def test_what_is_damaged_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Row.from_json(text)
    with pytest.raises(ValueError, match=r"."):
        Published.from_json(text)


# --- days -----------------------------------------------------------------------------------------


def test_days_are_in_utc() -> None:
    begin, end = bounds_of("2027-01-15")
    assert (begin, end) == (1_799_971_200, 1_800_057_599)
    assert day_of(begin) == day_of(end + 0.9) == "2027-01-15"
    assert day_of(end + 1) == "2027-01-16"
    with pytest.raises(ValueError, match="x"):
        bounds_of("x")
