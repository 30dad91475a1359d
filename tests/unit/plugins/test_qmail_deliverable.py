# SPDX-License-Identifier: MIT
"""qmail_deliverable: what the daemon is asked, and that only one of its numbers refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import ConfigError
from qpsmtpd.plugins.qmail_deliverable import QmailDeliverable
from qpsmtpd.recipients.qmail import MEANINGS, Routes, parse_number
from qpsmtpd.scanners import ScannerError
from qpsmtpd.testing import FakeSystem, a_plugin, a_session, a_transaction, findings_of
from tests.unit.client import on_both_loops
from tests.unit.recipients.asking import LATER, NOBODY, OURS, USER, reply
from tests.unit.scanners.fake import (
    NONSENSE,
    SILENT,
    Answer,
    Early,
    fake_scanner,
    with_content_length,
)

NO = "0 5.1.1 Sorry, no mailbox by that name"
LIST = "0 5.7.1 Mailing lists do not accept null senders"


def said(number: object) -> bytes:
    text = str(number)
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


UNREADABLE = b"HTTP/1.1 204 No Content\r\n\r\n"


async def asker(line: str, **lent: Any) -> QmailDeliverable:
    lent.setdefault("config", OURS)
    return await a_plugin(QmailDeliverable, line, **lent)


async def replied(answer: Answer, line: str = "", address: str = NOBODY, **more: Any) -> str:
    async with fake_scanner(with_content_length, answer) as daemon:
        return await reply(await asker(f"server {daemon.place} {line}"), address, **more)


@on_both_loops
async def test_the_question() -> None:
    async with fake_scanner(with_content_length, said(0)) as daemon:
        plugin = await asker(f"server {daemon.place}")
        assert await reply(plugin, '"User+x y&"@Example.test') == NO
    [request] = daemon.requests
    head = b"GET /qd1/deliverable?User%2Bx%20y%26%40example.test HTTP/1.1\r\n"
    assert request.startswith(head)
    assert f"\r\nHost: {daemon.place}\r\n".encode() in request


@pytest.mark.parametrize("number", range(256))
async def test_numbers(number: int) -> None:
    if number == 0x2F:
        with pytest.raises(ScannerError):
            parse_number(b"47")
    else:
        assert parse_number(f" {number}\r\n".encode()) == number


@pytest.mark.parametrize("number", [*sorted(MEANINGS), 0x55])
async def test_only_a_clear_no_refuses(number: int) -> None:
    assert await replied(said(number)) == ("" if number else NO)


@given(st.binary(max_size=20))
def test_what_is_no_number(content: bytes) -> None:
    try:
        number = parse_number(content)
    except ScannerError:
        return
    assert content.strip().isdigit()
    assert 0 <= number <= 255


async def test_an_address_that_it_cannot_read() -> None:
    """That is no failure of the daemon."""
    async with fake_scanner(with_content_length, UNREADABLE) as daemon:
        plugin = await asker(f"server {daemon.place} on_error defer")
        assert [await reply(plugin, NOBODY) for _ in range(5)] == [""] * 5


async def test_a_mailing_list_and_the_null_sender() -> None:
    async with fake_scanner(with_content_length, said(0x14)) as daemon:
        plugin = await asker(f"server {daemon.place}")
        assert await reply(plugin, USER) == ""
        assert await reply(plugin, USER, a_transaction("")) == LIST


async def test_karma_and_reject() -> None:
    async with fake_scanner(with_content_length, said(0)) as daemon:
        for line, verdict in (("", NO), ("reject 0", ""), ("reject naughty", "")):
            session = a_session(ehlo="client.example")
            tx = a_transaction(session=session)
            assert await reply(await asker(f"server {daemon.place} {line}"), NOBODY, tx) == verdict
            assert session.karma == -1
            assert bool(session.deferred_rejects) is ("naughty" in line)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("nobody@elsewhere.example", {}),
        ("postmaster", {}),
        (NOBODY, {"relay_client": True}),
        ("nobody@elsewhere.example", {"relay_client": True}),
    ],
)
async def test_who_is_not_asked_about(address: str, client: dict[str, Any]) -> None:
    async with fake_scanner(with_content_length, said(0)) as daemon:
        assert await reply(await asker(f"server {daemon.place}"), address, **client) == ""
    assert not daemon.requests


@pytest.mark.parametrize(("line", "verdict"), [("", ""), ("on_error defer", LATER)])
@pytest.mark.parametrize(
    "lie",
    [
        *NONSENSE,
        said(256),
        said("x"),
        said(47),
        b"HTTP/1.0 500 \r\n\r\n0",
        b"HTTP/1.0 403 \r\n\r\n0",
    ],
    ids=lambda lie: repr(lie)[:30],
)
async def test_nonsense(lie: Answer, line: str, verdict: str) -> None:
    seconds = 0.3 if lie == SILENT or isinstance(lie, Early) else 20
    assert await replied(lie, f"{line} timeout {seconds}") == verdict


@pytest.mark.parametrize(("line", "verdict"), [("", ""), ("on_error defer", LATER)])
async def test_nobody_there(line: str, verdict: str, nowhere: str) -> None:
    assert await reply(await asker(f"server {nowhere} {line}"), NOBODY) == verdict


# --- smtproutes -----------------------------------------------------------------------------

ROUTES = """\
example.test:127.0.0.1
.below.test:[127.0.0.2]:26
deep.below.test:
nonsense
"""


def test_routes() -> None:
    routes = Routes(ROUTES.splitlines())
    hosts = {
        "example.test": "127.0.0.1",
        "a.below.test": "127.0.0.2",
        "a.b.below.test": "127.0.0.2",
    }
    for domain, host in hosts.items():
        assert routes.host(domain) == host
    for domain in ("deep.below.test", "elsewhere.example", "test", ""):
        assert routes.host(domain) == ""
    assert routes.hosts == {"127.0.0.1", "127.0.0.2"}
    assert Routes([":192.0.2.9"]).host("elsewhere.example") == "192.0.2.9"


@given(st.lists(st.text()), st.text())
def test_any_routes(lines: list[str], domain: str) -> None:
    routes = Routes(lines)
    assert routes.host(domain) in routes.hosts | {""}


@pytest.mark.parametrize("fallback", ["", "127.0.0.1:"])
async def test_the_server_of_the_domain(tmp_path: Path, fallback: str) -> None:
    (tmp_path / "routes").write_text("example.test:127.0.0.1\nother.test:\n")
    config = {"rcpthosts": ["example.test", "other.test"]}
    async with fake_scanner(with_content_length, said(0)) as daemon:
        port = daemon.place.rpartition(":")[2]
        line = f"server smtproutes:{fallback}{port} routes {tmp_path}/routes"
        plugin = await asker(line, config=config)
        assert await reply(plugin, NOBODY) == NO
        assert await reply(plugin, "nobody@other.test") == (NO if fallback else "")


async def test_a_host_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "routes").write_text("example.test:a/b\n")
    plugin = await asker(f"server smtproutes:8998 routes {tmp_path}/routes")
    assert await reply(plugin, NOBODY) == ""
    assert "'a/b' is not a host" in str(plugin.services.config.warnings)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "line",
    [
        "server x y",
        "server smtproutes:",
        "server smtproutes:99999",
        "server smtproutes:a/b:8998",
        "server smtproutes:8998 routes /none",
        "reject 2",
        "on_error deny",
    ],
)
async def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError):
        await asker(line)


async def test_defaults_of_the_perl_version() -> None:
    plugin = await asker("vpopmail_ext 1")
    assert plugin.options.server == "127.0.0.1:8998"
    assert "no effect" in str(plugin.services.config.warnings)  # type: ignore[attr-defined]
    await asker("server 192.0.2.1")


async def test_examine() -> None:
    system = FakeSystem(Path("/"))
    async with fake_scanner(with_content_length, said(0xF1)) as daemon:
        [finding] = await findings_of(await asker(f"server {daemon.place}"), system)
        assert "answers: deliverable" in str(finding)
    [finding] = await findings_of(await asker(f"server {daemon.place}"), system)
    assert "cannot connect" in str(finding)
