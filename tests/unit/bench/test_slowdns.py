# SPDX-License-Identifier: MIT
from __future__ import annotations

from dataclasses import replace

from tests.bench.slowdns import Figures, best_of, longest_chain

FIGURES = Figures(["a", "b"], 0.21, [0.02, 0.14], (0.03, "step"), bounded=True)


def test_a_chain_is_of_questions_that_waited_for_the_one_before() -> None:
    asked = [(0.0, "PTR"), (0.01, "list"), (0.105, "A"), (0.15, "MX"), (0.21, "TXT"), (0.26, "A2")]
    assert longest_chain(asked, 0.1) == ["PTR", "A", "TXT"]
    assert longest_chain([(0.5, "b"), (0.0, "a"), (0.55, "c")], 0.1) == ["a", "b"]
    assert longest_chain([], 0.1) == []


def test_what_is_too_much() -> None:
    assert FIGURES.problems == []
    late = replace(FIGURES, more=[0.02, 0.16])
    assert late.problems == ["a client waited 160 ms more"]
    assert replace(late, bounded=False).problems == []
    assert replace(FIGURES, held=(0.051, "step")).problems == [
        "the loop was held for 51 ms by step"
    ]
    assert replace(FIGURES, held=None).problems == []


def test_the_best_of_several_runs() -> None:
    late = replace(FIGURES, more=[0.3, 0.01], held=(0.01, "other"))
    assert best_of([late, FIGURES]) == replace(FIGURES, held=(0.01, "other"))
    assert best_of([replace(FIGURES, held=None)]).held is None


def test_the_figures_as_text() -> None:
    assert str(FIGURES) == (
        "2 look-ups in a chain, 200 ms; alone 210 ms; 2 at once, more than the chain: "
        "p50 20 ms, p99 140 ms, most 140 ms; loop held 30 ms (step)"
    )
