# SPDX-License-Identifier: MIT
"""auth_oauth: whom tokens let in, what the server is asked, and what clients are told."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from qpsmtpd.api import AuthExchange, Challenge, ConfigError, Verdict, accept, deny
from qpsmtpd.plugins.auth.auth_oauth import AuthOauth
from qpsmtpd.testing import FakeClock, FakeSystem, a_plugin, a_session, findings_of
from tests.stream_server import port_of, stream_server
from tests.unit.logins.fake import assert_temporary

WRONG = deny("Wrong user name or password", status="5.7.8")
USER = "user@example.org"
GOOD = {"active": True, "username": USER, "scope": "mail openid"}
DUMMY = base64.b64encode(b"\x01")


@dataclass
class Server:
    """An authorization server: what it says of each token, and what it was asked."""

    tokens: dict[str, Any] = field(default_factory=lambda: {"good": GOOD})
    status: str = "200 OK"
    place: str = ""
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.place}/introspect"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(head.partition("Content-Length: ")[2].split("\r\n")[0])
        form = parse_qs((await reader.readexactly(size)).decode())
        self.heads.append(head)
        self.asked += form["token"]
        said = self.tokens.get(form["token"][0], {"active": False})
        content = json.dumps(said).encode()
        answer = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        writer.write(answer + content)
        await writer.drain()


@asynccontextmanager
async def a_server(**more: Any) -> AsyncIterator[Server]:
    server = Server(**more)
    async with stream_server(server.talk) as listening:
        server.place = f"127.0.0.1:{port_of(listening)}"
        yield server


def secret(directory: Path, mode: int = 0o600) -> Path:
    path = directory / "secret"
    path.write_text("s3cret!\nmore")
    path.chmod(mode)
    return path


async def the_plugin(tmp_path: Path, url: str, line: str = "", **more: Any) -> AuthOauth:
    words = f"{url} client_id qpsmtpd secret_file {secret(tmp_path)} {line}"
    return await a_plugin(AuthOauth, words, **more)


def a_message(token: str, user: str = "") -> bytes:
    header = f"n,a={user}," if user else "n,,"
    return base64.b64encode(f"{header}\x01auth=Bearer {token}\x01\x01".encode())


async def log_in(
    plugin: AuthOauth, token: str = "good", user: str = ""
) -> tuple[Verdict | None, str, dict[str, Any]]:
    """The verdict, who is logged in, and what the client was told."""
    exchange, told = AuthExchange("OAUTHBEARER", a_message(token, user)), {}
    said = await plugin.hook_auth_exchange(a_session(), exchange)
    if isinstance(said, Challenge):
        told = json.loads(base64.b64decode(said.text))
        exchange.response = DUMMY
        said = await plugin.hook_auth_exchange(a_session(), exchange)
    assert not isinstance(said, Challenge)
    return said, exchange.user, told


async def test_who_is_let_in(tmp_path: Path) -> None:
    async with a_server() as server:
        plugin = await the_plugin(tmp_path, server.url)
        assert await log_in(plugin) == (accept(), USER, {})
        assert await log_in(plugin, user="USER@Example.ORG") == (accept(), USER, {})
        assert await log_in(plugin, "bad") == (WRONG, "", {"status": "invalid_token"})
        basic = base64.b64encode(b"qpsmtpd:s3cret%21").decode()
        assert f"Authorization: Basic {basic}\r\n" in server.heads[0]
        assert server.heads[0].startswith("POST /introspect HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("said", "line", "user", "status"),
    [
        ({"scope": "openid"}, "scope=mail,openid", "", "insufficient_scope"),
        ({"exp": 999.0}, "", "", "invalid_token"),
        ({"aud": "other"}, "audience mail", "", "invalid_token"),
        ({}, "audience mail", "", "invalid_token"),
        ({}, "claim email", "", "invalid_token"),
        ({"username": "us\ner"}, "", "", "invalid_token"),
        ({}, "", "other@example.org", "invalid_token"),
        ({"active": False}, "", "", "invalid_token"),
    ],
)
async def test_who_is_not(
    tmp_path: Path, said: dict[str, Any], line: str, user: str, status: str
) -> None:
    async with a_server(tokens={"good": GOOD | said}) as server:
        plugin = await the_plugin(tmp_path, server.url, line, clock=FakeClock(1000.0))
        verdict, name, told = await log_in(plugin, user=user)
        assert (verdict, name, told["status"]) == (WRONG, "", status)


@pytest.mark.parametrize(
    ("said", "line", "user", "name"),
    [
        ({"scope": "mail x openid"}, "scope=mail,openid", "", USER),
        ({"aud": ["other", "mail"]}, "audience mail", "", USER),
        ({"email": "x@example.org"}, "claim email", "", "x@example.org"),
        ({"username": "user"}, "domain example.org", "user", USER),
        ({"username": "user"}, "domain example.org", "USER@example.org", USER),
        ({"exp": 1001}, "", "", USER),
    ],
)
async def test_options(
    tmp_path: Path, said: dict[str, Any], line: str, user: str, name: str
) -> None:
    async with a_server(tokens={"good": GOOD | said}) as server:
        plugin = await the_plugin(tmp_path, server.url, line, clock=FakeClock(1000.0))
        assert await log_in(plugin, user=user) == (accept(), name, {})


async def test_what_is_remembered_and_for_how_long(tmp_path: Path) -> None:
    clock = FakeClock(1000.0)
    async with a_server(tokens={"good": GOOD | {"exp": 1100.0}}) as server:
        plugin = await the_plugin(tmp_path, server.url, "cache 60", clock=clock)
        for seconds, asked in ((0, 1), (59, 1), (1, 2), (39, 2)):
            clock.advance(seconds)
            assert (await log_in(plugin))[0] == accept()
            assert len(server.asked) == asked
        clock.advance(2)
        assert (await log_in(plugin))[2] == {"status": "invalid_token"}
        for _ in range(2):
            await log_in(plugin, "bad")
        assert server.asked[-2:] == ["bad", "bad"]


async def test_without_memory_each_login_is_asked_about(tmp_path: Path) -> None:
    async with a_server() as server:
        plugin = await the_plugin(tmp_path, server.url, "cache 0")
        for _ in range(2):
            await log_in(plugin)
        assert server.asked == ["good", "good"]


async def test_memory_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpsmtpd.plugins.auth.auth_oauth.MOST_TOKENS", 2)
    async with a_server(tokens=dict.fromkeys("abc", GOOD)) as server:
        plugin = await the_plugin(tmp_path, server.url)
        for token in "abacab":
            await log_in(plugin, token)
        assert server.asked == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        ("401 Unauthorized", GOOD, "client_id and secret may be wrong"),
        ("500 Oh", GOOD, "status 500"),
        ("302 Found", GOOD, "status 302"),
        ("200 OK", {"active": "yes"}, "whether the token is active"),
        ("200 OK", [], "whether the token is active"),
    ],
)
async def test_a_server_that_cannot_tell(
    tmp_path: Path, status: str, said: Any, reason: str
) -> None:
    async with a_server(status=status, tokens={"good": said}) as server:
        plugin = await the_plugin(tmp_path, server.url)
        verdict, name, _ = await log_in(plugin)
        assert reason in assert_temporary(verdict, "good", "s3cret!")
        assert name == ""


async def test_nobody_waits_for_a_server_that_is_down(tmp_path: Path) -> None:
    async with a_server() as server:
        plugin = await the_plugin(tmp_path, server.url)
    verdict, _, _ = await log_in(plugin)
    assert "cannot connect" in assert_temporary(verdict)
    verdict, _, _ = await log_in(plugin)
    assert assert_temporary(verdict).startswith("down: 127.0.0.1")


async def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with stream_server(silent) as listening:
        url = f"http://127.0.0.1:{port_of(listening)}/"
        plugin = await the_plugin(tmp_path, url, "timeout 0.1")
        verdict, _, _ = await log_in(plugin)
        assert "no answer within 0.1s" in assert_temporary(verdict)


@pytest.mark.parametrize(("name", "right"), [("127.0.0.1", True), ("other.example", False)])
async def test_the_certificate_has_to_be_the_servers(
    tmp_path: Path, name: str, right: bool
) -> None:
    ca, server = trustme.CA(), Server()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    async with stream_server(server.talk, ssl=context) as listening:
        url = f"https://127.0.0.1:{port_of(listening)}/"
        plugin = await the_plugin(tmp_path, url, f"ca {tmp_path}/ca.pem")
        verdict, _, _ = await log_in(plugin)
        if right:
            assert verdict == accept()
        else:
            assert "TLS failed" in assert_temporary(verdict)
            assert server.asked == []


# --- the exchange ---------------------------------------------------------------------------


async def test_a_client_may_wait_to_be_asked(tmp_path: Path) -> None:
    async with a_server() as server:
        plugin, exchange = await the_plugin(tmp_path, server.url), AuthExchange("OAUTHBEARER")
        assert await plugin.hook_auth_exchange(a_session(), exchange) == Challenge("")
        exchange.response = a_message("good")
        assert await plugin.hook_auth_exchange(a_session(), exchange) == accept()


@pytest.mark.parametrize("response", [b"=", b"!", base64.b64encode(b"n,,\x01\x01")])
async def test_a_malformed_message(tmp_path: Path, response: bytes) -> None:
    plugin = await the_plugin(
        tmp_path, "http://127.0.0.1:1/", "scope mail configuration https://a/"
    )
    exchange = AuthExchange("OAUTHBEARER", response)
    said = await plugin.hook_auth_exchange(a_session(), exchange)
    assert isinstance(said, Challenge)
    assert json.loads(base64.b64decode(said.text)) == {
        "status": "invalid_request",
        "scope": "mail",
        "openid-configuration": "https://a/",
    }
    for response in (DUMMY, b"", b"*", a_message("good")):
        exchange.response = response
        assert await plugin.hook_auth_exchange(a_session(), exchange) == WRONG


async def test_who_gives_up_has_said_nothing(tmp_path: Path) -> None:
    plugin = await the_plugin(tmp_path, "http://127.0.0.1:1/")
    exchange = AuthExchange("OAUTHBEARER", b"*")
    assert await plugin.hook_auth_exchange(a_session(), exchange) is None
    assert not exchange.refused


async def test_xoauth2_only_if_wanted(tmp_path: Path) -> None:
    message = base64.b64encode(f"user={USER}\x01auth=Bearer good\x01\x01".encode())
    async with a_server() as server:
        plugin = await the_plugin(tmp_path, server.url)
        assert plugin.sasl_mechanisms() == ("OAUTHBEARER",)
        exchange = AuthExchange("XOAUTH2", message)
        assert await plugin.hook_auth_exchange(a_session(), exchange) is None
        plugin = await the_plugin(tmp_path, server.url, "xoauth2 on")
        assert plugin.sasl_mechanisms() == ("OAUTHBEARER", "XOAUTH2")
        assert await plugin.hook_auth_exchange(a_session(), exchange) == accept()


async def test_no_token_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with a_server() as server:
        plugin = await the_plugin(tmp_path, server.url, "scope other")
        for token in ("good", "another-token"):
            await log_in(plugin, token)
    assert "scope too small" in caplog.text
    assert "good" not in caplog.text
    assert "another-token" not in caplog.text


# --- configuration --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "line", "problem"),
    [
        ("http://login.example/", "", "https://HOST"),
        ("https://login.example/", "cache 2h", "cache"),
        ("https://login.example/", "ca /does/not/exist", "ca: /does/not/exist"),
    ],
)
async def test_what_cannot_work(tmp_path: Path, url: str, line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        await the_plugin(tmp_path, url, line)


async def test_a_secret_that_everybody_may_read(tmp_path: Path) -> None:
    path = secret(tmp_path, 0o644)
    with pytest.raises(ConfigError, match=r"secret_file: .* everybody may read"):
        await a_plugin(AuthOauth, f"https://a.example/ client_id x secret_file {path}")


async def test_what_doctor_says(tmp_path: Path) -> None:
    async with a_server() as server:
        plugin = await the_plugin(tmp_path, server.url)
        [fine] = await findings_of(plugin, FakeSystem(tmp_path))
        server.status = "401 Unauthorized"
        [wrong] = await findings_of(plugin, FakeSystem(tmp_path))
    assert (fine.severity.name, fine.text) == ("OK", "answers: an introspection endpoint")
    assert (wrong.severity.name, "client_id" in wrong.text) == ("ERROR", True)
