# SPDX-License-Identifier: MIT
"""Hostile texts for parsers; those for expressions are in qpsmtpd/lists/hostile.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from tests.fuzz.parsers import Parser


class Octets(NamedTuple):
    """As a Shape, for a parser."""

    head: bytes
    pump: bytes
    tail: bytes

    def octets(self, length: int) -> bytes:
        return self.head + self.pump * max(1, length // len(self.pump)) + self.tail


def shapes_for(parser: Parser) -> list[Octets]:
    """Texts for a parser: its tokens and examples over and over, within an example or alone."""
    pairs = [b"".join(pair) for pair in itertools.product(parser.tokens, repeat=2)]
    example = parser.examples[0]
    whole = [(b"", b""), *_places(parser)]
    shapes = dict.fromkeys(
        Octets(head, pump, tail)
        for pump in filter(None, (*parser.tokens, *parser.examples))
        for head, tail in whole
    )
    for pump in pairs:
        shapes[Octets(b"", pump, b"")] = None
        shapes[Octets(example[: len(example) // 2], pump, example[len(example) // 2 :])] = None
    return list(shapes)


def _places(parser: Parser) -> Iterator[tuple[bytes, bytes]]:
    """What stands before and after some places within the examples."""
    for example in parser.examples:
        for place in {len(example) * part // 3 for part in range(1, 4)}:
            yield example[:place], example[place:]
