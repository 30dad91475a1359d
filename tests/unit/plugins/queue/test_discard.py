# SPDX-License-Identifier: MIT
"""queue/discard accepts, and says so in the log when it is loaded."""

from __future__ import annotations

import pytest

from qpsmtpd.api import KNOWN
from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.verdict import Decision
from qpsmtpd.plugins.queue.discard import Discard
from qpsmtpd.testing import a_plugin, a_recipient, a_transaction


async def test_accepts_every_message() -> None:
    plugin = await a_plugin(Discard)
    verdict = await plugin.hook_queue(a_transaction("", "user@example.test", message="\nHi\n"))
    assert verdict.decision is Decision.ACCEPT
    assert verdict.status == "2.6.0"


async def test_every_recipient_is_known() -> None:
    plugin = await a_plugin(Discard)
    assert await plugin.knows_recipient(a_recipient(), None) == KNOWN


async def test_start_warns(caplog: pytest.LogCaptureFixture) -> None:
    await a_plugin(Discard)
    assert caplog.records[0].levelname == "WARNING"


async def test_takes_no_arguments() -> None:
    with pytest.raises(ConfigError):
        await a_plugin(Discard, "really")
