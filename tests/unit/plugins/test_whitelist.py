# SPDX-License-Identifier: MIT
"""whitelist exempts what is listed, and lets nobody relay but to listed recipients."""

from __future__ import annotations

from typing import Any

import pytest

from qpsmtpd.api import ConfigError, Endpoint, Transaction, accept
from qpsmtpd.plugins.whitelist import RECIPIENTS, Whitelist
from qpsmtpd.testing import a_plugin, a_recipient, a_session, a_transaction

CONFIG = {
    "whitelisthosts": ["192.0.2.1", "198.51.100.0/25", "203.0.113", "2001:DB8:1:", "2001:db8::7"],
    "whitelisthelo": ["Good.example"],
    "whitelistsenders": ["Friend@example.com", "good.example", "@also.example"],
    "whitelistrcpt": ["user@example.org", "open.example"],
}


async def a_whitelist(line: str = "", **lent: Any) -> Whitelist:
    return await a_plugin(Whitelist, line, config=CONFIG, **lent)


def is_immune(plugin: Whitelist, tx: Transaction) -> bool:
    return plugin.immune(tx.session)


@pytest.mark.parametrize(
    "ip",
    ["192.0.2.1", "198.51.100.127", "203.0.113.9", "2001:db8:1:2::3", "2001:db8::7"],
)
async def test_hosts(ip: str) -> None:
    plugin = await a_whitelist()
    session = a_session(ip)
    assert await plugin.hook_connect(session) == accept()
    assert (session.whitelisted_host, session.karma) == (ip, 5)
    assert plugin.immune(session)


@pytest.mark.parametrize("ip", ["192.0.2.10", "198.51.100.128", "203.0.11.3", "2001:db8::77"])
async def test_other_hosts(ip: str) -> None:
    plugin = await a_whitelist()
    session = a_session(ip)
    assert await plugin.hook_connect(session) is None
    assert (session.whitelisted_host, session.karma) == ("", 0)


async def test_environment() -> None:
    plugin = await a_whitelist(environment={"WHITELISTCLIENT": ""})
    assert await plugin.hook_connect(a_session("192.0.2.99")) == accept()


async def test_tcpserver_does_not_speak_of_clients_behind_a_proxy() -> None:
    plugin = await a_whitelist(environment={"WHITELISTCLIENT": ""})
    session = a_session("192.0.2.99")
    session.proxy = Endpoint("127.0.0.1", 40000)
    assert await plugin.hook_connect(session) is None
    assert not session.whitelisted_host


async def test_hello() -> None:
    plugin = await a_whitelist()
    assert await plugin.hook_helo(a_session(), "GOOD.example") == accept()
    assert await plugin.hook_ehlo(a_session(), "good.example.") == accept()
    assert await plugin.hook_ehlo(a_session(), "other.example") is None


@pytest.mark.parametrize("sender", ["friend@EXAMPLE.com", "any@Good.example", "any@also.example"])
async def test_senders(sender: str) -> None:
    plugin = await a_whitelist()
    tx = a_transaction(sender)
    assert await plugin.hook_mail(tx, tx.reverse_path) == accept()
    assert is_immune(plugin, tx)


@pytest.mark.parametrize("sender", ["", "foe@example.com", "any@sub.good.example", "postmaster"])
async def test_other_senders(sender: str) -> None:
    plugin = await a_whitelist()
    tx = a_transaction(sender)
    assert await plugin.hook_mail(tx, tx.reverse_path) is None
    assert not is_immune(plugin, tx)


async def test_recipients() -> None:
    plugin = await a_whitelist()
    tx = a_transaction()
    assert await plugin.hook_rcpt(tx, a_recipient("User@Example.org")) == accept()
    assert await plugin.hook_rcpt(tx, a_recipient("any@open.example")) == accept()
    assert await plugin.hook_rcpt(tx, a_recipient("other@example.org")) is None
    assert await plugin.hook_rcpt(tx, a_recipient("x%other.test@open.example")) is None
    assert await plugin.hook_rcpt(tx, a_recipient("x＠other.test@open.example")) is None
    assert await plugin.hook_rcpt(tx, a_recipient("postmaster")) is None
    assert tx.notes[RECIPIENTS] == 2


@pytest.mark.parametrize("line", ["per_recipient", "per_recipient 1", "merge per_recipient=yes"])
async def test_per_recipient(line: str) -> None:
    plugin = await a_whitelist(line)
    session = a_session("192.0.2.1")
    assert await plugin.hook_connect(session) is None
    assert await plugin.hook_helo(session, "good.example") is None
    tx = a_transaction("friend@example.com", session=session)
    assert await plugin.hook_mail(tx, tx.reverse_path) is None
    assert not is_immune(plugin, tx)
    for _ in range(2):
        assert await plugin.hook_rcpt(tx, a_recipient("any@elsewhere.test")) is None
    assert tx.whitelisted_sender
    assert (session.whitelisted_host, session.karma) == ("192.0.2.1", 5)


async def test_per_recipient_can_be_off() -> None:
    plugin = await a_whitelist("per_recipient 0")
    assert await plugin.hook_connect(a_session("192.0.2.1")) == accept()


@pytest.mark.parametrize("line", ["host.example", "300.1", "300.1.1.1", "1.2.3.4.5."])
async def test_wrong_hosts(line: str) -> None:
    with pytest.raises(ConfigError, match="whitelisthosts:1: "):
        await a_plugin(Whitelist, config={"whitelisthosts": [line]})
