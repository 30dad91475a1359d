# SPDX-License-Identifier: MIT
"""Texts of scanners in header fields, and fields that only look like theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.headers import check_field
from qpsmtpd.scanners.fields import (
    LONGEST_LINE,
    OldFields,
    field_value,
    is_field_name,
    prefix_subject,
    put_away,
    replace_subject,
    short_name,
)
from qpsmtpd.testing import a_message, a_transaction


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Yes, score=5", "Yes, score=5"),
        ("a\r\n\tb\n c", "a\n\tb\n\tc"),
        ("a\r\nBcc: x@y.example\r\n\r\nbody", "a\n\tBcc: x@y.example\n\tbody"),
        ("a\0\x7f\x1bé", "a????"),
        (" \r\n ", ""),
        ("a" * 1000, "a" * LONGEST_LINE + "\n\t" + "a" * 100),
    ],
)
def test_values(text: str, value: str) -> None:
    assert field_value(text) == value


@given(st.text())
def test_any_text_is_a_value(text: str) -> None:
    value = field_value(text)
    check_field("X-Spam-Status", value)
    assert all(len(line) <= LONGEST_LINE + 1 for line in value.split("\n"))


@given(st.text(), st.text())
def test_any_subject_can_be_set(old: str, new: str) -> None:
    message = a_message(b"Subject: " + old.encode("utf-8", "surrogatepass") + b"\n\nx\n")
    replace_subject(message, new)
    prefix_subject(message, "*** SPAM ***")
    assert (message.headers.get("Subject") or "").startswith("*** SPAM ***")
    assert message.headers.count("Subject") == 1


def test_a_subject_keeps_its_folds_and_octets() -> None:
    message = a_message(b"Subject: one\n two \xff\nTo: x\n\n")
    prefix_subject(message, "SPAM")
    assert message.headers.raw("Subject") == [b"Subject: SPAM one\r\n two \xff\r\n"]


@pytest.mark.parametrize("text", ["", "a b", "a:", "X-Ü", "-a", "a\n", "a" * 101])
def test_what_is_no_name(text: str) -> None:
    assert not is_field_name(text)


def test_names_of_viruses() -> None:
    assert short_name("Eicar\r\n x") == "Eicar x"
    assert short_name(" ") == "unknown"
    assert len(short_name("x" * 1000)) == 100


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("rename", ["X-Old-Spam-Flag", "X-Old-spam", "X-Spammer", "X-Old-SPAM-Status"]),
        ("drop", ["X-Spammer"]),
        ("keep", ["X-Spam-Flag", "x-spam", "X-Spammer", "X-SPAM-Status"]),
    ],
)
def test_old_fields(what: OldFields, names: list[str]) -> None:
    text = "X-Spam-Flag: NO\nx-spam: no\nX-Spammer: a\nX-SPAM-Status: No\n\nx\n"
    tx = a_transaction(message=text)
    assert tx.message is not None
    put_away(tx, "X-Spam", what)
    assert tx.message.headers.names() == names
    tx.message.headers.prepend("X-Spam-Flag", "YES")
    put_away(tx, "X-Spam", what)
    # What has been added since is ours.
    assert tx.message.headers.get("X-Spam-Flag") == "YES"
