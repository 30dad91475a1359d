# SPDX-License-Identifier: MIT
"""queue/postfix-queue: sockets, flags, and what the client hears."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.verdict import Decision, Verdict
from qpsmtpd.nexthop.cleanup import CleanupFlag
from qpsmtpd.plugins.queue import postfix_queue
from qpsmtpd.plugins.queue.postfix_queue import DEFAULT_SOCKET, PostfixQueue
from qpsmtpd.testing import a_plugin, a_recipient, a_session, a_transaction
from tests.unit.fake_cleanup import QUEUE_ID, FakeCleanup, attributes, listening
from tests.unit.nexthop.fake import FakeHop


def a_message_on_its_way() -> Transaction:
    return a_transaction("s@example.com", "u@example.test", message="\nHi\n")


async def verdict_on(tmp_path: Path, status: int, reason: str = "") -> Verdict:
    fake = FakeCleanup(answer=attributes(status=status, reason=reason))
    plugin = await a_plugin(PostfixQueue, f"{tmp_path}/cleanup")
    async with listening(fake, tmp_path / "cleanup"):
        return await plugin.hook_queue(a_message_on_its_way())


async def test_offers_dsn() -> None:
    plugin = await a_plugin(PostfixQueue, "")
    session = a_session()
    await plugin.hook_ehlo(session, "client.example")
    assert session.capabilities == ["DSN"]


async def test_accepted(tmp_path: Path) -> None:
    fake = FakeCleanup()
    plugin = await a_plugin(PostfixQueue, f"{tmp_path}/cleanup")
    tx = a_message_on_its_way()
    async with listening(fake, tmp_path / "cleanup"):
        verdict = await plugin.hook_queue(tx)
    assert verdict.decision is Decision.ACCEPT
    assert verdict.text == f"Queued as {QUEUE_ID}"
    assert tx.next_hop_id == QUEUE_ID
    assert {recipient.success for recipient in tx.recipients} == {"none"}
    assert fake.flags == CleanupFlag.FLAG_MASK_EXTERNAL == 2 | 64 | 16 | 32


async def test_a_message_that_is_to_be_held(tmp_path: Path) -> None:
    fake = FakeCleanup()
    plugin = await a_plugin(PostfixQueue, f"{tmp_path}/cleanup")
    assert plugin.can_hold
    tx = a_message_on_its_way()
    tx.hold("a virus")
    async with listening(fake, tmp_path / "cleanup"):
        await plugin.hook_queue(tx)
    assert fake.flags == CleanupFlag.FLAG_MASK_EXTERNAL | CleanupFlag.FLAG_HOLD


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        ("FLAG_HOLD", 4),
        ("FLAG_FILTER FLAG_BCC_OK", 18),
        ("FLAG_MASK_EXTERNAL FLAG_DISCARD", 122),
        ("FLAG_NONE", 0),
        ("flags=FLAG_HOLD,FLAG_MAP_OK", 36),
    ],
)
async def test_flags(tmp_path: Path, arguments: str, flags: int) -> None:
    fake = FakeCleanup()
    plugin = await a_plugin(PostfixQueue, f"{tmp_path}/cleanup {arguments}")
    async with listening(fake, tmp_path / "cleanup"):
        await plugin.hook_queue(a_message_on_its_way())
    assert fake.flags == flags


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (256, "", (Decision.DEFER, "4.7.1")),
        (128, "", (Decision.DEFER, "4.3.0")),
        (2, "", (Decision.DEFER, "4.3.0")),
        (1, "", (Decision.DEFER, "4.3.0")),
        (64, "", (Decision.DENY, "5.1.0")),
        (16, "", (Decision.DENY, "5.4.6")),
        (4, "", (Decision.DENY, "5.3.4")),
        (8, "", (Decision.DENY, "5.7.1")),
        (512, "", (Decision.DENY, "5.7.1")),
        (4 | 2, "", (Decision.DEFER, "4.3.0")),
        (8 | 256, "", (Decision.DEFER, "4.7.1")),
        (1024, "", (Decision.DEFER, "4.3.0")),
        (8, "5.7.9 no such subject", (Decision.DENY, "5.7.9")),
        (8, "4.7.9 a contradiction", (Decision.DENY, "5.7.1")),
        (256, "4.7.5 later", (Decision.DEFER, "4.7.5")),
    ],
)
async def test_refusals(
    tmp_path: Path, status: int, reason: str, expected: tuple[Decision, str]
) -> None:
    verdict = await verdict_on(tmp_path, status, reason)
    assert (verdict.decision, verdict.status) == expected
    assert verdict.text


@pytest.mark.parametrize(
    ("status", "reason", "text"),
    [
        (8, "5.7.1 no thanks", "no thanks"),
        (8, "no thanks", "no thanks"),
        (256, "4.7.1 later", "later"),
        (8, "5.7.1 nö\r\nQUIT", "n???QUIT"),
        (8, "", "Message content rejected"),
        (2, "4.3.0 disk on fire", "Mail system cannot store mail now"),
        (8, "5.7.1 " + "x" * 500, "x" * 200),
    ],
)
async def test_words_of_postfix(tmp_path: Path, status: int, reason: str, text: str) -> None:
    assert (await verdict_on(tmp_path, status, reason)).text == text


async def test_postfix_is_not_there(tmp_path: Path) -> None:
    plugin = await a_plugin(PostfixQueue, f"{tmp_path}/cleanup")
    verdict = await plugin.hook_queue(a_message_on_its_way())
    assert (verdict.decision, verdict.status) == (Decision.DEFER, "4.3.0")
    assert verdict.text == "Mail system not available"


async def test_postfix_leaves(tmp_path: Path) -> None:
    plugin = await a_plugin(PostfixQueue, f"{tmp_path}/cleanup")
    tx = a_message_on_its_way()
    async with listening(FakeCleanup(leave=True), tmp_path / "cleanup"):
        verdict = await plugin.hook_queue(tx)
    assert (verdict.decision, verdict.status) == (Decision.DEFER, "4.3.0")
    assert tx.next_hop_id == ""


async def test_which_sockets(tmp_path: Path) -> None:
    environment = {"POSTFIXQUEUE": "/of/environment"}
    config = {"cleanup_sockets": ["/of/file", "localhost:10025", "[::1]:25"]}
    everything = await a_plugin(PostfixQueue, "/of/line", config=config, environment=environment)
    assert everything._sockets == ["/of/environment"]
    without = await a_plugin(PostfixQueue, "/of/line", config=config)
    assert without._sockets == ["/of/file", "localhost:10025", "[::1]:25"]
    assert (await a_plugin(PostfixQueue, "/of/line"))._sockets == ["/of/line"]
    assert (await a_plugin(PostfixQueue, "FLAG_HOLD"))._sockets == [DEFAULT_SOCKET]


async def test_next_socket_when_one_is_dead(tmp_path: Path) -> None:
    config = {"cleanup_sockets": [f"{tmp_path}/dead", f"{tmp_path}/alive"]}
    plugin = await a_plugin(PostfixQueue, config=config)
    async with listening(FakeCleanup(), tmp_path / "alive"):
        verdict = await plugin.hook_queue(a_message_on_its_way())
    assert verdict.decision is Decision.ACCEPT


async def test_message_goes_to_one_socket_only(tmp_path: Path) -> None:
    other = FakeCleanup()
    config = {"cleanup_sockets": [f"{tmp_path}/one", f"{tmp_path}/two"]}
    plugin = await a_plugin(PostfixQueue, config=config)
    async with (
        listening(FakeCleanup(leave=True), tmp_path / "one"),
        listening(other, tmp_path / "two"),
    ):
        await plugin.hook_queue(a_message_on_its_way())
    assert other.connections == 0


@pytest.mark.parametrize("line", ["relative/path", "FLAG_NOTHING", "/a timeout soon", "host:"])
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(PostfixQueue, line)


async def test_wrong_file() -> None:
    with pytest.raises(ConfigError, match="cleanup_sockets:2"):
        await a_plugin(PostfixQueue, config={"cleanup_sockets": ["/a", "b"]})


# --- who is known ---------------------------------------------------------------------------

POSTFIX = "220 debian.example.org ESMTP Postfix (Debian/GNU)"
UNKNOWN = "550 5.1.1 <u@example.test>: Recipient address rejected: User unknown in local table"


async def answer_of(plugin: PostfixQueue) -> str:
    verification = await plugin.knows_recipient(a_recipient("u@example.test"), None)
    await plugin.stop()
    return verification.answer


@pytest.mark.parametrize(("reply", "answer"), [("250 2.1.5 Ok", "known"), (UNKNOWN, "unknown")])
async def test_the_place_that_is_named_is_asked(tmp_path: Path, reply: str, answer: str) -> None:
    async with FakeHop(RCPT=reply) as hop:
        assert await answer_of(await a_plugin(PostfixQueue, f"ask=127.0.0.1:{hop.port}")) == answer
    async with FakeHop(RCPT=reply, path=tmp_path / "smtpd"):
        assert await answer_of(await a_plugin(PostfixQueue, f"ask={tmp_path}/smtpd")) == answer


@pytest.mark.parametrize(
    ("greeting", "asked"),
    [
        (POSTFIX, (1, 0)),
        ("220 mx.example ESMTP qpsmtpd 2.0 ready", (0, 1)),
        ("220 mx.example ESMTP Exim 4.98", (0, 1)),
        ("554 5.3.2 no", (0, 1)),
    ],
)
async def test_where_postfix_is_asked(
    tmp_path: Path, greeting: str, asked: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What greets on loopback without that name may be anybody, also ourselves."""
    monkeypatch.setattr(postfix_queue, "SMTP_SOCKET", f"{tmp_path}/smtpd")
    async with FakeHop(greeting=greeting) as loopback, FakeHop(path=tmp_path / "smtpd") as unit:
        monkeypatch.setattr(postfix_queue, "LOOPBACK", f"127.0.0.1:{loopback.port}")
        assert await answer_of(await a_plugin(PostfixQueue)) == "known"
        assert (loopback.verbs().count("RCPT"), unit.verbs().count("RCPT")) == asked


async def test_nobody_is_refused_when_postfix_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postfix_queue, "SMTP_SOCKET", f"{tmp_path}/smtpd")
    async with FakeHop() as hop:
        monkeypatch.setattr(postfix_queue, "LOOPBACK", f"127.0.0.1:{hop.port}")
    assert await answer_of(await a_plugin(PostfixQueue)) == "unavailable"


async def test_wrong_places() -> None:
    for place in ("127.0.0.1", "smtpd", "127.0.0.1:x"):
        with pytest.raises(ConfigError):
            await a_plugin(PostfixQueue, f"ask={place}")
