# SPDX-License-Identifier: MIT
"""Listen addresses and configuration directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.config.runoptions import (
    ListenAddress,
    RunOptions,
    config_directories,
    kind_named,
    parse_listen,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:25", "127.0.0.1", 25),
        ("[::1]:2525", "::1", 2525),
        ("[fe80::1%eth0]:25", "fe80::1%eth0", 25),
        ("mx.example:0", "mx.example", 0),
        (":25", "", 25),
        ("25", "", 25),
        ("*:25", "", 25),
    ],
)
def test_listen(text: str, host: str, port: int) -> None:
    assert parse_listen(text) == ListenAddress(host, port)
    assert parse_listen(text, tls=True) == ListenAddress(host, port, True)
    assert parse_listen(str(parse_listen(text))) == ListenAddress(host, port)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("lmtp:127.0.0.1:24", ListenAddress("127.0.0.1", 24, kind="lmtp")),
        ("lmtp:[::1]:2424", ListenAddress("::1", 2424, kind="lmtp")),
        ("lmtp:24", ListenAddress("", 24, kind="lmtp")),
        ("lmtp:/run/x/lmtp", ListenAddress("", 0, kind="lmtp", path="/run/x/lmtp")),
        ("smtp:/run/x", ListenAddress("", 0, path="/run/x")),
        ("smtp:25", ListenAddress("", 25)),
    ],
)
def test_kinds(text: str, address: ListenAddress) -> None:
    assert parse_listen(text) == address
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize("text", ["lmtp:", "lmtp", "imap:127.0.0.1:143", "lmtp:x", "lmtp:/a\nb"])
def test_no_kind(text: str) -> None:
    with pytest.raises(ValueError, match="ADDRESS:PORT"):
        parse_listen(text)


@pytest.mark.parametrize("text", ["lmtp:25", "lmtp:127.0.0.1:25"])
def test_lmtp_has_another_port(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 2033"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("milter:127.0.0.1:8891", ListenAddress("127.0.0.1", 8891, kind="milter")),
        ("policy:[::1]:10030", ListenAddress("::1", 10030, kind="policy")),
        ("policy:10030", ListenAddress("", 10030, kind="policy")),
        ("milter:/run/a b", ListenAddress("", 0, kind="milter", path="/run/a b")),
    ],
)
def test_fronts(text: str, address: ListenAddress) -> None:
    assert parse_listen(text) == parse_listen(str(address)) == address


@pytest.mark.parametrize("text", ["milter:", "milter:x", "/run/x", "milter:x/y"])
def test_no_front(text: str) -> None:
    with pytest.raises(ValueError, match="or milter:… with these or /PATH"):
        parse_listen(text)
    with pytest.raises(ValueError, match=r"PORT$"):
        parse_listen(f"milter:{text}", tls=True)


@pytest.mark.parametrize(
    ("name", "kind"), [("smtp", "smtp"), ("qpsmtpd-milter", "milter"), ("policy", "policy")]
)
def test_names_of_sockets(name: str, kind: str) -> None:
    assert kind_named(name) == kind


@pytest.mark.parametrize(
    "text", ["", "host", "::1:25", "[::1]", "a:65536", "a:-1", "a b:25", "a:25 ", "a:²", "[x]:25]"]
)
def test_no_listen_address(text: str) -> None:
    with pytest.raises(ValueError, match="ADDRESS:PORT"):
        parse_listen(text)


@given(text=st.text(max_size=20))
def test_any_text(text: str) -> None:
    try:
        address = parse_listen(text)
    except ValueError:
        return
    assert 0 <= address.port <= 65535
    assert parse_listen(str(address)) == address


def test_directories() -> None:
    assert config_directories(None, {}) == (Path("/etc/qpsmtpd"), Path("/var/qmail/control"))
    environment = {"QPSMTPD_CONFIG": "/conf", "QMAIL": "/q"}
    assert config_directories(None, environment, "/opt/bin/qpsmtpd") == (
        Path("/conf"),
        Path("/opt/bin/config"),
        Path("/q/control"),
    )
    assert config_directories(Path("/mine"), environment)[0] == Path("/mine")


def test_directories_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    first, second, _ = config_directories(Path("conf"), {}, "./bin/qpsmtpd")
    assert (first, second) == (tmp_path / "conf", tmp_path / "bin" / "config")


def test_one_worker_for_each_core_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 3, 5})
    assert RunOptions(config=()).worker_count == 3
    assert RunOptions(config=(), workers=7).worker_count == 7
