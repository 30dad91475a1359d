# SPDX-License-Identifier: MIT
"""What is asked for makes of one header section the other, however the mail system counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.fronts.headeredits import Edit, header_edits
from qpsmtpd.mail.headers import HeaderField, Headers
from qpsmtpd.milter.fields import field_of
from qpsmtpd.milter.packets import AddHeader, ChangeHeader, Header, InsertHeader

OWN = b"Received: by the mail system\r\n"

NAMES = st.sampled_from(["A", "a", "B", "Subject", "Received"])
VALUES = st.sampled_from(["1", "2", "two words", "folded\r\n\tline"])
FIELDS = st.lists(st.builds("{}: {}\r\n".format, NAMES, VALUES), max_size=12)


def fields(*texts: str) -> list[HeaderField]:
    return Headers.parse("".join(texts).encode()).fields()


@dataclass(eq=False)
class Entry:
    """A field of the mail system's queue file; None once it is deleted."""

    raw: bytes | None
    key: bytes
    own: bool = False


def carried_out(
    before: Sequence[HeaderField],
    edits: Sequence[Edit],
    *,
    counts_deleted: bool,
    exact: bool = True,
) -> list[bytes]:
    """What Postfix makes of it, or Sendmail, which goes on counting what was deleted."""
    entries = [Entry(OWN, b"received", own=True)]
    entries += [Entry(field.raw, field.key or b"") for field in before]
    for edit in edits:
        raw = field_of(Header(edit.name, edit.value), exact=exact)
        key = edit.name.lower()
        there = [entry for entry in entries if counts_deleted or entry.raw is not None]
        match edit:
            case AddHeader():
                entries.append(Entry(raw, key))
            case InsertHeader(index):
                place = entries.index(there[index]) if index < len(there) else len(entries)
                entries.insert(place, Entry(raw, key))
            case ChangeHeader(index):
                same = [entry for entry in there if entry.key == key and not entry.own]
                same[index - 1].raw = raw if edit.value else None
    return [entry.raw for entry in entries if entry.raw is not None and not entry.own]


@pytest.mark.parametrize("counts_deleted", [False, True])
@given(before=FIELDS, after=FIELDS)
def test_any_section_becomes_any_other(
    counts_deleted: bool, before: list[str], after: list[str]
) -> None:
    old, new = fields(*before), fields(*after)
    edits = header_edits(old, new, exact=True)
    result = carried_out(old, edits, counts_deleted=counts_deleted)
    assert result == [field.raw for field in new]


@given(fields_there=FIELDS)
def test_what_stays_needs_nothing(fields_there: list[str]) -> None:
    assert header_edits(fields(*fields_there), fields(*fields_there), exact=True) == []


def test_a_field_on_top_is_above_all_others() -> None:
    before = fields("A: 1\r\n", "B: 2\r\n")
    edits = header_edits(before, [*fields("X: 1\r\n", "Y: 2\r\n"), *before], exact=False)
    assert edits == [InsertHeader(0, b"Y", b"2"), InsertHeader(0, b"X", b"1")]


def test_a_field_below_all_others_is_added() -> None:
    before = fields("A: 1\r\n")
    assert header_edits(before, [*before, *fields("X: 1\r\n")], exact=True) == [
        AddHeader(b"X", b" 1")
    ]


def test_another_value_is_a_change() -> None:
    before = fields("A: 1\r\n", "Subject: old\r\n", "a: 2\r\n")
    after = fields("A: 1\r\n", "Subject: new\r\n", "a: 3\r\n")
    assert header_edits(before, after, exact=False) == [
        ChangeHeader(2, b"a", b"3"),
        ChangeHeader(1, b"Subject", b"new"),
    ]


def test_a_value_that_becomes_empty_is_not_deleted() -> None:
    before, after = fields("A: 1\r\n", "B: 1\r\n"), fields("A:\r\n", "B: 1\r\n")
    edits = header_edits(before, after, exact=True)
    assert carried_out(before, edits, counts_deleted=False) == [b"A:\r\n", b"B: 1\r\n"]


def test_lines_travel_with_line_feeds() -> None:
    [edit] = header_edits([], fields("A: 1\r\n\t2\r\n"), exact=True)
    assert edit == InsertHeader(0, b"A", b" 1\n\t2")
