# SPDX-License-Identifier: MIT
"""The daemon is stopped and started again under load, while somebody holds its sockets."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import trustme

from tests.continuity.service import (
    Way,
    client_context,
    doors_of,
    listening_sockets,
    name,
    prepare,
    running_on,
)
from tests.continuity.stream import MESSAGES, in_maildir, streaming

RESTARTS = 5


async def test_restart(way: Way, tmp_path: Path, report: Callable[[object], None]) -> None:
    """Sessions between two messages are told to come again; those who connect wait their turn."""
    authority = trustme.CA()
    prepare(tmp_path, authority)
    sockets = listening_sockets()
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(running_on(sockets, tmp_path, *way))
        doors, context = doors_of(sockets), client_context(authority)
        async with streaming(doors, context=context) as stream:
            for _ in range(RESTARTS):
                await stream.more(MESSAGES // RESTARTS)
                daemon.signal(signal.SIGTERM)
                assert await daemon.ended() == 0
                assert "cut" not in daemon.log
                daemon = await stack.enter_async_context(running_on(sockets, tmp_path, *way))
    for one in sockets:
        one.close()
    delivered = in_maildir(tmp_path / "Maildir")
    account = stream.tally.account(name(f"{RESTARTS} restarts", way), delivered)
    report(account)
    assert account.problems() == []
    assert account.tally.told
