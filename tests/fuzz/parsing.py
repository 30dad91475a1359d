# SPDX-License-Identifier: MIT
"""Gives parsers random inputs, and holds them to what tests/fuzz/parsers.py says about them."""

from __future__ import annotations

import traceback

from tests.fuzz.inputs import random_input
from tests.fuzz.parsers import PARSERS, Parser

#: The conversation takes a hundred times as long as the others.
_SLOW = {"conversation": 10, "replies of a next hop": 4, "results": 2, "told the next hop": 2}


def shares(total: int) -> dict[str, int]:
    """How many inputs each parser gets."""
    weights = {parser.name: 1 / _SLOW.get(parser.name, 1) for parser in PARSERS}
    whole = sum(weights.values())
    return {name: round(total * weight / whole) + 1 for name, weight in weights.items()}


def faults_of(parser: Parser, seed: int, number: int, first: int = 0) -> list[str]:
    """What goes wrong with so many inputs; each fault says how to see it again."""
    faults = []
    for each in range(first, first + number):
        octets = random_input(parser, seed, each)
        if fault := fault_with(parser, octets):
            faults.append(
                f"{parser.name}, SEED={seed}, input {each}: {octets!r}\n"
                f"  again: parsers.fault_with({parser.name!r}, ...)\n{fault}"
            )
    return faults


def fault_with(parser: Parser, octets: bytes) -> str:
    """What goes wrong with an input; "" if nothing does."""
    try:
        result = parser.read(octets)
    except parser.raises:
        return ""
    except Exception:
        return traceback.format_exc()
    try:
        parser.check(octets, result)
    except Exception:
        return f"{result!r}\n{traceback.format_exc()}"
    return ""
