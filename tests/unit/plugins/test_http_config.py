# SPDX-License-Identifier: MIT
"""http_config: which files come from the server, and what happens when it is gone or mad."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from qpsmtpd.api import ConfigError
from qpsmtpd.config.loader import load
from qpsmtpd.config.problems import ConfigErrors
from qpsmtpd.plugins.http_config import HttpConfig
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of, serve
from tests.unit.client import Client, on_both_loops
from tests.unit.scanners.fake import NONSENSE, SILENT, Answer, Early, fake_scanner
from tests.web_server import PAGE, WebServer, dead_web_server, web_server

LINES = [b"# comment", b"", b" a@example.com ", b"b@example.com\r"]
FILES = {"/badmailfrom": b"\n".join(LINES), "/empty": b"# nothing\n"}
WANTED = ["a@example.com", "b@example.com"]


async def asker(line: str, directory: Path, **lent: Any) -> HttpConfig:
    return await a_plugin(HttpConfig, f"{line} directory {directory}/kept", **lent)


async def test_what_the_server_has(tmp_path: Path) -> None:
    async with web_server(FILES) as server:
        plugin = await asker(server.url, tmp_path)
        assert await plugin.hook_config("badmailfrom") == WANTED
        assert await plugin.hook_config("empty") is None
        assert await plugin.hook_config("peers/0?x") is None
        assert server.asked == ["/badmailfrom", "/empty", "/peers/0%3Fx"]


async def test_each_file_is_fetched_once(tmp_path: Path) -> None:
    async with web_server(FILES) as server:
        plugin = await asker(server.url, tmp_path)
        for _ in range(3):
            assert await plugin.hook_config("badmailfrom") == WANTED
            assert await plugin.hook_config("missing") is None
        assert server.asked == ["/badmailfrom", "/missing"]


async def test_the_first_that_has_lines_counts(tmp_path: Path) -> None:
    async with web_server({}) as first, web_server(FILES) as second:
        first.files["/a/badmailfrom"] = b"#\n"
        plugin = await asker(f"{first.url}a/ {second.url}", tmp_path)
        assert await plugin.hook_config("badmailfrom") == WANTED
        assert first.asked == ["/a/badmailfrom"]


async def test_only_some_files(tmp_path: Path) -> None:
    async with web_server(FILES) as server:
        plugin = await asker(f"{server.url} files badmailfrom,missing", tmp_path)
        assert await plugin.hook_config("rcpthosts") is None
        assert await plugin.hook_config("badmailfrom") == WANTED
        with pytest.raises(ConfigError, match=r"/missing: answers HTTP status 404"):
            await plugin.hook_config("missing")
        assert server.asked == ["/badmailfrom", "/missing"]


# --- failures -------------------------------------------------------------------------------

BAD: list[Answer] = [
    *NONSENSE,
    PAGE.format("500 Oops", 0).encode(),
    PAGE.format("403 Forbidden", 0).encode(),
    PAGE.format("302 Found", 0).encode(),
    PAGE.format("204 No Content", 0).encode(),
    PAGE.format("200 OK", 3 << 20).encode(),
    PAGE.format("200 OK", 10).encode() + b"a@b",
    b"HTTP/1.0 200 OK\r\n\r\na@example.org\n",
    PAGE.format("200 OK", 15).encode() + b"<!DOCTYPE html>",
    PAGE.format("200 OK", 3).encode() + b"a\0b",
    PAGE.format("200 OK", 1).encode() + b"\xff",
]


@pytest.mark.parametrize("lie", BAD, ids=lambda lie: repr(lie)[-30:])
async def test_what_is_no_file(lie: Answer, tmp_path: Path, caplog: Any) -> None:
    """Without a copy there is no configuration; with one, that is used."""
    seconds = 0.3 if lie == SILENT or isinstance(lie, Early) else 20
    async with fake_scanner(lambda request: request.endswith(b"\r\n\r\n"), lie) as server:
        line = f"http://{server.place}/ timeout {seconds}"
        with pytest.raises(ConfigError, match="there is no copy"):
            await (await asker(line, tmp_path)).hook_config("badmailfrom")
        plugin = await asker(line, tmp_path)
        plugin._copies.write(await url_of(plugin, "badmailfrom"), "kept@example.com\n")
        assert await plugin.hook_config("badmailfrom") == ["kept@example.com"]
    assert "the copy that is kept is used" in caplog.text


async def url_of(plugin: HttpConfig, name: str) -> Any:
    from qpsmtpd.scanners.fetching import parse_url

    return parse_url(plugin.options.urls[0] + name)


async def until_gone(server: WebServer, directory: Path) -> HttpConfig:
    """The plugin of a server that once had its files."""
    plugin = await asker(server.url, directory)
    assert await plugin.hook_config("badmailfrom") == WANTED
    return await asker(server.url, directory)


async def test_copies_outlive_the_server(tmp_path: Path) -> None:
    async with web_server(FILES) as server:
        plugin = await until_gone(server, tmp_path)
    assert await plugin.hook_config("badmailfrom") == WANTED
    [copy] = (tmp_path / "kept").iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigError, match="there is no copy"):
        await plugin.hook_config("missing")


async def test_a_file_that_was_there_is_not_withdrawn_by_404(tmp_path: Path) -> None:
    async with web_server(FILES) as server:
        plugin = await until_gone(server, tmp_path)
        del server.files["/badmailfrom"]
        assert await plugin.hook_config("badmailfrom") == WANTED
        server.files["/badmailfrom"] = b""
        assert await (await asker(server.url, tmp_path)).hook_config("badmailfrom") is None
        del server.files["/badmailfrom"]
        assert await (await asker(server.url, tmp_path)).hook_config("badmailfrom") is None


async def test_a_new_version_replaces_the_copy(tmp_path: Path) -> None:
    async with web_server(FILES) as server:
        plugin = await until_gone(server, tmp_path)
        server.files["/badmailfrom"] = b"new@example.com\n"
        assert await plugin.hook_config("badmailfrom") == ["new@example.com"]
    plugin = await asker(server.url, tmp_path)
    assert await plugin.hook_config("badmailfrom") == ["new@example.com"]
    assert len(list((tmp_path / "kept").iterdir())) == 1


async def test_other_urls_have_other_copies(tmp_path: Path) -> None:
    async with web_server(FILES) as server:
        await until_gone(server, tmp_path)
    with pytest.raises(ConfigError, match="there is no copy"):
        await (await asker(f"{server.url}x/", tmp_path)).hook_config("badmailfrom")


async def test_who_is_down_is_asked_once(tmp_path: Path) -> None:
    async with web_server(FILES) as server:
        plugin = await asker(f"{server.url} timeout 0.2", tmp_path)
        server.silent = True
        for name in ("badmailfrom", "rcpthosts", "badhelo"):
            with pytest.raises(ConfigError, match="no answer within"):
                await plugin.hook_config(name)
        assert server.asked in ([], ["/badmailfrom"])  # in time, on a busy machine, or not


async def test_checking_keeps_nothing(tmp_path: Path) -> None:
    async with web_server(FILES) as server:
        plugin = await asker(server.url, tmp_path, check_only=True)
        assert await plugin.hook_config("badmailfrom") == WANTED
    assert not (tmp_path / "kept").exists()


async def test_no_room_for_copies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kept").write_text("in the way")
    async with web_server(FILES) as server:
        plugin = await asker(server.url, tmp_path)
        assert await plugin.hook_config("badmailfrom") == WANTED
    assert "no copy can be kept" in caplog.text


# --- TLS ------------------------------------------------------------------------------------


def authority(directory: Path, *names: str) -> tuple[str, ssl.SSLContext]:
    """The file of an authority, and the context of a server that it vouches for."""
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    return str(directory / "ca.pem"), context


@on_both_loops
async def test_https(tmp_path: Path) -> None:
    ca, context = authority(tmp_path, "localhost", "127.0.0.1")
    for host in ("localhost", "127.0.0.1"):
        async with web_server(FILES, context, host) as server:
            plugin = await asker(f"{server.url} ca {ca}", tmp_path)
            assert await plugin.hook_config("badmailfrom") == WANTED


@pytest.mark.parametrize("wrong", ["name", "authority", "clear"])
async def test_a_certificate_that_is_not_valid(tmp_path: Path, wrong: str) -> None:
    ca, context = authority(tmp_path, "localhost" if wrong != "name" else "elsewhere.example")
    line = " timeout 0.3" if wrong == "clear" else ""
    line += "" if wrong == "authority" else f" ca {ca}"
    async with web_server(FILES, None if wrong == "clear" else context) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(ConfigError, match="there is no copy"):
            await (await asker(f"{url}{line}", tmp_path)).hook_config("badmailfrom")


@pytest.mark.parametrize(
    "line",
    [
        *("", "files x", "example.com", "ftp://localhost:21/", "http://user@localhost/"),
        *("https://", "https://localhost:0/", "https://localhost/#x", "https://é.example/"),
        *("http://config.example.com/", "http://localhost/ http://config.example.com/"),
        *("https://localhost/ ca /none", "https://localhost/ timeout 60"),
    ],
)
async def test_wrong_lines(line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        await asker(line, tmp_path)


async def test_lines_of_the_perl_version(tmp_path: Path) -> None:
    line = "http://localhost/~smtpd/config/ http://www.example.com/smtp.pl?config="
    with pytest.raises(ConfigError, match="could open the relay"):
        await asker(line, tmp_path)
    plugin = await asker(f"{line} insecure yes", tmp_path)
    assert len(plugin.options.urls) == 2


# --- with the daemon ------------------------------------------------------------------------


def chain(server: WebServer, directory: Path, more: str = "") -> dict[str, list[str]]:
    line = f"http_config {server.url} directory {directory}/kept{more}"
    return {"plugins": [line, "rcpt_ok", "queue/discard"], "rcpthosts": ["local.test"]}


async def codes(files: dict[str, list[str]]) -> list[int]:
    async with serve(files) as daemon:
        client = await Client.of(daemon)
        answers = await client.commands(
            "EHLO client.example",
            "MAIL FROM:<a@client.example>",
            "RCPT TO:<u@fetched.test>",
            "RCPT TO:<u@local.test>",
        )
        await client.close()
        return answers[2:]


async def test_domains_of_the_server(tmp_path: Path) -> None:
    async with web_server({"/rcpthosts": b"fetched.test\n"}) as server:
        assert await codes(chain(server, tmp_path)) == [250, 550]
    assert await codes(chain(server, tmp_path)) == [250, 550]


async def test_no_start_without_files(tmp_path: Path) -> None:
    with dead_web_server() as server:
        (tmp_path / "plugins").write_text("\n".join(chain(server, tmp_path)["plugins"]))
        with pytest.raises(ConfigErrors, match="/rcpthosts: cannot connect"):
            await load([tmp_path], {})


async def test_faults_that_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with dead_web_server() as server, caplog.at_level(logging.WARNING):
        assert await codes(chain(server, tmp_path, " on_fault=skip")) == [550, 250]
    assert "does not supply file=rcpthosts" in caplog.text


async def test_examine(tmp_path: Path, nowhere: str) -> None:
    system = FakeSystem(Path("/"))
    async with web_server(FILES) as server:
        for line, severity in (("", "OK"), (" files badmailfrom", "OK"), (" files x", "ERROR")):
            [finding] = await findings_of(await asker(server.url + line, tmp_path), system)
            assert finding.severity.name == severity
    [finding] = await findings_of(await asker(f"http://{nowhere}/", tmp_path), system)
    assert "cannot connect" in str(finding)
