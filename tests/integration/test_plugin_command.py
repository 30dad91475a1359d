# SPDX-License-Identifier: MIT
"""`qpsmtpd plugin test` runs the tests of a plugin by pytest, if that is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.commands.main import main


def test_by_pytest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = ["--directory", str(tmp_path), "--config", str(tmp_path)]
    main(["plugin", "new", "quiet", *where])
    assert main(["plugin", "test", f"{tmp_path}/quiet.py"]) == 0
    assert "3 passed" in capfd.readouterr().out
    (tmp_path / "quiet_test.py").write_text("def test_it():\n    assert 0\n")
    assert main(["plugin", "test", f"{tmp_path}/quiet.py"]) == 1
    assert "quiet_test.py:2: " in capfd.readouterr().out
