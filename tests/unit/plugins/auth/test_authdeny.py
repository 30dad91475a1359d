# SPDX-License-Identifier: MIT
"""authdeny writes down who tried, not what."""

from __future__ import annotations

import logging

import pytest

from qpsmtpd.api import AuthAttempt
from qpsmtpd.plugins.auth.authdeny import Authdeny
from qpsmtpd.testing import a_plugin, a_session


async def test_logs_and_has_no_opinion(caplog: pytest.LogCaptureFixture) -> None:
    plugin = await a_plugin(Authdeny)
    # Bound, so that mypy lets a test look at what a hook returns that never says anything.
    hook = plugin.hook_auth
    with caplog.at_level(logging.INFO):
        await hook(a_session("192.0.2.7"), AuthAttempt("LOGIN", "bob@x", "secret"))
    assert "user='bob@x' mechanism=LOGIN ip=192.0.2.7" in caplog.text
    assert "secret" not in caplog.text
