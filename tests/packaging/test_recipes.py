# SPDX-License-Identifier: MIT
"""Every block of README.Debian is tried by a check of guest/readme.py, or said to be elsewhere."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.debian_system import CHECKOUT
from tests.packaging.guest import readme

_LINES = readme.README.splitlines()


def blocks() -> list[range]:
    """The numbers of the lines of each block, after the table of contents."""
    start = next(n for n, line in enumerate(_LINES) if line.startswith("1. "))
    found: list[range] = []
    for number in range(start, len(_LINES)):
        if not _LINES[number].startswith("  "):
            continue
        between = _LINES[found[-1].stop : number] if found else ["text"]
        first = number if any(between) else found.pop().start
        found.append(range(first, number + 1))
    return found


def run_by_checks() -> set[int]:
    """The numbers of the lines that `after(...)` finds, for all the words that it is given."""
    tree = ast.parse(Path(readme.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    words = {
        constant.value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "after"
        for constant in ast.walk(call.args[0])
        if isinstance(constant, ast.Constant) and constant.value != "false"
    }
    return {readme.place_after(str(text)) for text in words}


def test_every_block_is_tried() -> None:
    tried = run_by_checks()
    left = [_LINES[block[0]].strip() for block in blocks() if not tried & set(block)]
    assert [line for line in left if not line.startswith(tuple(readme.NOT_RUN))] == []
    assert all(any(line.startswith(words) for line in left) for words in readme.NOT_RUN)


def test_where_else_they_are_tried_exists() -> None:
    for reason in readme.NOT_RUN.values():
        path = reason.rpartition(": ")[2]
        assert not path.startswith("tests/") or (CHECKOUT / path).exists()
