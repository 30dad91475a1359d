# SPDX-License-Identifier: MIT
"""Tests of logging plugins run without a journal on stderr."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a journal that the tests themselves run in out of the way."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
