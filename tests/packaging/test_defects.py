# SPDX-License-Identifier: MIT
"""DEFECTS.md names a test for each defect of the older package, and only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = (HERE / "DEFECTS.md").read_text()
CODE = "".join(path.read_text() for path in (HERE.parent).rglob("*.py"))


def test_every_defect_has_a_test() -> None:
    rows = [line.split("|") for line in TABLE.splitlines() if re.match(r"\| \d", line)]
    assert [int(row[1]) for row in rows] == list(range(1, 24))
    assert all(re.search(r"`(\w+)`", row[3]) for row in rows)


def test_every_test_named_exists() -> None:
    named = re.findall(r"`((?:test_|defect_|installs_|reconfigures_)\w+)`", TABLE)
    assert [name for name in named if f"def {name}(" not in CODE] == []


def test_every_check_of_a_defect_is_named() -> None:
    checks = re.findall(r"def ((?:test_)?defect_\d\d\w+)\(", CODE)
    assert [name for name in checks if f"`{name}`" not in TABLE] == []
