# SPDX-License-Identifier: MIT
"""Notes: what plugins remember about a session, a transaction or a recipient, by typed keys."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
D = TypeVar("D")


class Note(Generic[T]):
    """A key whose type says what is stored under it: `LISTED = Note[str]("dnsbl.listed")`.

    Two notes of the same name are the same key, so that plugins can share one by its name.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Note({self.name!r})"


class Notes:
    """A mapping from Note to its value; costs nothing until the first note is set."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, Any] | None = None

    @overload
    def get(self, note: Note[T]) -> T | None: ...
    @overload
    def get(self, note: Note[T], default: D) -> T | D: ...
    def get(self, note: Note[T], default: D | None = None) -> T | D | None:
        """The value, or the default."""
        if self._values is None:
            return default
        value: T | D | None = self._values.get(note.name, default)
        return value

    def __getitem__(self, note: Note[T]) -> T:
        if self._values is None:
            raise KeyError(note.name)
        value: T = self._values[note.name]
        return value

    def __setitem__(self, note: Note[T], value: T) -> None:
        if self._values is None:
            self._values = {}
        self._values[note.name] = value

    def __contains__(self, note: Note[Any]) -> bool:
        return self._values is not None and note.name in self._values

    def clear(self) -> None:
        """Forget all."""
        self._values = None

    def pop(self, note: Note[T]) -> T | None:
        """Forget the note and return its value, None when there was none."""
        return None if self._values is None else self._values.pop(note.name, None)


class Noted:
    """Something that plugins make notes about."""

    __slots__ = ("_notes",)

    _notes: Notes

    @property
    def notes(self) -> Notes:
        """Its notes, which are made when somebody asks: of most messages nobody does."""
        try:
            return self._notes
        except AttributeError:
            self._notes = Notes()
            return self._notes

    def forget_notes(self) -> None:
        """Forget all."""
        notes = getattr(self, "_notes", None)
        if notes is not None:
            notes.clear()
