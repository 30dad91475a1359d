# SPDX-License-Identifier: MIT
"""Memory is given back, time and again."""

from __future__ import annotations

from typing import Any

import pytest

from qpsmtpd.daemon import heap


class Loop:
    """Remembers what is to be called later."""

    def __init__(self) -> None:
        self.later: list[tuple[Any, ...]] = []

    def call_later(self, *what: Any) -> None:
        self.later.append(what)


@pytest.mark.parametrize("possible", [True, False])
def test_only_where_it_is_possible(monkeypatch: pytest.MonkeyPatch, possible: bool) -> None:
    monkeypatch.setattr(heap, "trim", lambda: possible)
    loop: Any = Loop()
    heap.trim_for_ever(loop)
    wanted = (heap.PERIOD, heap.trim_for_ever, loop)
    assert loop.later == [wanted] * possible


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    assert not heap.trim()


def test_ours() -> None:
    assert heap.trim()
