# SPDX-License-Identifier: MIT
"""Settings: one file per value."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.hostname import host_name
from qpsmtpd.config.problems import Problem
from qpsmtpd.config.settings import Settings, file_of, load_settings
from qpsmtpd.config.spooldir import default_spool_dir
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.plugin.options import Seconds, describe


def load(directory: Path, **files: str) -> tuple[Settings, list[Problem]]:
    for name, text in files.items():
        (directory / file_of(name)).write_text(text)
    return load_settings(ConfigFiles([directory]))


def test_defaults(tmp_path: Path) -> None:
    settings, problems = load(tmp_path)
    assert problems == []
    assert settings == Settings(me=host_name(), spool_dir=default_spool_dir())
    assert settings.spool_mode == 0o700
    assert settings.command_timeout == Seconds(300)
    assert settings.stderr_level is LogLevel.LOGWARN


def test_our_name(tmp_path: Path) -> None:
    assert load_settings(ConfigFiles([tmp_path]), "known.example")[0].me == "known.example"
    (tmp_path / "me").write_text("given.example\n")
    assert load_settings(ConfigFiles([tmp_path]), "known.example")[0].me == "given.example"


def test_values(tmp_path: Path) -> None:
    settings, problems = load(
        tmp_path,
        me="mx.example",
        smtpgreeting="hello there",
        timeout="20m",
        databytes="10M",
        size_threshold="0",
        spool_dir="/var/spool/qpsmtpd",
        spool_perms="2750",
        plugin_dirs="/a\n/b\n",
        loglevel="6",
        tls_before_auth="1",
        me_auth_results="none",
        auth_results_of_others="rename",
        reverse_lookup="0",
    )
    assert problems == []
    assert settings.me == "mx.example"
    assert settings.smtpgreeting == "hello there"
    assert settings.command_timeout == settings.timeout == Seconds(1200)
    assert settings.databytes == 10 << 20
    assert settings.size_threshold == 0
    assert settings.spool_dir == Path("/var/spool/qpsmtpd")
    assert settings.spool_mode == 0o2750
    assert settings.plugin_dirs == (Path("/a"), Path("/b"))
    assert settings.stderr_level is LogLevel.LOGINFO
    assert settings.tls_before_auth
    assert settings.me_auth_results == "none"
    assert settings.auth_results_of_others == "rename"
    assert not settings.reverse_lookup


def test_timeoutsmtpd_is_for_commands(tmp_path: Path) -> None:
    settings, _ = load(tmp_path, timeout="60", timeoutsmtpd="7")
    assert settings.command_timeout == Seconds(7)
    assert settings.timeout == Seconds(60)


def test_proxies(tmp_path: Path) -> None:
    settings, problems = load(tmp_path, proxy_networks="192.0.2.1\n198.51.100.\n2001:db8::/32\n")
    assert problems == []
    assert list(map(str, settings.proxy_networks)) == [
        *("192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32")
    ]
    for address, trusted in {
        "192.0.2.1": True,
        "198.51.100.255": True,
        "2001:db8::1": True,
        "192.0.2.2": False,
        "198.51.101.0": False,
        "2001:db9::1": False,
    }.items():
        assert (parse_ip(address) in settings.proxies) is trusted


def test_nobody_is_a_proxy_unless_it_is_said(tmp_path: Path) -> None:
    settings, _ = load(tmp_path)
    assert settings.proxy_networks == ()
    assert parse_ip("127.0.0.1") not in settings.proxies


def test_exempt_from_limits(tmp_path: Path) -> None:
    settings, problems = load(tmp_path, admission_exempt="192.0.2.1\n2001:db8::/32\n")
    assert problems == []
    assert parse_ip("192.0.2.1") in settings.exempt
    assert parse_ip("2001:db8::1") in settings.exempt
    for other in ("192.0.2.2", "127.0.0.1"):
        assert parse_ip(other) not in settings.exempt


def test_this_machine_is_exempt_by_default(tmp_path: Path) -> None:
    settings, _ = load(tmp_path)
    for ip, exempt in {
        "127.0.0.1": True,
        "127.9.9.9": True,
        "::1": True,
        "192.0.2.1": False,
    }.items():
        assert (parse_ip(ip) in settings.exempt) is exempt


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_not_everybody_is_a_proxy(tmp_path: Path, everybody: str) -> None:
    settings, (problem,) = load(tmp_path, proxy_networks=f"192.0.2.1\n{everybody}\n")
    assert problem.severity == "error"
    assert str(problem).endswith(
        f"proxy_networks:2: '{everybody}' is not a network of proxies: any client could "
        "then claim any address"
    )
    assert settings.proxy_networks == ()


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("proxy_networks", "192.0.2.1/24", "a network without host bits"),
        ("proxy_networks", "proxy.example", "is not an address"),
        ("proxy_timeout", "0", "is too small: the minimum is 1s"),
        ("timeout", "soon", "a duration"),
        ("timeout", "0", "is too small: the minimum is 1s"),
        ("databytes", "-1", "a size"),
        ("me", "my host", "a host name"),
        ("me_auth_results", "a;b", "a host name"),
        ("auth_results_of_others", "remove", "keep, rename"),
        ("smtpgreeting", "grüß dich", "ASCII"),
        ("spool_perms", "0790", "octal"),
        ("spool_dir", "spool", "absolute"),
        ("loglevel", "loud", "a log level"),
        ("max_recipients", "0", "is too small: the minimum is 1"),
        ("max_from_ip", "-1", "is too small: the minimum is 0"),
        ("max_from_network", "-1", "is too small: the minimum is 0"),
        ("max_line_length", "999", "is too small: the minimum is 1000"),
        ("store_timeout", "0.01", "is too small: the minimum is 0.05s"),
        ("network_prefix_ipv4", "33", "is too big: the maximum is 32"),
        ("network_prefix_ipv4", "0", "is too small: the minimum is 1"),
        ("network_prefix_ipv6", "129", "is too big: the maximum is 128"),
        ("admission_exempt", "192.0.2.1/24", "a network without host bits"),
        ("tls_before_auth", "perhaps", "yes or no"),
        ("barelf", "lenient", "strict, tolerant"),
        ("plugin_timeouts", "spamassassin", "a plugin and a duration"),
        ("plugin_timeouts", "spamassassin soon", "a plugin and a duration"),
    ],
)
def test_wrong_values_keep_the_default(tmp_path: Path, name: str, text: str, wanted: str) -> None:
    settings, problems = load(tmp_path, **{name: f"\n{text}"})
    assert settings == load_settings(ConfigFiles([]))[0]
    (problem,) = problems
    assert problem.where == f"{tmp_path}/{file_of(name)}:2"
    assert repr(text) in problem.text
    assert wanted in problem.text
    assert problem.severity == "error"


def test_every_problem_is_found(tmp_path: Path) -> None:
    (tmp_path / "me").write_bytes(b"\xff")
    _, problems = load(tmp_path, timeout="x", databytes="y")
    assert len(problems) == 3


def test_timeouts_of_plugins(tmp_path: Path) -> None:
    text = "spamassassin 30\nvirus/clamav:20\ncheck_relay  5\ndnsbl:1 2m\ndnsbl 0"
    settings, problems = load(tmp_path, plugin_timeouts=text)
    assert problems == []
    found = {name: settings.hook_timeout_of(name) for name in ("spamassassin", "virus/clamav")}
    assert found == {"spamassassin": Seconds(30), "virus/clamav": Seconds(20)}
    assert settings.hook_timeout_of("relay:2", "relay") == Seconds(5)
    assert settings.hook_timeout_of("dnsbl:1", "dnsbl") == Seconds(120)
    assert settings.hook_timeout_of("dnsbl:2", "dnsbl") == Seconds(0)
    assert settings.hook_timeout_of("helo") is None


def test_files_of_upstreams_newer_versions(tmp_path: Path) -> None:
    settings, problems = load(tmp_path, barelf="tolerant", smtputf8="0", hook_timeout="0")
    assert problems == []
    assert settings.barelf == "tolerant"
    assert not settings.smtputf8
    assert settings.hook_timeout == Seconds(0)


def test_every_wrong_line_of_a_list_is_found(tmp_path: Path) -> None:
    _, problems = load(tmp_path, admission_exempt="10.0.0.1\nx\n10.0.0.0/8\ny")
    assert [problem.where.rpartition(":")[2] for problem in problems] == ["2", "4"]


def test_a_second_line_is_a_warning(tmp_path: Path) -> None:
    settings, problems = load(tmp_path, timeout="5\n6\n7")
    assert settings.timeout == Seconds(5)
    assert [(p.where, p.severity) for p in problems] == [(f"{tmp_path}/timeout:2", "warning")]


def test_file_names() -> None:
    names = {file_of(field.name) for field in dataclasses.fields(Settings)}
    assert {"me", "me-auth-results", "tls_before_auth", "spool_perms", "max_line_length"} <= names


def test_every_setting_is_documented() -> None:
    assert all(option.doc.endswith(".") for option in describe(Settings))


@given(
    name=st.sampled_from([field.name for field in dataclasses.fields(Settings)]),
    text=st.text(max_size=30),
)
def test_any_text(tmp_path_factory: pytest.TempPathFactory, name: str, text: str) -> None:
    settings, _ = load(tmp_path_factory.mktemp("any"), **{name: text.replace("$", "")})
    assert settings.timeout >= 1
    assert settings.spool_dir.is_absolute()
    assert settings.spool_mode >= 0
    assert isinstance(settings.stderr_level, LogLevel)


@pytest.mark.parametrize(
    "text",
    [
        *("/var/lib/store", "redis://redis.example:6379/1", "unix:///run/redis.sock"),
        *("redis+sentinel://a,b,c/mail", "rediss+cluster://a,b"),
    ],
)
def test_a_store(tmp_path: Path, text: str) -> None:
    settings, problems = load(tmp_path, store=text, store_timeout="0.5")
    assert problems == []
    assert settings.store == text
    assert settings.store_timeout == Seconds(0.5)


def test_a_password_that_everybody_can_read(tmp_path: Path) -> None:
    file = tmp_path / "store"
    file.touch()
    file.chmod(0o640)
    settings, problems = load(tmp_path, store="redis://:secret@h")
    assert problems == []
    file.chmod(0o644)
    settings, (problem,) = load(tmp_path, store="redis://:secret@h")
    assert settings.store == "redis://:secret@h"
    assert str(problem) == (
        f"{file}:1: warning: everybody can read the password here: chmod 640 {file}; "
        f"chgrp qpsmtpd {file}"
    )


def test_a_wrong_store_is_not_repeated_as_it_may_hold_a_password(tmp_path: Path) -> None:
    settings, (problem,) = load(tmp_path, store="redis://:secret@h:port")
    assert settings.store == ""
    assert problem.where == f"{tmp_path}/store:1"
    assert problem.text.startswith("must be a location in which each host is HOST or HOST:PORT")
    assert "secret" not in str(problem)


def test_files_that_the_store_names(tmp_path: Path) -> None:
    settings, (problem,) = load(tmp_path, store=f"redis://h?password_file={tmp_path}/none")
    assert settings.store == ""
    assert str(problem) == (
        f"{tmp_path}/store:1: password_file: {tmp_path}/none: No such file or directory"
    )


def test_a_store_that_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    _, (problem,) = load(tmp_path, store="redis://h")
    assert str(problem) == (
        f"{tmp_path}/store:1: needs the package python3-redis: apt install python3-redis"
    )
    assert load(tmp_path, store="/var/lib/store")[1] == []
