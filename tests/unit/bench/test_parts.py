# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.bench.parts import by_file, by_function, rows, short

COUNTED = Counter(
    {
        ("/srv/qpsmtpd/qpsmtpd/smtp/protocol.py", "SmtpProtocol.read_line"): 600,
        ("/srv/qpsmtpd/qpsmtpd/smtp/protocol.py", "SmtpProtocol.write"): 390,
        ("/usr/lib/python3.11/asyncio/tasks.py", "shield"): 9,
        ("<string>", "<lambda>"): 1,
    }
)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/srv/wt/x/qpsmtpd/smtp/protocol.py", "smtp/protocol.py"),
        ("/usr/lib/python3.11/asyncio/tasks.py", "python3.11/asyncio/tasks.py"),
        ("/x/.venv/lib/python3.11/site-packages/a/b.py", "python3.11/site-packages/a/b.py"),
        ("<frozen os>", "<frozen os>"),
    ],
)
def test_files_are_named_from_their_package_on(file: str, name: str) -> None:
    assert short(file) == name


def test_sums_of_files_and_functions() -> None:
    assert by_file(COUNTED)["smtp/protocol.py"] == 990
    assert by_function(COUNTED)["smtp/protocol.py:SmtpProtocol.write"] == 390
    assert by_file(COUNTED).total() == by_function(COUNTED).total() == 1000


def test_the_most_expensive_comes_first_and_what_is_small_in_one_row() -> None:
    assert [line.split() for line in rows(by_function(COUNTED), 10)] == [
        ["smtp/protocol.py:SmtpProtocol.read_line", "60", "60.0%"],
        ["smtp/protocol.py:SmtpProtocol.write", "39", "39.0%"],
        ["others", "1", "1.0%"],
        ["all", "100", "100.0%"],
    ]


def test_nothing_is_small() -> None:
    assert [line.split()[0] for line in rows({"a.py": 5}, 1)] == ["a.py", "all"]


SCRIPT = """
import sys
from pathlib import Path
from tests.bench.tracer import Tracer

def once(): return len("x")
def work(times):
    for _ in range(times): once()

tracer = Tracer(Path(sys.argv[1]))
tracer.snapshot()
work(3)
tracer.snapshot()
work(5)
tracer.snapshot()
"""


def test_snapshots_are_of_what_was_executed_so_far(tmp_path: Path) -> None:
    """In a process of its own, since the tracer takes the place of a debugger."""
    words = (sys.executable, "-c", SCRIPT, str(tmp_path))
    subprocess.run(words, check=True, timeout=60, cwd=Path(__file__).parents[3])
    counts = [_counts_of(tmp_path / f"{number}.json") for number in range(3)]
    assert counts[0] == {}
    assert counts[1]["once"] > 0
    assert counts[2]["once"] * 3 == counts[1]["once"] * 8
    assert counts[2]["work"] > counts[1]["work"]


def _counts_of(path: Path) -> dict[str, int]:
    rows = json.loads(path.read_text())
    return {function: number for file, function, number in rows if file == "<string>"}
