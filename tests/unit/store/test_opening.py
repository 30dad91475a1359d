# SPDX-License-Identifier: MIT
"""Where the store is, and which package is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qpsmtpd.store.location import missing_package, parse_location
from qpsmtpd.store.opening import default_location


def test_the_default() -> None:
    spool = Path("/var/spool/qpsmtpd")
    assert default_location({}, spool) == spool / "store.sqlite"
    state = {"STATE_DIRECTORY": "/var/lib/qpsmtpd"}
    assert default_location(state, spool) == Path("/var/lib/qpsmtpd/store.sqlite")
    state = {"STATE_DIRECTORY": "/var/lib/qpsmtpd:/var/lib/more"}
    assert default_location(state, spool) == Path("/var/lib/qpsmtpd/store.sqlite")


def test_nothing_is_missing_here() -> None:
    for text in ("/var/lib/store", "redis://h"):
        assert missing_package(parse_location(text)) == ""


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    assert missing_package(parse_location("/var/lib/store")) == ""
    for text in ("redis://h", "rediss://h", "unix:///s"):
        assert missing_package(parse_location(text)) == "python3-redis"
