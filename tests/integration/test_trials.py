# SPDX-License-Identifier: MIT
"""`qpsmtpd try` answers as the running daemon, also the last of many messages."""

from __future__ import annotations

from pathlib import Path

from qpsmtpd.testing import FakeResolver, serve
from qpsmtpd.trial.client import try_message
from qpsmtpd.trial.stage import staged
from tests.dialogue.test_trials import CHAIN, DNS, Daemon, attempts, configured, replies


async def test_messages_one_after_the_other(tmp_path: Path) -> None:
    """With all that clients are remembered by: karma and greylisting."""
    tried = list(attempts(500))
    resolver = FakeResolver(DNS)
    async with serve({**CHAIN, "proxy_networks": ["127.0.0.1"]}, dns=resolver) as serving:
        daemon = Daemon(serving)
        wanted = [await try_message(daemon, attempt) for attempt in tried]
    directory = configured(tmp_path / "config", CHAIN)
    async with staged([directory], {}, resolver=resolver) as stage:
        found = [await try_message(stage, attempt, alone=False) for attempt in tried]
    for attempt, one, other in zip(tried, wanted, found, strict=True):
        assert replies(one) == replies(other), attempt
    results = {course.result for course in found}
    deciding = {course.decided_by for course in found}
    assert results == {"accepted", "deferred", "refused"}
    assert len(deciding) >= 10
