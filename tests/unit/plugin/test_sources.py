# SPDX-License-Identifier: MIT
"""Files of the administrator's own are read anew, and their faults have a place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qpsmtpd.errors import PluginError
from qpsmtpd.plugin.sources import import_file, place_of


def test_a_file_is_read_anew_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("WHAT = 1\n")
    assert import_file(file, "test_sources.mine").WHAT == 1
    file.write_text("WHAT = 2\n")
    module = import_file(file, "test_sources.mine")
    assert module.WHAT == 2
    assert module.__name__ == "qpsmtpd_local.test_sources.mine"
    assert sys.modules.pop(module.__name__) is module
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("\nimport no_such_module\n", 2, "ModuleNotFoundError"),
        ("\n\ndef (\n", 3, "SyntaxError"),
        ("raise SystemExit('no')\n", 1, "SystemExit: no"),
    ],
)
def test_a_fault_has_a_place(tmp_path: Path, text: str, line: int, says: str) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    with pytest.raises(PluginError, match=rf"cannot be loaded: {file}:{line}: .*{says}"):
        import_file(file, "test_sources.wrong")
    assert "qpsmtpd_local.test_sources.wrong" not in sys.modules


def test_the_place_is_the_innermost_one(tmp_path: Path) -> None:
    try:
        raise ValueError("here")
    except ValueError as error:
        assert place_of(error).startswith(f"{__file__}:")
        assert place_of(error, Path("/elsewhere.py")) == "/elsewhere.py"
