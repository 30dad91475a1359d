# SPDX-License-Identifier: MIT
"""No text makes a regular expression or a parser take more than linear time."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from qpsmtpd.lists.hostile import Shape, shapes_of
from tests.fuzz.growth import EndlessError, growth_problem
from tests.fuzz.parsers import PARSERS, Parser, caches, uncovered
from tests.fuzz.patterns import HARMLESS, MADE, ROOT, Use, unseen_imports, uses
from tests.fuzz.shapes import Octets, shapes_for

USES = uses()


def test_every_expression_can_be_seen() -> None:
    assert not unseen_imports()


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use.place}-{use.method}")
def test_an_expression_takes_linear_time(use: Use) -> None:
    problem = growth_problem(_run(use), _inputs(use.pattern))
    assert not problem, f"{use.place}: {use.pattern.pattern!r} with {use.method}: {problem}"


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"([!-~]+) saved$", "search"),
        (r"\s*(\w+)\s*=\s*(.*?)\s*", "fullmatch"),
        (r"\n[ \t]*\n\s*?(?=[^\n])", "split"),
        (r"(\d+)+x", "search"),
    ],
)
def test_a_slow_expression_is_found(pattern: str, method: str) -> None:
    use = Use("", re.compile(pattern), method)
    assert _problem(_run(use), _inputs(use.pattern))


def test_examples_stand_for_functions_that_are_there() -> None:
    for place in (*MADE, *HARMLESS):
        file, _, function = place.partition(":")
        assert f"def {function}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_a_parser_takes_linear_time(parser: Parser) -> None:
    forget = [cache.cache_clear for cache in caches()]

    def run(octets: bytes) -> None:
        with suppress(*parser.raises):
            parser.read(octets)
        for each in forget:
            each()

    problem = growth_problem(run, [shape.octets for shape in shapes_for(parser)])
    assert not problem, f"{parser.name}: {problem}"


def test_a_slow_parser_is_found() -> None:
    def read(octets: bytes) -> None:
        while octets:
            octets = octets.partition(b"\n")[2]

    assert _problem(read, [Octets(b"", b"x\n", b"").octets])


def test_no_parser_is_forgotten() -> None:
    assert not uncovered(), "add these to tests/fuzz/parsers.py"


def _problem(run: Callable[[Any], object], make: list[Callable[[int], Any]]) -> str:
    """As growth_problem, for what is known to be slow."""
    try:
        return growth_problem(run, make, patience=1.0)
    except EndlessError as error:
        return str(error)


def _run(use: Use) -> Callable[[Any], object]:
    if use.method in ("sub", "subn"):
        return partial(getattr(use.pattern, use.method), use.pattern.pattern[:0])
    if use.method == "finditer":
        return lambda text: deque(use.pattern.finditer(text), maxlen=0)
    run: Callable[[Any], object] = getattr(use.pattern, use.method)
    return run


def _inputs(pattern: re.Pattern[Any]) -> list[Callable[[int], Any]]:
    binary = isinstance(pattern.pattern, bytes)
    return [partial(_text, shape, binary) for shape in shapes_of(pattern)]


def _text(shape: Shape, binary: bool, length: int) -> str | bytes:
    text = shape.text(length)
    return text.encode("latin-1") if binary else text
