# SPDX-License-Identifier: MIT
"""Dovecot takes messages by LMTP, and refuses those for whom a mailbox has no room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from qpsmtpd.testing import Serving, serve
from tests.login_servers import RealServer, running_server
from tests.unit.client import Client

pytestmark = pytest.mark.real_systems

USER, FULL, NOBODY = "user@example.test", "full@example.test", "nobody@example.test"

_DOVECOT = """\
protocols = lmtp
log_path = /tmp/dovecot.log
ssl = no
first_valid_uid = 1
mail_location = maildir:/tmp/mail/%u
mail_plugins = quota
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = passwd-file
  args = username_format=%u /srv/users
}
plugin {
  quota = maildir:User quota
}
service lmtp {
  unix_listener /run/scanner.sock {
    mode = 0666
  }
}
"""
_USERS = f"""\
{USER}:::::::
{FULL}:::::::userdb_quota_rule=*:bytes=1000
"""
_MESSAGE = "From: a@client.example\r\nMessage-ID: <{}@client.example>\r\n\r\n" + "x" * 2000 + "\r\n"


@pytest.fixture(scope="module")
def dovecot() -> Iterator[RealServer]:
    users = _USERS.replace(":::::::", "::8:8::/tmp/home::")
    files = {"/srv/dovecot.conf": _DOVECOT, "/srv/users": users}
    prepare = ("mkdir -p /tmp/mail /tmp/home /run/dovecot", "chmod 1777 /tmp/mail /tmp/home")
    command = ("dovecot", "-F", "-c", "/srv/dovecot.conf")
    packages = ("dovecot-lmtpd", "dovecot-core")
    with running_server("bookworm", packages, files, prepare, command) as server:
        yield server


@asynccontextmanager
async def delivering(dovecot: RealServer) -> AsyncIterator[Serving]:
    chain = ["verify_recipients", "rcpt_ok", f"queue/lmtp unix:{dovecot.process.place}"]
    files = {"plugins": chain, "rcpthosts": ["example.test"], "reverse_lookup": ["no"]}
    async with serve(files) as serving:
        yield serving


async def replies(serving: Serving, name: str, *recipients: str) -> list[str]:
    """Those to the recipients and, if there is one left, to the message."""
    client = await Client.of(serving)
    try:
        await client.command("EHLO client.example")
        await client.command("MAIL FROM:<a@client.example>")
        found = [await client.command(f"RCPT TO:<{each}>") for each in recipients]
        if any(reply.startswith("250") for reply in found):
            await client.command("DATA")
            found.append(await client.deliver(_MESSAGE.format(name).encode()))
        return [reply[:9] for reply in found]
    finally:
        await client.close()


def messages(dovecot: RealServer, user: str) -> int:
    """How many are in a mailbox."""
    mailbox = dovecot.process.system.root / "tmp/mail" / user / "new"
    return len(list(mailbox.iterdir())) if mailbox.exists() else 0


async def test_a_mailbox_with_room_and_one_without(dovecot: RealServer) -> None:
    async with delivering(dovecot) as serving:
        assert await replies(serving, "one", USER) == ["250 2.1.5", "250 2.0.0"]
        assert messages(dovecot, USER) == 1
        assert [reply[:3] for reply in await replies(serving, "two", NOBODY)] == ["550"]
        # Both at once: who has it does not get it again, and the other one is refused at RCPT.
        assert (await replies(serving, "three", USER, FULL))[-1] == "451 4.0.0"
        taken, full, end = await replies(serving, "three", USER, FULL)
        assert (taken[:3], full, end[:3]) == ("250", "552 5.2.2", "250")
        assert (messages(dovecot, USER), messages(dovecot, FULL)) == (2, 0)


async def test_a_mailbox_without_room_alone(dovecot: RealServer) -> None:
    async with delivering(dovecot) as serving:
        assert (await replies(serving, "four", FULL))[-1] == "552 5.2.2"
        assert messages(dovecot, FULL) == 0


async def test_dovecot_dies_and_comes_back(dovecot: RealServer) -> None:
    async with delivering(dovecot) as serving:
        before = messages(dovecot, USER)
        dovecot.process.kill()
        assert [reply[:1] for reply in await replies(serving, "five", USER)][-1] == "4"
        await asyncio.to_thread(dovecot.process.start)
        assert (await replies(serving, "five", USER))[-1] == "250 2.0.0"
        assert messages(dovecot, USER) == before + 1
