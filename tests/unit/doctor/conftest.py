# SPDX-License-Identifier: MIT
"""What the tests of the doctor share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.doctor.fakes import FakeMachine


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    """An empty machine, whose user qpsmtpd is in the group of its files."""
    root = tmp_path / "r"
    root.mkdir()
    root.chmod(0o755)
    return FakeMachine(root)
