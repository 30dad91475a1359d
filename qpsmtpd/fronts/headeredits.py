# SPDX-License-Identifier: MIT
"""Header edits: what has become of a header section, in the words of milters.

Mail systems do not count alike.  Sendmail goes on counting what was deleted, Postfix does not; and
an insertion counts all fields, the mail system's own Received on top included, while the n-th field
of a name does not.  So insertions come first, while nothing is deleted yet, those further down
before those above them; then changes and deletions, from the bottom up.  In this order every index
means the same to both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qpsmtpd.mail.headers import HeaderField
from qpsmtpd.milter.fields import header_packet
from qpsmtpd.milter.packets import AddHeader, ChangeHeader, InsertHeader

Edit = AddHeader | ChangeHeader | InsertHeader


class _Place(NamedTuple):
    """A place in the merged section: a field that was there, one that is there now, or both."""

    old: HeaderField | None
    new: HeaderField | None

    @property
    def key(self) -> bytes | None:
        field = self.old or self.new
        return None if field is None else field.key


def header_edits(
    before: Sequence[HeaderField], after: Sequence[HeaderField], *, exact: bool
) -> list[Edit]:
    """What turns one section into the other; `exact`: values have their leading space.

    before: the fields as the mail system has shown them, without its own Received.
    """
    if list(before) == list(after):
        return []
    merged = _merged(before, after)
    return [*_insertions(merged, len(before), exact), *_changes(merged, exact)]


def _merged(before: Sequence[HeaderField], after: Sequence[HeaderField]) -> list[_Place]:
    """Both sections as one list, in which those that stayed and those that changed are paired."""
    places: list[_Place] = []
    old_end, new_end = len(before), len(after)
    for old, new in _stayed(before, after):
        if old + 1 < old_end or new + 1 < new_end:
            places += _between(before[old + 1 : old_end], after[new + 1 : new_end])
        places.append(_Place(before[old], after[new]))
        old_end, new_end = old, new
    places += _between(before[:old_end], after[:new_end])
    places.reverse()
    return places


def _stayed(
    before: Sequence[HeaderField], after: Sequence[HeaderField]
) -> Iterator[tuple[int, int]]:
    """The indices of the fields that stayed, from the bottom up, as most insertions are on top."""
    where: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, field in enumerate(before):
        where[field.raw].append(index)
    limit = len(before)
    for new in range(len(after) - 1, -1, -1):
        found = where.get(after[new].raw, [])
        while found and found[-1] >= limit:
            found.pop()
        if found:
            limit = found.pop()
            yield limit, new


def _between(old: Sequence[HeaderField], new: Sequence[HeaderField]) -> Iterator[_Place]:
    """What lies between two fields that stayed, from the bottom up: one of a name replaces one."""
    left = list(old)
    # A field whose new value is empty cannot be changed: that would mean to delete it.
    wanted = Counter(field.key for field in new if field.value)
    for field in reversed(new):
        # What nothing replaces goes first, so that new fields stand above it.
        while left and (not wanted[left[-1].key] or left[-1].key == field.key):
            gone = left.pop()
            if gone.key == field.key and field.value:
                yield _Place(gone, field)
                break
            yield _Place(gone, None)
        else:
            yield _Place(None, field)
        wanted[field.key] -= bool(field.value)
    yield from (_Place(each, None) for each in reversed(left))


def _insertions(merged: Sequence[_Place], count: int, exact: bool) -> Iterator[Edit]:
    """New fields; `count` is how many there were."""
    above = count
    below: list[Edit] = []
    for place in reversed(merged):
        if place.old is not None:
            above -= 1
        elif place.new is not None:
            name, value = _sent(place.new, exact)
            if above == count and count:
                below.append(AddHeader(name, value))
            else:
                # Below the Received field of the mail system, unless it is to be the topmost.
                yield InsertHeader(above + 1 if above else 0, name, value)
    yield from reversed(below)


def _changes(merged: Sequence[_Place], exact: bool) -> Iterator[Edit]:
    """Fields that have another value, or are gone: from the bottom up."""
    counts = Counter(place.key for place in merged)
    for place in reversed(merged):
        nth = counts[place.key]
        counts[place.key] -= 1
        if place.old is None or place.old == place.new:
            continue
        if place.new is None:
            name, _ = _sent(place.old, exact)
            yield ChangeHeader(nth, name, b"")
        else:
            yield ChangeHeader(nth, *_sent(place.new, exact))


def _sent(field: HeaderField, exact: bool) -> tuple[bytes, bytes]:
    packet = header_packet(field, exact=exact)
    return packet.name, packet.value
