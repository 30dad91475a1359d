# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/plugin/services.py."""

from __future__ import annotations

import time

from qpsmtpd.plugin.services import Clock, Entry
from qpsmtpd.testing import services


def test_an_entry_is_its_text() -> None:
    assert str(Entry("example.com", "rcpthosts:3")) == "example.com"
    assert Entry("example.com").where == ""


def test_clock() -> None:
    clock = Clock()
    before, after = time.time(), clock.now()
    assert 0 <= after - before < 60
    assert clock.monotonic() <= clock.monotonic()


def test_environments_are_not_shared() -> None:
    assert services().environment is not services().environment
    assert services(environment={"A": "b"}).environment == {"A": "b"}
