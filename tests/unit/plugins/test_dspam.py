# SPDX-License-Identifier: MIT
"""dspam: a line that works, and does nothing."""

from __future__ import annotations

from qpsmtpd.plugins.dspam import Dspam
from qpsmtpd.testing import a_plugin


async def test_it_does_nothing() -> None:
    assert (await a_plugin(Dspam, "learn_from_sa 7 reject 1 autolearn=any")).hooks() == []
    assert "rspamd or spamassassin" in Dspam.warning
