# SPDX-License-Identifier: MIT
"""The old command lines."""

from __future__ import annotations

import os
import pwd
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.commands import legacy
from qpsmtpd.commands.legacy import parse_forkserver, parse_prefork
from qpsmtpd.config.runoptions import ListenAddress, RunOptions
from qpsmtpd.daemon import start as daemon_start

EVERYWHERE = ""


@pytest.fixture(autouse=True)
def somebody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An ordinary user, with a configuration of the environment; tmp_path is made by who we are."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setenv("QPSMTPD_CONFIG", "/conf")
    monkeypatch.setenv("NO_COLOR", "1")


def users(monkeypatch: pytest.MonkeyPatch, *known: str) -> None:
    def getpwnam(name: str) -> str:
        if name not in known:
            raise KeyError(name)
        return name

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(os, "getuid", lambda: 0)


# --- qpsmtpd-forkserver ---------------------------------------------------------------------


def test_forkserver_defaults() -> None:
    options, in_background = parse_forkserver([])
    assert not in_background
    assert options == RunOptions(
        config=options.config,
        listen=(ListenAddress(EVERYWHERE, 2525),),
        workers=1,
        max_from_ip=5,
        environment=dict(os.environ),
    )
    assert options.config[0] == Path("/conf")


def test_forkserver_as_debian_started_it() -> None:
    words = (
        "--port 25 --user qpsmtpd --pid-file /var/run/qpsmtpd/qpsmtpd.pid "
        "--listen-address 192.0.2.1 --listen-address 127.0.0.1 --detach"
    )
    options, in_background = parse_forkserver(words.split())
    assert in_background
    assert options.listen == (ListenAddress("192.0.2.1", 25), ListenAddress("127.0.0.1", 25))
    assert options.user == "qpsmtpd"
    assert options.pid_file == Path("/var/run/qpsmtpd/qpsmtpd.pid")


def test_forkserver_short_options() -> None:
    words = "-c 40 -u mail -m 7 -d -H -p 26"
    options, in_background = parse_forkserver(words.split())
    assert in_background
    assert (options.max_connections, options.user, options.max_from_ip) == (40, "mail", 7)
    assert options.reverse_lookup is False
    assert options.listen == (ListenAddress(EVERYWHERE, 26),)


@pytest.mark.parametrize(
    ("words", "listen"),
    [
        ("-l 0.0.0.0", [("0.0.0.0", 2525)]),
        ("-l [::]", [(EVERYWHERE, 2525)]),
        ("-l [::]:25", [(EVERYWHERE, 25)]),
        ("-l [::1] -p 25 -p 587", [("::1", 25), ("::1", 587)]),
        (
            "-l [::1]:26 -l mx.example -p 25 -p 587",
            [("::1", 26), ("mx.example", 25), ("mx.example", 587)],
        ),
        ("-p 25 -p 587", [(EVERYWHERE, 25), (EVERYWHERE, 587)]),
    ],
)
def test_addresses_and_ports(words: str, listen: list[tuple[str, int]]) -> None:
    found = parse_forkserver(words.split())[0].listen
    assert [(address.host, address.port) for address in found] == listen


@pytest.mark.parametrize(
    "words",
    [
        "-limit-connections 2000 -max-from-ip 1500 -port 25 -user mail",
        "--limit-connections=2000 --max-from-ip=1500 --port=25 --user=mail",
        "-limit-connections=2000 -max-from-ip=1500 -p=25 -u=mail",
        "--lim 2000 --max 1500 --po 25 --us mail",
        "-lim 2000 -max=1500 -po 25 -us=mail",
        "-C 2000 -M 1500 -PORT 25 -User mail",
        "-c 2000 -m 1500 -p25 -umail",
    ],
)
def test_spellings_of_perl(words: str) -> None:
    options, _ = parse_forkserver(words.split())
    assert (options.max_connections, options.max_from_ip) == (2000, 1500)
    assert options.listen == (ListenAddress(EVERYWHERE, 25),)
    assert options.user == "mail"


def test_a_value_is_no_option() -> None:
    options, in_background = parse_forkserver(["-user", "d", "-pid", "/run/p", "-detach"])
    assert (options.user, options.pid_file, in_background) == ("d", Path("/run/p"), True)


def test_other_words_mean_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    options, _ = parse_forkserver(["start", "-p", "25"])
    assert options.listen == (ListenAddress(EVERYWHERE, 25),)
    assert capsys.readouterr().err == "qpsmtpd-forkserver: 'start' has no effect\n"


def test_an_option_that_is_cut_too_short(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_forkserver(["-li", "5"])
    assert "-li is ambiguous: --listen-address, --limit-connections" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        parse_prefork(["-p", "25", "-u", "mail"])
    assert "-p is ambiguous: --port, --pid-file, --pretty-child" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["-l ::1", "-l a:b", "-p x", "-c 0", "-x", "-", "--x", "-port"])
def test_wrong_options(words: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_forkserver(words.split())


@pytest.mark.parametrize(
    ("known", "user"),
    [(("smtpd", "qpsmtpd"), "smtpd"), (("qpsmtpd",), "qpsmtpd"), ((), "smtpd")],
)
def test_root_becomes_somebody(
    monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...], user: str
) -> None:
    users(monkeypatch, *known)
    assert parse_forkserver([])[0].user == user
    assert parse_forkserver(["-u", "mail"])[0].user == "mail"


# --- qpsmtpd-prefork ------------------------------------------------------------------------


def test_prefork_spellings_of_perl() -> None:
    words = "-interface=192.0.2.1 -po 25 -u mail -children=30 -quiet -max-from 4"
    options, _ = parse_prefork(words.split())
    assert options.listen == (ListenAddress("192.0.2.1", 25),)
    assert (options.user, options.max_connections, options.max_from_ip) == ("mail", 30, 4)


def test_prefork_defaults() -> None:
    options, in_background = parse_prefork(["--user", "smtpd"])
    assert not in_background
    assert options == RunOptions(
        config=options.config,
        listen=(ListenAddress(EVERYWHERE, 25),),
        workers=1,
        user="smtpd",
        max_from_ip=10,
        environment=dict(os.environ),
    )


def test_prefork_options(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--user=u --interface 192.0.2.1 --port 26 --children 30 --idle-children 5 "
        "--max-from-ip 0 --pid-file /p --detach --renice-parent 5 --pretty-child --quiet --debug"
    )
    options, in_background = parse_prefork(words.split())
    assert in_background
    assert options.listen == (ListenAddress("192.0.2.1", 26),)
    assert (options.max_connections, options.max_from_ip, options.debug) == (30, 30, True)
    assert capsys.readouterr().err.splitlines() == [
        f"qpsmtpd-prefork: {option} has no effect"
        for option in ("--idle-children", "--renice-parent", "--pretty-child", "--quiet")
    ]


def test_prefork_needs_a_user() -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_prefork([])


def test_prefork_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse_prefork(["--version"])
    assert capsys.readouterr().out.startswith("Qpsmtpd Daemon - version 2.")


# --- running --------------------------------------------------------------------------------


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In which order things happen."""
    calls: list[str] = []

    def run(options: RunOptions) -> int:
        calls.append(f"run {options.listen[0]}")
        return 7

    def detach() -> None:
        calls.append("detach")

    monkeypatch.setattr(daemon_start, "run", run)
    monkeypatch.setattr(legacy, "detach", detach)
    return calls


def start(monkeypatch: pytest.MonkeyPatch, program: Any, words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/program", *words.split()])
    return int(program())


def test_in_the_foreground(monkeypatch: pytest.MonkeyPatch, journal: list[str]) -> None:
    assert start(monkeypatch, legacy.forkserver, "-p 26") == 7
    assert start(monkeypatch, legacy.prefork, "--user u") == 7
    assert journal == ["run *:26", "run *:25"]


def test_in_the_background(
    monkeypatch: pytest.MonkeyPatch, journal: list[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("QPSMTPD_CONFIG", str(tmp_path))
    (tmp_path / "plugins").write_text("rcpt_ok\nqueue/discard")
    assert start(monkeypatch, legacy.forkserver, "-d -l 127.0.0.1:0") == 7
    assert journal == ["detach", "run 127.0.0.1:0"]


def test_wrong_configuration_is_seen_before(
    monkeypatch: pytest.MonkeyPatch,
    journal: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("QPSMTPD_CONFIG", str(tmp_path))
    (tmp_path / "plugins").write_text("no_such")
    assert start(monkeypatch, legacy.forkserver, "-d -l 127.0.0.1:0") == 1
    assert journal == []
    assert f"{tmp_path}/plugins:1: error: no_such" in capsys.readouterr().err


def test_an_address_in_use_is_seen_before(
    monkeypatch: pytest.MonkeyPatch,
    journal: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("QPSMTPD_CONFIG", str(tmp_path))
    (tmp_path / "plugins").write_text("rcpt_ok\nqueue/discard")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert start(monkeypatch, legacy.forkserver, f"-d -l 127.0.0.1:{port}") == 1
    assert journal == []
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err
