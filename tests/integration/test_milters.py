# SPDX-License-Identifier: MIT
"""clamav-milter and milter-greylist pass a good message and refuse another one, and may die.

Other milters are in tests/packaging/guest/milters.py, where they are compared with what Postfix
makes of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from qpsmtpd.testing import Serving, serve
from tests.integration.test_scanners import GOOD, VIRUS
from tests.scanner_servers import real_clamav_milter, real_milter_greylist
from tests.unit.client import Client, catcher, catching

pytestmark = pytest.mark.real_systems

ENVELOPE = ("EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<user@example.test>")


async def last_reply(serving: Serving, message: str, envelope: Sequence[str] = ENVELOPE) -> str:
    """The final reply, or the first refusal."""
    client = await Client.of(serving)
    try:
        for line in envelope:
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


async def test_milter_greylist(tmp_path: Path) -> None:
    """A friend passes, a stranger waits, each without knowing of the other."""
    friend = [line.replace("a@", "friend@") for line in ENVELOPE]
    with real_milter_greylist() as milter:
        files = catching(tmp_path, f"milter greylist unix:{milter.place} timeout=20", "rcpt_ok")
        files |= {"rcpthosts": ["example.test"], "reverse_lookup": ["no"]}
        async with serve(files) as serving:
            assert (await last_reply(serving, GOOD, friend)).startswith("250")
            assert (await last_reply(serving, GOOD)).startswith("451 4.7.1 Greylisting in action")
            # It lets in who comes back after a second.
            await answered(serving, GOOD, "250")
            for message in catcher(serving).messages:
                assert b"\nX-Greylist: " in b"\n" + message.partition(b"\r\n\r\n")[0]
            milter.kill()
            down = await last_reply(serving, GOOD, friend)
            assert down.startswith("451 4.7.1")
            assert "Greylisting" not in down
            await asyncio.to_thread(milter.start)
            while not (reply := await last_reply(serving, GOOD, friend)).startswith("250"):
                assert reply == down
                await asyncio.sleep(0.1)
            assert len(catcher(serving).messages) == 3
