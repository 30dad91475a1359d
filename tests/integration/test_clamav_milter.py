# SPDX-License-Identifier: MIT
"""clamav-milter passes a good message and refuses a bad one, and may die.

Other milters are in tests/packaging/guest/milters.py, where they are compared with what Postfix
makes of them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qpsmtpd.testing import Serving, serve
from tests.integration.test_scanners import GOOD, VIRUS
from tests.scanner_servers import real_clamav_milter
from tests.unit.client import Client, catcher, catching

pytestmark = pytest.mark.real_systems

ENVELOPE = ("EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<user@example.test>")


async def last_reply(serving: Serving, message: str) -> str:
    """The final reply, or the first refusal."""
    client = await Client.of(serving)
    try:
        for line in ENVELOPE:
            reply = await client.command(line)
            if not reply.startswith("250"):
                return reply
        await client.command("DATA")
        return await client.deliver(message.replace("\n", "\r\n").encode())
    finally:
        await client.close()


async def answered(serving: Serving, message: str, code: str) -> str:
    """The reply with this code; the milter may have to be tried again first."""
    while not (reply := await last_reply(serving, message)).startswith(code):
        assert reply.startswith("451 4.7.1"), reply
        await asyncio.sleep(0.1)
    return reply


async def test_clamav_milter(tmp_path: Path) -> None:
    with real_clamav_milter() as milter:
        files = catching(tmp_path, f"milter clamav unix:{milter.place} timeout=20", "rcpt_ok")
        files |= {"rcpthosts": ["example.test"], "reverse_lookup": ["no"]}
        async with serve(files) as serving:
            assert (await last_reply(serving, GOOD)).startswith("250")
            assert b"\r\nX-Virus-Status: Clean\r\n" in catcher(serving).messages[0]
            refused = await last_reply(serving, VIRUS)
            assert refused.startswith("550 5.7.1 This message has a virus: Eicar-Test-Signature")
            milter.kill()
            for message in (GOOD, VIRUS):
                assert (await last_reply(serving, message)).startswith("451 4.7.1")
            await asyncio.to_thread(milter.start)
            await answered(serving, VIRUS, "550 5.7.1")
            assert (await last_reply(serving, GOOD)).startswith("250")
            assert len(catcher(serving).messages) == 2
