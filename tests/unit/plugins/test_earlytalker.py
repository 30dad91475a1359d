# SPDX-License-Identifier: MIT
"""earlytalker: clients that do not wait, at connect and at DATA."""

from collections.abc import Callable

import pytest

from qpsmtpd.api import ConfigError, Decision, Session, Verdict
from qpsmtpd.plugins.earlytalker import TALKED, WAIT, Earlytalker
from qpsmtpd.testing import FakeChannel, a_plugin, a_session, a_transaction

GREETING = "You must not send before the greeting"


def denied(verdict: Verdict | None) -> tuple[Decision, str, bool] | None:
    return (verdict.decision, verdict.status, verdict.disconnect) if verdict else None


PERM = (Decision.DENY, "5.5.1", False)
TEMP = (Decision.DEFER, "4.5.1", False)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", PERM),
        ("reject 1", PERM),
        ("reject 0", None),
        ("reject naughty", None),
        ("reject_type temp", TEMP),
        ("reject_type disconnect", (Decision.DENY, "5.5.1", True)),
        ("wait 3 check-at CONNECT", PERM),
        ("check-at CONNECT check-at DATA", PERM),
        ("check-at DATA", None),
        ("action deny", PERM),
        ("action denysoft", TEMP),
        ("action=denysoft", TEMP),
        ("action denysoft reject_type perm", PERM),
        ("action log", None),
        ("action log reject 1", PERM),
        ("defer-reject 1", None),
        ("action denysoft defer-reject", None),
    ],
)
async def test_an_early_talker_at_connect(
    line: str, expected: tuple[Decision, str, bool] | None
) -> None:
    plugin = await a_plugin(Earlytalker, line)
    verdict = await plugin.hook_connect(a_session(early=True))
    assert denied(verdict) == expected
    assert verdict is None or verdict.text == GREETING


async def test_it_costs_karma_and_is_noted() -> None:
    plugin = await a_plugin(Earlytalker, "reject naughty")
    session = a_session(early=True)
    await plugin.hook_connect(session)
    assert (session.karma, session.notes.get(TALKED)) == (-1, True)
    assert session.deferred_rejects == [GREETING]


async def test_who_waits_passes() -> None:
    plugin = await a_plugin(Earlytalker, "check-at CONNECT check-at DATA defer-reject 1")
    session = a_session()
    assert await plugin.hook_connect(session) is None
    assert await plugin.hook_mail(a_transaction(session=session), None) is None
    assert await plugin.hook_data(a_transaction(session=session)) is None
    assert session.karma == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("defer-reject 1", TEMP),
        ("defer-reject", TEMP),
        ("action deny defer-reject", PERM),
        ("defer-reject 0", None),
        ("defer-reject 1 reject_type perm", PERM),
        ("defer-reject 1 reject_type disconnect", (Decision.DENY, "5.5.1", True)),
        ("defer-reject 1 reject 0", None),
        ("", None),
    ],
)
async def test_refused_at_mail(line: str, expected: tuple[Decision, str, bool] | None) -> None:
    plugin = await a_plugin(Earlytalker, line)
    session = a_session(early=True)
    await plugin.hook_connect(session)
    verdict = await plugin.hook_mail(a_transaction(session=session), None)
    assert denied(verdict) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [("check-at DATA", PERM), ("check-at DATA check-at CONNECT", PERM), ("", None)],
)
async def test_refused_at_data(line: str, expected: tuple[Decision, str, bool] | None) -> None:
    plugin = await a_plugin(Earlytalker, line)
    tx = a_transaction(session=a_session(early=True))
    assert denied(await plugin.hook_data(tx)) == expected
    assert tx.session.karma == (-1 if expected else 0)


def whitelisted(session: Session) -> None:
    session.whitelisted_host = "a friend"


def relays(session: Session) -> None:
    session.relay_client = True


def good(session: Session) -> None:
    session.karma_history = 6


@pytest.mark.parametrize("exempt", [whitelisted, relays, good])
async def test_the_exempt_do_not_wait(exempt: Callable[[Session], None]) -> None:
    plugin = await a_plugin(Earlytalker, "check-at CONNECT check-at DATA")
    session = a_session(early=True)
    exempt(session)
    assert await plugin.hook_connect(session) is None
    assert await plugin.hook_data(a_transaction(session=session)) is None


async def test_a_history_of_5_is_not_good_enough() -> None:
    plugin = await a_plugin(Earlytalker)
    session = a_session(early=True)
    session.karma_history = 5
    assert await plugin.hook_connect(session) is not None


async def test_how_long_is_waited() -> None:
    channel = FakeChannel()
    for line in ("", "wait 5"):
        await (await a_plugin(Earlytalker, line)).hook_connect(a_session(channel=channel))
    session = a_session(channel=channel)
    session.notes[WAIT] = 0.5
    await (await a_plugin(Earlytalker)).hook_connect(session)
    assert channel.waits == [1, 5, 0.5]


@pytest.mark.parametrize("line", ["check-at HELO", "wait soon", "action bounce", "wait"])
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(Earlytalker, line)


async def test_a_teaser_only_where_it_is_wanted() -> None:
    for line, teased in (("", False), ("teaser", True), ("teaser check-at DATA", False)):
        channel = FakeChannel()
        await (await a_plugin(Earlytalker, line)).hook_connect(a_session(channel=channel))
        assert channel.teased is teased
    channel = FakeChannel()
    plugin = await a_plugin(Earlytalker, "teaser check-at CONNECT check-at DATA")
    await plugin.hook_data(a_transaction(session=a_session(channel=channel)))
    assert not channel.teased


async def test_it_decides_about_early_talkers_unless_it_is_only_tried() -> None:
    for line, mode, decides in (
        ("", "enforce", True),
        ("", "tag", True),
        ("", "shadow", False),
        ("check-at DATA", "enforce", False),
    ):
        plugin = await a_plugin(Earlytalker, line)
        plugin.mode = mode  # type: ignore[assignment]
        session = a_session()
        await plugin.hook_connect(session)
        assert session.early_talk_is_judged is decides


def talks_late() -> Session:
    """After we have looked, and before the end of the greeting."""
    session = a_session()
    session.talked_early = True
    return session


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", PERM),
        ("teaser", PERM),
        ("defer-reject", TEMP),
        ("reject 0", None),
        ("reject naughty", None),
        ("check-at DATA", None),
    ],
)
async def test_who_talks_late_is_refused_at_mail(
    line: str, expected: tuple[Decision, str, bool] | None
) -> None:
    plugin = await a_plugin(Earlytalker, line)
    session = talks_late()
    for _ in range(2):
        tx = a_transaction(session=session)
        assert denied(await plugin.hook_mail(tx, tx.reverse_path)) == expected
    assert session.karma == (0 if "DATA" in line else -1)
    assert session.deferred_rejects == [GREETING] * ("naughty" in line)


@pytest.mark.parametrize("exempt", [whitelisted, relays, good])
async def test_the_exempt_may_talk_late(exempt: Callable[[Session], None]) -> None:
    plugin = await a_plugin(Earlytalker)
    session = talks_late()
    exempt(session)
    assert await plugin.hook_mail(a_transaction(session=session), None) is None


async def test_who_was_noticed_before_is_not_late() -> None:
    plugin = await a_plugin(Earlytalker, "reject naughty")
    session = a_session(early=True)
    await plugin.hook_connect(session)
    session.talked_early = True
    assert await plugin.hook_mail(a_transaction(session=session), None) is None
    assert (session.karma, session.deferred_rejects) == (-1, [GREETING])
