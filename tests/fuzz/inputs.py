# SPDX-License-Identifier: MIT
"""Random inputs for parsers: what they usually read, cut, joined, repeated and spoiled.

An input follows from the name of its parser, a seed and a number alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fuzz.parsers import Parser

#: Octets of an input; a few are longer.
LONGEST = 3000
_MOST_CHANGES = 6


def random_input(parser: Parser, seed: int, number: int) -> bytes:
    """The input with this number."""
    chance = random.Random(f"{parser.name}/{seed}/{number}")
    octets = chance.choice((*parser.examples, chance.choice(parser.examples), b""))
    for _ in range(chance.randint(0, _MOST_CHANGES)):
        octets = chance.choice(_CHANGES)(chance, parser, octets)[:LONGEST]
    return octets


def _insert(chance: random.Random, parser: Parser, octets: bytes) -> bytes:
    place = chance.randint(0, len(octets))
    return octets[:place] + chance.choice(parser.tokens) + octets[place:]


def _replace(chance: random.Random, parser: Parser, octets: bytes) -> bytes:
    begin, end = _slice(chance, octets)
    return octets[:begin] + chance.choice(parser.tokens) + octets[end:]


def _delete(chance: random.Random, _parser: Parser, octets: bytes) -> bytes:
    begin, end = _slice(chance, octets)
    return octets[:begin] + octets[end:]


def _repeat(chance: random.Random, _parser: Parser, octets: bytes) -> bytes:
    begin, end = _slice(chance, octets)
    times = chance.choice((2, 2, 3, 10, 100, 300))
    return octets[:begin] + octets[begin:end] * times + octets[end:]


def _join(chance: random.Random, parser: Parser, octets: bytes) -> bytes:
    other = chance.choice(parser.examples)
    return octets[: chance.randint(0, len(octets))] + other[chance.randint(0, len(other)) :]


def _spoil(chance: random.Random, _parser: Parser, octets: bytes) -> bytes:
    spoiled = bytearray(octets or b"\0")
    spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
    return bytes(spoiled)


def _tokens(chance: random.Random, parser: Parser, octets: bytes) -> bytes:
    return octets + b"".join(chance.choices(parser.tokens, k=chance.randint(1, 12)))


def _noise(chance: random.Random, _parser: Parser, octets: bytes) -> bytes:
    return octets + chance.randbytes(chance.choice((1, 4, 40)))


def _change_case(_chance: random.Random, _parser: Parser, octets: bytes) -> bytes:
    return octets.swapcase()


_CHANGES: tuple[Callable[[random.Random, Parser, bytes], bytes], ...] = (
    *(_insert, _insert, _replace, _replace, _delete, _repeat, _join),
    *(_spoil, _tokens, _noise, _change_case),
)


def _slice(chance: random.Random, octets: bytes) -> tuple[int, int]:
    begin = chance.randint(0, len(octets))
    return begin, chance.randint(begin, min(len(octets), begin + chance.choice((1, 2, 8, 64))))
