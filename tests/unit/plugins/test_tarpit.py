# SPDX-License-Identifier: MIT
"""tarpit lets those wait who have given a reason, for so long and so many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from qpsmtpd.api import Answer, ConfigError, Session, deny
from qpsmtpd.plugins.tarpit import LET_GO, Tarpit
from qpsmtpd.testing import FakeChannel, a_plugin, a_recipient, a_session, a_transaction

ALL = "reason karma reason naughty reason listed"


def a_client() -> tuple[Session, FakeChannel]:
    channel = FakeChannel()
    return a_session(ehlo="client.example", channel=channel), channel


def loses_points(session: Session) -> None:
    session.adjust_karma(-3)


def has_a_history(session: Session) -> None:
    session.karma_history = -1


def is_naughty(session: Session) -> None:
    session.deferred_rejects.append("bad host")


def is_listed(session: Session) -> None:
    session.trail.add(Answer("dnsbl:1", "connect", deny("listed"), "tolerated"))


def has_a_listed_sender(session: Session) -> None:
    tx = a_transaction(session=session)
    tx.trail.add(Answer("rhsbl", "mail", deny("listed"), "naughty"))


def is_refused(session: Session) -> None:
    session.trail.add(Answer("helo", "ehlo", deny("no name")))


def loses_a_point(session: Session) -> None:
    session.adjust_karma(-2)


@pytest.mark.parametrize(
    ("does", "line", "waits"),
    [
        (loses_points, "", True),
        (loses_points, "reason karma", True),
        (loses_points, "reason naughty", False),
        (loses_points, "karma 4", False),
        (loses_a_point, "", False),
        (loses_a_point, "karma 2", True),
        (has_a_history, "", True),
        (has_a_history, "reason listed", False),
        (is_naughty, "", True),
        (is_naughty, "reason karma", False),
        (is_listed, "", True),
        (is_listed, "reason karma reason naughty", False),
        (has_a_listed_sender, "reason listed", True),
        (is_refused, ALL, False),
    ],
)
async def test_who_waits(does: Callable[[Session], None], line: str, waits: bool) -> None:
    plugin = await a_plugin(Tarpit, line)
    session, channel = a_client()
    does(session)
    assert await plugin.hook_ehlo(session, "client.example") is None
    assert channel.stalls == [5.0] * waits


async def test_every_reply_but_that_to_the_message() -> None:
    plugin = await a_plugin(Tarpit, "delay 2 session 9")
    session, channel = a_client()
    is_naughty(session)
    tx = a_transaction(session=session)
    for hook in (
        plugin.hook_helo(session, "x"),
        plugin.hook_ehlo(session, "x"),
        plugin.hook_mail(tx, None),
        plugin.hook_rcpt(tx, a_recipient()),
        plugin.hook_data(tx),
        plugin.hook_data(tx),
    ):
        assert await hook is None
    # The last one is what was left of nine seconds.
    assert channel.stalls == [2, 2, 2, 2, 1]
    assert set(Tarpit.hooks()) == {"helo", "ehlo", "mail", "rcpt", "data"}


def is_a_friend(session: Session) -> None:
    session.whitelisted_host = "yes"


def relays(session: Session) -> None:
    session.relay_client = True


@pytest.mark.parametrize("exempt", [is_a_friend, relays])
async def test_who_is_exempt(exempt: Callable[[Session], None]) -> None:
    plugin = await a_plugin(Tarpit)
    session, channel = a_client()
    is_naughty(session)
    exempt(session)
    assert await plugin.hook_ehlo(session, "x") is None
    assert channel.stalls == []


async def test_who_has_to_go() -> None:
    plugin = await a_plugin(Tarpit)
    session, channel = a_client()
    is_naughty(session)
    channel.stays = False
    assert await plugin.hook_ehlo(session, "x") == LET_GO
    assert (LET_GO.code, LET_GO.disconnect) == (421, True)


class Gate(FakeChannel):
    """Lets clients wait until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()

    async def tarpit(self, seconds: float) -> bool:
        self.stalls.append(seconds)
        await self.opened.wait()
        return True


async def test_only_so_many_at_a_time() -> None:
    plugin = await a_plugin(Tarpit, "clients 2")
    gate = Gate()
    sessions = [a_session(channel=gate) for _ in range(3)]
    for session in sessions:
        is_naughty(session)
    waiting = [asyncio.create_task(plugin.hook_ehlo(s, "x")) for s in sessions[:2]]
    while len(gate.stalls) < 2:
        await asyncio.sleep(0)
    assert await plugin.hook_ehlo(sessions[2], "x") is None
    assert len(gate.stalls) == 2
    gate.opened.set()
    await asyncio.gather(*waiting)
    assert await plugin.hook_ehlo(sessions[2], "x") is None
    assert len(gate.stalls) == 3


async def test_who_is_cancelled_leaves_its_place() -> None:
    plugin = await a_plugin(Tarpit, "clients 1")
    gate = Gate()
    session = a_session(channel=gate)
    is_naughty(session)
    task = asyncio.create_task(plugin.hook_ehlo(session, "x"))
    while not gate.stalls:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    gate.opened.set()
    await plugin.hook_ehlo(session, "x")
    assert len(gate.stalls) == 2


async def test_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    plugin = await a_plugin(Tarpit)
    session, _ = a_client()
    is_naughty(session)
    for _ in range(3):
        await plugin.hook_ehlo(session, "x")
    assert caplog.messages == ["has to wait for replies reason=naughty"]


async def test_in_shadow_nobody_waits(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    plugin = await a_plugin(Tarpit)
    plugin.mode = "shadow"
    session, channel = a_client()
    is_naughty(session)
    assert await plugin.hook_ehlo(session, "x") is None
    assert channel.stalls == []
    assert "has to wait" in caplog.text


@pytest.mark.parametrize("line", ["delay 100", "delay soon", "reason bad", "clients 0", "karma 0"])
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(Tarpit, line)
