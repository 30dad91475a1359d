# SPDX-License-Identifier: MIT
"""Missing angle brackets are added, at a price."""

from __future__ import annotations

import pytest

from qpsmtpd.plugins.dont_require_anglebrackets import DontRequireAnglebrackets
from qpsmtpd.testing import a_plugin, a_session


@pytest.mark.parametrize(
    ("path", "result", "karma"),
    [
        ("a@b.c", "<a@b.c>", -2),
        ("postmaster", "<postmaster>", -2),
        ("<a@b.c", "<<a@b.c>", -2),
        ("<a@b.c>", None, 0),
        ("<>", None, 0),
    ],
)
async def test_both_hooks(path: str, result: str | None, karma: int) -> None:
    plugin = await a_plugin(DontRequireAnglebrackets)
    session = a_session()
    assert await plugin.hook_mail_pre(session, path, {}) == result
    assert session.karma == karma
    assert await plugin.hook_rcpt_pre(session, path, {}) == result
    assert session.karma == 2 * karma
