# SPDX-License-Identifier: MIT
"""Hostile texts for a regular expression, made from its own parts: they show that it is slow.

An expression is slow where it can try many ways to read one text: a repetition inside another,
two in a row that take the same characters, or one that is begun anew at every place.  What shows
it is a beginning that leads to a repetition, then the same few characters over and over, then
something that does not fit.  `shapes_of` makes all such texts from one character of each kind that
the expression tells apart.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

_parser = re._parser  # type: ignore[attr-defined]
_c = re._constants  # type: ignore[attr-defined]

_REPEATS = (_c.MAX_REPEAT, _c.MIN_REPEAT, _c.POSSESSIVE_REPEAT)
#: A repetition of more than that counts as endless.
_MANY = 8
_MOST_VARIANTS = 12
_MOST_PAIRED = 18
_UNIVERSE = [*map(chr, range(256)), "\u0300", "\u2028", "\u3002", "\uff45", "\U00010000"]
_PREFERRED = 'a0A-. \t"\\'


class Shape(NamedTuple):
    """A text of any length: `head`, `pump` as often as needed, `tail`."""

    head: str
    pump: str
    tail: str

    def text(self, length: int) -> str:
        """A text of about this many characters."""
        times = max(1, (length - len(self.head) - len(self.tail)) // len(self.pump))
        return self.head + self.pump * times + self.tail


def shapes_of(pattern: re.Pattern[Any]) -> list[Shape]:
    """Every shape for this expression; a few hundred to some thousands."""
    parts = _Parts(pattern)
    few = parts.alphabet[:_MOST_PAIRED]
    pairs = ["".join(pair) for pair in itertools.product(few, repeat=2)]
    pumps = dict.fromkeys([*parts.alphabet, *parts.bodies, *pairs])
    misfits = ["", parts.misfit]
    shapes = dict.fromkeys(
        Shape(head, pump, tail) for head in parts.heads for pump in pumps for tail in misfits
    )
    for head, pump, tail in itertools.product(parts.heads, parts.alphabet, parts.alphabet):
        shapes[Shape(head, pump, tail)] = None
    return list(shapes)


def repetitions(pattern: re.Pattern[Any]) -> int:
    """How many times something may be repeated often; with one at most, nothing is very slow."""

    def count(nodes: Iterable[tuple[Any, Any]]) -> int:
        return sum(
            (op in _REPEATS and value[1] > _MANY) + sum(map(count, _inner(op, value)))
            for op, value in nodes
        )

    return count(_parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))


class _Parts:
    """What an expression consists of."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self._universe = _UNIVERSE[:256] if isinstance(pattern.pattern, bytes) else _UNIVERSE
        self._tree = _parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
        self.heads: list[str] = [""]
        self.bodies: list[str] = []
        self._walk(self._tree, "")
        self.heads = list(dict.fromkeys(self.heads))[:_MOST_VARIANTS]

    @cached_property
    def alphabet(self) -> list[str]:
        """One character of each kind that the expression tells apart."""
        sets = [self._members(op, value) for op, value in self._characters(self._tree)]
        ordered = sorted(self._universe, key=lambda c: (c not in _PREFERRED, not c.isprintable()))
        return list(
            {tuple(c in members for members in sets): c for c in reversed(ordered)}.values()
        )

    @cached_property
    def misfit(self) -> str:
        """A character that the fewest parts take."""
        sets = [self._members(op, value) for op, value in self._characters(self._tree)]
        return min(self.alphabet, key=lambda c: sum(c in members for members in sets))

    def _walk(self, nodes: Iterable[tuple[Any, Any]], head: str) -> None:
        """Note what leads to each endless repetition, and what it repeats."""
        for op, value in nodes:
            if op in _REPEATS and value[1] > _MANY:
                self.heads.append(head)
                self.bodies += itertools.islice(filter(None, self._variants(value[2])), 12)
            for inner in _inner(op, value):
                self._walk(inner, head)
            head += next(self._variants([(op, value)]), "")

    def _variants(self, nodes: Iterable[tuple[Any, Any]]) -> Iterator[str]:
        """Some texts that the nodes match, if nothing looks around."""
        choices = [self._choices(op, value) for op, value in nodes]
        for texts in itertools.islice(itertools.product(*choices), _MOST_VARIANTS):
            yield "".join(texts)

    def _choices(self, op: Any, value: Any) -> list[str]:
        if op in _REPEATS:
            bodies = list(self._variants(value[2]))
            return [body * max(value[0], min(1, value[1])) for body in bodies]
        inner = list(_inner(op, value))
        if op in (_c.ASSERT, _c.ASSERT_NOT):
            return [""]
        if inner:
            return [text for nodes in inner for text in self._variants(nodes)]
        members = self._members(op, value)
        if not members:
            return [""]
        return [next((c for c in _PREFERRED if c in members), min(members))]

    def _characters(self, nodes: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        """All nodes that stand for one character."""
        for op, value in nodes:
            if op in (_c.LITERAL, _c.NOT_LITERAL, _c.ANY, _c.IN):
                yield op, value
            for inner in _inner(op, value):
                yield from self._characters(inner)

    def _members(self, op: Any, value: Any) -> frozenset[str]:
        """The characters of the universe that a node takes."""
        if op == _c.IN:
            negated = value[0][0] == _c.NEGATE
            parts = value[1:] if negated else value
            return frozenset(c for c in self._universe if _is_in(c, parts) != negated)
        if op in (_c.LITERAL, _c.NOT_LITERAL):
            wanted = op == _c.LITERAL
            return frozenset(
                c for c in {*self._universe, chr(value)} if (ord(c) == value) == wanted
            )
        return frozenset(self._universe) - {"\n"} if op == _c.ANY else frozenset()


def _inner(op: Any, value: Any) -> Iterator[Any]:
    """The expressions inside a node."""
    if op in _REPEATS:
        yield value[2]
    elif op == _c.BRANCH:
        yield from value[1]
    elif op == _c.SUBPATTERN:
        yield value[3]
    elif op == _c.ATOMIC_GROUP:
        yield value
    elif op in (_c.ASSERT, _c.ASSERT_NOT):
        yield value[1]
    elif op == _c.GROUPREF_EXISTS:
        yield from filter(None, value[1:])


def _is_in(character: str, parts: Iterable[tuple[Any, Any]]) -> bool:
    code = ord(character)
    for op, value in parts:
        if (
            (op == _c.LITERAL and code == value)
            or (op == _c.RANGE and value[0] <= code <= value[1])
            or (op == _c.CATEGORY and _is_of(character, str(value)))
        ):
            return True
    return False


def _is_of(character: str, category: str) -> bool:
    kind = category.removeprefix("CATEGORY_")
    wanted = {
        "DIGIT": character.isdigit(),
        "SPACE": character.isspace(),
        "WORD": character.isalnum() or character == "_",
    }[kind.removeprefix("NOT_")]
    return wanted != kind.startswith("NOT_")
