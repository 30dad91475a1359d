# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/mail/notes.py."""

from __future__ import annotations

import pytest

from qpsmtpd.mail.notes import Note, Noted, Notes

LISTED = Note[str]("dnsbl.listed")
COUNT = Note[int]("count")


def test_nothing_is_noted() -> None:
    notes = Notes()
    assert notes.get(LISTED) is None
    assert notes.get(COUNT, 7) == 7
    assert LISTED not in notes
    assert notes.pop(LISTED) is None
    with pytest.raises(KeyError, match=r"dnsbl\.listed"):
        notes[LISTED]


def test_what_is_noted_is_found() -> None:
    notes = Notes()
    notes[LISTED] = "bl.example"
    notes[COUNT] = 0
    assert LISTED in notes
    assert notes[LISTED] == notes.get(LISTED) == "bl.example"
    assert notes.get(COUNT, 7) == 0
    with pytest.raises(KeyError, match="other"):
        notes[Note[str]("other")]


def test_notes_of_one_name_are_one_key() -> None:
    notes = Notes()
    notes[LISTED] = "bl.example"
    assert notes[Note[str]("dnsbl.listed")] == "bl.example"


def test_pop_forgets() -> None:
    notes = Notes()
    notes[COUNT] = 3
    assert notes.pop(COUNT) == 3
    assert COUNT not in notes
    assert notes.pop(COUNT) is None


def test_two_notebooks_share_nothing() -> None:
    one, other = Notes(), Notes()
    one[COUNT] = 1
    assert COUNT not in other


def test_repr_names_the_note() -> None:
    assert repr(COUNT) == "Note('count')"


def test_a_note_is_not_an_attribute() -> None:
    """What is misspelt fails at once."""
    with pytest.raises(AttributeError):
        Notes().listed = "x"  # type: ignore[attr-defined]


def test_each_has_notes_of_its_own() -> None:
    one, other = Noted(), Noted()
    one.notes[COUNT] = 1
    assert (one.notes.get(COUNT), other.notes.get(COUNT)) == (1, None)
    assert one.notes is one.notes
