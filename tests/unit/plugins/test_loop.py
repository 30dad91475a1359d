# SPDX-License-Identifier: MIT
"""loop counts trace fields and refuses from the limit on."""

from __future__ import annotations

import pytest

from qpsmtpd.api import Decision, Verdict
from qpsmtpd.plugins.loop import Loop
from qpsmtpd.testing import a_plugin, a_transaction


async def verdict_on(line: str, received: int, delivered: int = 0) -> Verdict | None:
    plugin = await a_plugin(Loop, line)
    fields = "Received: by a\n" * received + "delivered-to: x\n" * delivered
    return await plugin.hook_data_post(a_transaction(message=f"{fields}Subject: test\n\nbody\n"))


@pytest.mark.parametrize("line", ["", "100", "0", "-1", "nonsense"])
async def test_the_default_is_a_hundred(line: str) -> None:
    assert await verdict_on(line, 99) is None
    verdict = await verdict_on(line, 100)
    assert verdict is not None
    assert verdict.decision is Decision.DENY
    assert (verdict.status, verdict.disconnect) == ("5.4.6", False)


@pytest.mark.parametrize("line", ["3", "max_hops 3", "max_hops=3"])
async def test_both_fields_count(line: str) -> None:
    assert await verdict_on(line, 1, 1) is None
    assert await verdict_on(line, 2, 1) is not None
    assert await verdict_on(line, 0, 3) is not None


async def test_the_body_does_not_count() -> None:
    plugin = await a_plugin(Loop, "1")
    tx = a_transaction(message="Subject: test\n\nReceived: by a\n")
    assert await plugin.hook_data_post(tx) is None
