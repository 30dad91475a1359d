# SPDX-License-Identifier: MIT
"""LIMITS of a next hop: read leniently, kept, and passed on to clients."""

from __future__ import annotations

import pytest

from qpsmtpd.nexthop.hoplimits import HopLimits, least, read_limits
from qpsmtpd.testing import a_plugin, a_recipient, a_session
from tests.unit.nexthop.fake import KEYWORDS, FakeHop
from tests.unit.plugins.queue.test_smtp_forward import a_mail, forwarder, routing, summary


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", HopLimits()),
        ("RCPTMAX=20 MAILMAX=3 RCPTDOMAINMAX=1", HopLimits(20, 3, 1)),
        ("rcptmax=20 X-NEW=5", HopLimits(20)),
        ("RCPTMAX=0 MAILMAX=01 RCPTDOMAINMAX=1000000", HopLimits()),
        ("RCPTMAX RCPTMAX= MAILMAX=x RCPTDOMAINMAX=-1", HopLimits()),
    ],
)
def test_reading(text: str, limits: HopLimits) -> None:
    assert read_limits(text) == limits


def test_the_least() -> None:
    assert (least([0, 5, 3]), least([0]), least([])) == (3, 0, 0)


async def test_recipients_beyond_the_limit_take_another_transaction() -> None:
    hop = FakeHop(keywords=(*KEYWORDS, "LIMITS RCPTMAX=2 RCPTDOMAINMAX=1"))
    async with hop, forwarder(hop) as plugin:
        tx = a_mail("a@x.test", "b@x.test")
        third = a_recipient("c@x.test")
        assert await plugin.hook_verify_recipient(tx, third) is None  # nobody knows the limit yet
        assert (await plugin.hook_queue(a_mail())).accepted
        wanted = ("defer", 452, "4.5.3")
        assert summary(await plugin.hook_verify_recipient(tx, third)) == wanted
        one = a_mail("a@x.test")
        assert await plugin.hook_verify_recipient(one, third) is None
        elsewhere = a_recipient("c@y.test")
        assert summary(await plugin.hook_verify_recipient(one, elsewhere)) == wanted


async def test_lmtp_as_well() -> None:
    from qpsmtpd.plugins.queue.lmtp import Lmtp

    async with FakeHop(keywords=("LIMITS RCPTMAX=1",), lmtp=True) as hop:
        plugin = await a_plugin(Lmtp, f"127.0.0.1 {hop.port}", name="queue/lmtp")
        assert (await plugin.hook_queue(a_mail())).accepted
        refusal = await plugin.hook_verify_recipient(a_mail("a@x.test"), a_recipient("b@x.test"))
        await plugin.stop()
    assert summary(refusal) == ("defer", 452, "4.5.3")


async def test_messages_of_a_connection() -> None:
    hop = FakeHop(keywords=(*KEYWORDS, "LIMITS MAILMAX=2"))
    async with hop, forwarder(hop) as plugin:
        for _ in range(4):
            assert (await plugin.hook_queue(a_mail())).accepted
    assert hop.connections == 2


async def test_what_clients_are_told() -> None:
    hop = FakeHop(keywords=("LIMITS RCPTMAX=50 RCPTDOMAINMAX=3",))
    async with hop, forwarder(hop) as plugin:
        session = a_session()
        session.capabilities = ["SMTPUTF8", "LIMITS RCPTMAX=1000"]
        await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == ["SMTPUTF8", "LIMITS RCPTMAX=1000"]
        assert (await plugin.hook_queue(a_mail())).accepted
        await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == ["LIMITS RCPTMAX=50 RCPTDOMAINMAX=3"]


async def test_several_next_hops_are_for_one_domain_at_a_time() -> None:
    async with routing(FakeHop(), FakeHop()) as plugin:
        session = a_session()
        await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == ["LIMITS RCPTDOMAINMAX=1"]


async def test_a_next_hop_without_esmtp_takes_no_smtputf8() -> None:
    hop = FakeHop(EHLO="500 what?")
    async with hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        session = a_session()
        session.capabilities = ["SMTPUTF8"]
        await plugin.hook_ehlo(session, "client.example")
    assert session.capabilities == []
