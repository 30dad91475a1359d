# SPDX-License-Identifier: MIT
"""Run by the build of the sample package, with the module that python3-qpsmtpd has for tests."""

from quiet_hours import QuietHours

from qpsmtpd.testing import a_plugin, a_recipient, a_transaction


async def test_night() -> None:
    plugin = await a_plugin(QuietHours, "example.test begin 0")
    verdict = await plugin.hook_rcpt(a_transaction(), a_recipient("me@example.test"))
    assert verdict is not None
    assert (verdict.code or 450) // 100 == 4


async def test_others_never_sleep() -> None:
    plugin = await a_plugin(QuietHours, "example.test begin 0")
    assert await plugin.hook_rcpt(a_transaction(), a_recipient("me@example.org")) is None
