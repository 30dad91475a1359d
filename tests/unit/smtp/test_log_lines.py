# SPDX-License-Identifier: MIT
"""Whatever the conversation warns of, it says about which client."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from qpsmtpd import smtp

WARNING = {"warning", "error", "exception", "critical"}


def warnings_in(file: Path) -> Iterator[tuple[str, str]]:
    """Where something is logged as a warning or worse, and the text of the line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in WARNING and ast.unparse(node.func.value).endswith("log"):
            yield f"{file.name}:{node.lineno}", ast.unparse(node.args[0])


def test_every_warning_names_the_client() -> None:
    files = sorted(Path(smtp.__file__).parent.glob("*.py"))
    found = [line for file in files for line in warnings_in(file)]
    assert len(found) > 4
    assert [where for where, text in found if "ip=%s" not in text] == []
