# SPDX-License-Identifier: MIT
"""The same dialogues with Debian's Postfix and with ours: no difference but the listed ones.

postfix.md lists them, with reasons.  When a test fails, it prints the lines as they would stand
there.
"""

from __future__ import annotations

import asyncio

import pytest

from qpsmtpd.testing import serve
from tests.conformance.dialogue import hold, in_class_and_status
from tests.conformance.differences import (
    POSTFIX,
    compared,
    complaints,
    read_differences,
)
from tests.conformance.postfix_dialogues import DIALOGUES, LARGEST, XCLIENT, XFORWARD
from tests.conformance.postfix_server import postfix_server, postfix_system

TIMEOUT = 120.0  # seconds
RELEASE = "trixie"
ME = "mx.example.test"

POSTFIXES = {
    "message_size_limit": str(LARGEST),
    "smtpd_authorized_xclient_hosts": XCLIENT,
    "smtpd_authorized_xforward_hosts": XFORWARD,
    # There is no DNS; and who makes errors is answered as often as it takes, without a pause.
    "smtpd_peername_lookup": "no",
    "smtpd_error_sleep_time": "0",
    "smtpd_soft_error_limit": "1000",
    "smtpd_hard_error_limit": "1000",
    "smtpd_junk_command_limit": "1000",
}
OURS = {
    "me": [ME],
    "rcpthosts": ["example.test"],
    "plugins": ["rcpt_ok", "queue/discard"],
    "databytes": [str(LARGEST)],
    "dsn": ["always"],
    "xclient_networks": [XCLIENT],
    "xforward_networks": [XFORWARD],
    "max_errors": ["1000"],
}

pytestmark = pytest.mark.real_systems


async def test_as_postfix() -> None:
    observed = set()
    with postfix_system(RELEASE) as system:
        async with (
            asyncio.timeout(TIMEOUT),
            postfix_server(system, POSTFIXES) as postfix,
            serve(OURS) as ours,
        ):
            for dialogue in DIALOGUES:
                results = [
                    await hold(dialogue, port, in_class_and_status) for port in (postfix, ours.port)
                ]
                observed |= set(compared(dialogue.name, *results))
    problems = list(complaints(read_differences(POSTFIX.read_text()), observed))
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
