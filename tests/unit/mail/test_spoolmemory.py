# SPDX-License-Identifier: MIT
"""What all messages of a worker hold in memory together."""

from __future__ import annotations

import pytest

from qpsmtpd.mail.spoolmemory import SpoolMemory


def test_scarce_from_the_limit_on() -> None:
    memory = SpoolMemory(10)
    scarce = []
    for size in (9, 1, -1):
        memory.take(size) if size > 0 else memory.give_back(-size)
        scarce.append(memory.scarce)
    assert scarce == [False, True, False]


def test_without_a_limit_there_is_enough() -> None:
    memory = SpoolMemory()
    memory.take(1 << 40)
    assert not memory.scarce


def test_logged_once_until_half_of_it_is_free_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    memory = SpoolMemory(10)
    for size in (10, -4, 4, -5, 5):
        memory.take(size) if size > 0 else memory.give_back(-size)
    assert caplog.messages == [
        "messages in memory have reached spool_memory=10: further ones go to spool_dir"
    ]
    memory.give_back(6)
    memory.take(6)
    assert len(caplog.messages) == 2
