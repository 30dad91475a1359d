# SPDX-License-Identifier: MIT
"""The header section of a message: lookups and changes that leave every other byte alone.

Lines that are not header fields stay where they are; lookups do not see them.

The usual message is never looked into and gets one field put on top, so `parse` only keeps the
bytes and `prepend` does not split them; the first lookup of a name that occurs in them does.

Fields are counted as `fields` lists them, from 0; those of one name are counted from 1, from the
top down, as milters do. Lines that are not fields do not count.

Only what stands *first* in the section needs care when something is put on top of it. A line that
begins with white space would become a continuation of our field, so that a client could add to what
we state there: it becomes the value of a field `X-Unparsed`. An mbox separator (`From ` or
`>From `, not a field) means nothing further down, and a next hop may take it for the end of the
section: it becomes `Mail-From`, as in the Perl version. Without a prepended field both stay as they
are.
"""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

# RFC 5322 section 3.6.8; section 4.5 allows white space before the colon.
_FTEXT = "!-9;-~"
_field_start = re.compile(rf"([{_FTEXT}]+)[ \t]*:".encode()).match
_is_name = re.compile(rf"[{_FTEXT}]+").fullmatch
_line_end = re.compile(rb"\r\n(?![ \t])").finditer
# What is left of most values: one line of printable ASCII.
_plain_value = re.compile(rb"[ \t]*+([!-~](?:[ -~]*[!-~])?)[ \t]*+\r\n(?![ \t])").match
_fold = re.compile(rb"\r\n(?=[ \t])")
# A folded line has to hold more than white space (RFC 5322 section 3.2.2).
_is_value = re.compile(
    r"[^\x00-\x08\x0a-\x1f\x7f]*+(?:\r?\n[ \t]++[^\x00-\x20\x7f][^\x00-\x08\x0a-\x1f\x7f]*+)*"
).fullmatch


# A NamedTuple takes three times as long to make.
@dataclass(slots=True, unsafe_hash=True)
class HeaderField:
    """A field as it stands in the header section, with its continuation lines.

    key: the name in lower case. Among the entries of Headers, None is a line that is not a field.
    raw: name, colon, folded value and CRLF.
    """

    key: bytes | None
    raw: bytes

    @property
    def name(self) -> str:
        """The name as it is spelled."""
        return _spelled(self.raw).decode()

    @property
    def value(self) -> str:
        """The value, unfolded (RFC 5322 section 2.2.3)."""
        return _unfolded(self.raw.partition(b":")[2])


class Headers:
    """A header section. Names are compared without regard to case.

    Values are read as UTF-8, undecodable bytes as surrogate escapes, and written the same way.
    """

    __slots__ = ("_block", "_end", "_entries", "_lower", "_top")

    def __init__(self) -> None:
        self._top: list[HeaderField] = []  # prepended before anyone looked
        self._block = b""
        self._lower: bytes | None = None  # the block in lower case, once somebody has searched it
        self._end = b""  # the blank line, when the section came with it
        self._entries: list[HeaderField] | None = None

    @classmethod
    def parse(cls, block: bytes) -> Self:
        """Take lines ending in CRLF, with or without the blank line after them."""
        headers = cls()
        if block.endswith(b"\r\n\r\n") or block == b"\r\n":
            headers._block, headers._end = block[:-2], b"\r\n"
        else:
            headers._block = block
        return headers

    def __bytes__(self) -> bytes:
        if self._entries is None:
            return b"".join([*(entry.raw for entry in self._top), self._block, self._end])
        return b"".join([*(entry.raw for entry in self._entries), self._end])

    @property
    def text_below(self) -> bytes:
        """The lines below the last field, which are not fields: text that lacks its empty line."""
        entries = self._all()
        end = len(entries)
        while end and entries[end - 1].key is None:
            end -= 1
        return b"".join(entry.raw for entry in entries[end:])

    def before_text(self) -> list[HeaderField]:
        """The fields above the first line that is not a field.

        Mail systems end the header section there: what follows is body to them.
        """
        entries = self._all()
        return entries[: self._text_start()]

    def text_after_fields(self) -> bytes:
        """The first line that is not a field, and all that is below it, fields as well."""
        return b"".join(entry.raw for entry in self._all()[self._text_start() :])

    def drop_text(self) -> None:
        """Remove `text_after_fields`."""
        del self._all()[self._text_start() :]

    def _text_start(self) -> int:
        entries = self._all()
        return next((i for i, entry in enumerate(entries) if entry.key is None), len(entries))

    def __contains__(self, name: str) -> bool:
        return next(self._named(name), None) is not None

    def get(self, name: str) -> str | None:
        """The first such field's value, unfolded (RFC 5322 section 2.2.3); None without a field."""
        entry = next(self._named(name), None)
        return None if entry is None else entry.value

    def peek(self, name: str) -> str:
        """As `get`, in a fraction of the time if nobody has split the section; "" without a field.

        It does not see a field that came with white space before its colon.
        """
        if self._entries is not None:
            return self.get(name) or ""
        key = _key(name)
        for entry in self._top:
            if entry.key == key:
                return entry.value
        lower = self._searchable()
        if lower.startswith(key + b":"):
            start = 0
        elif (start := lower.find(b"\n" + key + b":") + 1) == 0:
            return ""
        value = start + len(key) + 1
        if plain := _plain_value(self._block, value):
            return plain[1].decode("ascii")
        return _unfolded(self._block[value : _end_of_field(self._block, start)])

    def get_all(self, name: str) -> list[str]:
        """The values of all such fields from the top down, unfolded."""
        return [entry.value for entry in self._named(name)]

    def raw(self, name: str) -> list[bytes]:
        """All such fields as they stand: name, colon, folded value and CRLF."""
        return [entry.raw for entry in self._named(name)]

    def fields(self) -> list[HeaderField]:
        """All fields from the top down, as they stand."""
        return [entry for entry in self._all() if entry.key is not None]

    def names(self) -> list[str]:
        """The names of all fields from the top down, as they are spelled."""
        return [field.name for field in self.fields()]

    def count(self, name: str) -> int:
        """How many such fields there are."""
        return sum(1 for _ in self._named(name))

    def prepend(self, name: str, value: str, *, gap: str = " ") -> None:
        """Put a field on top. `value` may be folded; raises ValueError as `append` does.

        gap: what stands between the colon and the value.
        """
        self.put_on_top(_rendered(name, value, gap))

    def put_on_top(self, *fields: HeaderField) -> None:
        """Put fields on top, the first one topmost, that are known to be some: see `composed`."""
        if not fields:
            return
        if self._entries is not None:
            if self._entries:
                self._entries[0] = _entry(_movable(self._entries[0].raw))
            self._entries[:0] = fields
            return
        if not self._top:
            block = _movable(self._block)
            if block is not self._block:
                self._block, self._lower = block, None
        self._top[:0] = fields

    def insert(self, index: int, name: str, value: str, *, gap: str = " ") -> None:
        """Put a field below the first `index` fields: 0 is the top, their number the bottom.

        Lines that are not fields stay below it. Raises IndexError, and ValueError as `append` does.
        """
        if index == 0:
            self.prepend(name, value, gap=gap)
            return
        entry = _rendered(name, value, gap)
        place = self._place(index - 1) + 1
        if place == len(self._all()):
            self.append(name, value, gap=gap)
        else:
            self._all().insert(place, entry)

    def append(self, name: str, value: str, *, gap: str = " ") -> None:
        """Put a field below all others.

        Raises ValueError when the name or the value cannot be a header field: control characters,
        or a line break not followed by white space and more text.
        """
        entry = _rendered(name, value, gap)
        entries = self._all()
        if entries and not entries[-1].raw.endswith(b"\r\n"):
            entries[-1] = _entry(entries[-1].raw + b"\r\n")
        entries.append(entry)

    def remove(self, name: str) -> int:
        """Remove all such fields; returns how many there were."""
        if name not in self:
            return 0
        entries = self._all()
        key = _key(name)
        kept = [entry for entry in entries if entry.key != key]
        self._entries = kept
        return len(entries) - len(kept)

    def replace(self, name: str, value: str) -> None:
        """Leave one such field, with this value: where the first one was, or below all others."""
        key = _key(name)
        first = next((i for i, entry in enumerate(self._all()) if entry.key == key), None)
        if first is None:
            self.append(name, value)
            return
        entry = _rendered(name, value)
        self.remove(name)
        self._all().insert(first, entry)

    def replace_at(self, index: int, name: str, value: str) -> None:
        """Put a field in the place of the one at `index`. Raises IndexError, ValueError."""
        entry = _rendered(name, value)
        self._all()[self._place(index)] = entry

    def remove_at(self, index: int) -> None:
        """Remove the field at `index`. Raises IndexError."""
        del self._all()[self._place(index)]

    def replace_nth(self, name: str, n: int, value: str, *, gap: str = " ") -> None:
        """Give the n-th field of this name another value. Raises IndexError, ValueError."""
        entry = _rendered(name, value, gap)
        self._all()[self._place_of_nth(name, n)] = entry

    def remove_nth(self, name: str, n: int) -> None:
        """Remove the n-th field of this name. Raises IndexError."""
        del self._all()[self._place_of_nth(name, n)]

    def remove_where(self, unwanted: Callable[[bytes], bool], *, mentioning: str) -> int:
        """Remove what is unwanted, whether a field or not; returns how many there were.

        Asks only about those that mention this text, in any case: if it does not occur at all,
        nothing is split.
        """
        if not self.mention(mentioning):
            return 0
        text = _key(mentioning)
        entries = self._all()
        kept = [
            entry for entry in entries if text not in entry.raw.lower() or not unwanted(entry.raw)
        ]
        self._entries = kept
        return len(entries) - len(kept)

    def mention(self, text: str) -> bool:
        """Whether this text may occur, in any case; nothing is split, and False is certain."""
        if self._entries is not None or self._top:
            return True
        return self._searchable().find(_key(text)) >= 0

    def rename(self, old: str, new: str) -> int:
        """Give all fields `old` the name `new`, in their places; returns how many there were."""
        _check_name(new)
        if old not in self:
            return 0
        key = _key(old)
        entries = self._all()
        renamed = 0
        for i, entry in enumerate(entries):
            if entry.key == key:
                entries[i] = _entry(new.encode() + entry.raw[len(_spelled(entry.raw)) :])
                renamed += 1
        return renamed

    def _place(self, index: int) -> int:
        """Where the field at `index` is among all entries."""
        places = [i for i, entry in enumerate(self._all()) if entry.key is not None]
        if not 0 <= index < len(places):
            raise IndexError(f"there is no header field {index}")
        return places[index]

    def _place_of_nth(self, name: str, n: int) -> int:
        key = _key(name)
        places = [i for i, entry in enumerate(self._all()) if entry.key == key]
        if not 0 < n <= len(places):
            raise IndexError(f"there is no header field {name} number {n}")
        return places[n - 1]

    def _named(self, name: str) -> Iterator[HeaderField]:
        key = _key(name)
        if self._entries is None and key not in self._searchable():
            # Most lookups are for what is not there: no need to split.
            return (entry for entry in self._top if entry.key == key)
        return (entry for entry in self._all() if entry.key == key)

    def _searchable(self) -> bytes:
        lower = self._lower
        if lower is None:
            lower = self._lower = self._block.lower()
        return lower

    def _all(self) -> list[HeaderField]:
        """The entries from the top down, split from the block when first asked for."""
        if self._entries is None:
            self._entries = self._top + [_entry(raw) for raw in _split(self._block)]
        return self._entries


def _split(block: bytes) -> Iterator[bytes]:
    """The block in pieces that begin where a line begins without white space."""
    start = 0
    for line_end in _line_end(block):
        yield block[start : line_end.end()]
        start = line_end.end()
    if start < len(block):
        yield block[start:]


def _end_of_field(block: bytes, start: int) -> int:
    """Where the field that begins at `start` ends, without its last line end."""
    end = block.find(b"\r\n", start)
    while end >= 0 and block.startswith((b" ", b"\t"), end + 2):
        end = block.find(b"\r\n", end + 2)
    return end if end >= 0 else len(block)


def _unfolded(value: bytes) -> str:
    """RFC 5322 section 2.2.3."""
    if value.find(b"\r\n") >= 0:
        value = _fold.sub(b"", value)
    return value.strip(b" \t\r\n").decode("utf-8", "surrogateescape")


def _entry(raw: bytes) -> HeaderField:
    field = _field_start(raw)
    return HeaderField(None if field is None else field[1].lower(), raw)


@functools.lru_cache(maxsize=256)
def _key(name: str) -> bytes:
    return name.lower().encode("utf-8", "surrogatepass")


def _spelled(raw: bytes) -> bytes:
    return raw.partition(b":")[0].rstrip(b" \t")


def _movable(block: bytes) -> bytes:
    """The block in a form that may stand below another field."""
    if block.startswith((b" ", b"\t")):
        return b"X-Unparsed:" + block
    if block.startswith((b"From ", b">From ")) and _field_start(block) is None:
        return b"Mail-From: " + block.partition(b" ")[2]
    return block


@functools.lru_cache(maxsize=256)
def _check_name(name: str) -> tuple[bytes, bytes]:
    """The name as it is compared, and as it is written."""
    if not _is_name(name):
        raise ValueError(f"{name!r} is not a header field name")
    return _key(name), name.encode()


def composed(name: str, value: str) -> HeaderField:
    """A field of ours that needs no check: its lines end with CRLF, and none is blank."""
    return HeaderField(name.lower().encode(), f"{name}: {value}\r\n".encode())


def check_field(name: str, value: str) -> None:
    """Raise ValueError as `Headers.append` does."""
    _rendered(name, value)


def _rendered(name: str, value: str, gap: str = " ") -> HeaderField:
    key, spelled = _check_name(name)
    if not _is_value(value):
        raise ValueError(f"{value!r} is not a value for the header field {name}")
    if "\n" in value:
        value = value.replace("\r\n", "\n").replace("\n", "\r\n")
    text = f"{gap}{value}".encode("utf-8", "surrogateescape")
    return HeaderField(key, b"%s:%s\r\n" % (spelled, text))
