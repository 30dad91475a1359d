# SPDX-License-Identifier: MIT
from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from qpsmtpd.commands.main import main
from qpsmtpd.config.files import ConfigFiles
from tests.bench.__main__ import QUICK_CASES, QUICK_SERVERS, chosen, make_parser
from tests.bench.cases import CASES
from tests.bench.laboratory import Laboratory
from tests.bench.servers import (
    _OWN_CHAIN,
    AGAINST,
    FORMER_CHAIN,
    NEXT_HOPS,
    PEERS,
    SERVERS,
    FilteringPostfix,
    Haraka,
    Perl,
    Postfix,
    Setup,
    fill,
)
from tests.debian_system import CHECKOUT


@pytest.mark.parametrize("setup", Setup)
def test_our_configurations_are_good(
    setup: Setup, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    laboratory = Laboratory({"postfix": tmp_path}, {}, tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    SERVERS["ours-1"].prepare(laboratory, home, setup, 2525)
    assert main(["check-config", str(home / "config")]) == 0, capsys.readouterr()
    texts = [path.read_text() for path in home.rglob("*") if path.is_file()]
    assert texts
    assert not [text for text in texts if re.search("@[A-Z_]+@", text)]


def test_every_setup_has_its_configuration() -> None:
    postfix = {Postfix: "postfix", FilteringPostfix: "postfix"}
    directories = {Perl: "qpsmtpd", Haraka: "haraka", **postfix}
    for server in SERVERS.values():
        if directory := directories.get(type(server)):
            for setup in server.setups:
                if directory != "qpsmtpd" or setup not in _OWN_CHAIN:
                    assert (PEERS / directory / setup).is_dir(), (server.name, setup)
    for setup, own in _OWN_CHAIN.items():
        for name in own.directories:
            assert (PEERS / "qpsmtpd" / name).is_dir(), setup


@pytest.mark.parametrize("name", ["postfix-milters", "postfix-rspamd"])
def test_postfix_asks_its_milters_where_they_listen(name: str, tmp_path: Path) -> None:
    server = SERVERS[name]
    assert isinstance(server, FilteringPostfix)
    for directory in ("var/log", "var/spool/postfix/pid"):
        (tmp_path / directory).mkdir(parents=True)
    laboratory = Laboratory({"milters": tmp_path}, {}, tmp_path)
    for setup in server.setups:
        asks = setup is not Setup.UNAUTHENTICATED
        words = server.prepare(laboratory, tmp_path, setup, 2525).words
        main_cf = (tmp_path / "etc/postfix/main.cf").read_text()
        assert not re.search("@[A-Z_]+@", main_cf)
        assert ("smtpd_milters = inet:" in main_cf) is asks
        for milter in server.milters:
            configuration = tmp_path / milter.command.split()[-1].lstrip("/")
            assert str(milter.port) in configuration.read_text()
            assert (f":{milter.port}" in main_cf) is asks
            assert (str(milter.port) in words) is asks


def test_what_hands_over_has_a_next_hop() -> None:
    assert set(NEXT_HOPS) == {Setup.FORWARD, Setup.POSTFIX_QUEUE}


def test_placeholders_are_replaced_and_directories_passed_over(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    (source / "directory").mkdir(parents=True)
    (source / "file").write_text("port @PORT@, @PORT@\n")
    fill(target, source, {"@PORT@": "25"})
    assert [path.name for path in target.iterdir()] == ["file"]
    assert (target / "file").read_text() == "port 25, 25\n"


def pairs(*words: str) -> set[tuple[str, str]]:
    return {(server, case) for case, servers in turns(*words) for server in servers}


def turns(*words: str) -> list[tuple[str, tuple[str, ...]]]:
    chosen_ones = chosen(make_parser().parse_args(words))
    return [(case.name, tuple(each.name for each in servers)) for case, servers in chosen_ones]


def test_without_words_everything_is_measured_where_it_makes_sense() -> None:
    everything = pairs()
    assert {server for server, _ in everything} == set(SERVERS) - {AGAINST, FORMER_CHAIN}
    assert {case for _, case in everything} == set(CASES)
    assert ("perl-prefork", "200-at-once") in everything
    assert ("perl-prefork", "8000-at-once") not in everything
    assert ("smtp-sink", "dnsbl") not in everything


def test_only_some_servers_and_cases() -> None:
    assert pairs("--only", "haraka,5mb,idle") == {("haraka", "5mb"), ("haraka", "idle")}
    assert {case for _, case in pairs("--only", "aiosmtpd")} == {
        *("one-per-connection", "many-per-connection", "100kb", "5mb", "idle")
    }


def test_the_quick_ones() -> None:
    quick = {(s, c) for s in QUICK_SERVERS for c in QUICK_CASES}
    # A server that looks at nothing cannot tell strangers from others.
    strangers = {("aiosmtpd", "strangers"), ("aiosmtpd", "strangers-refused")}
    assert strangers < quick
    assert pairs("--quick") == quick - strangers


def test_another_commit_is_measured_in_turns_with_our_one_worker() -> None:
    assert turns("--against", "HEAD", "--only", "ours-1,haraka,5mb,idle") == [
        ("5mb", ("ours-1", "against")),
        ("5mb", ("haraka",)),
        ("idle", ("ours-1", "against")),
        ("idle", ("haraka",)),
    ]


def test_the_chain_of_another_commit_is_measured_where_there_is_one() -> None:
    found = pairs("--against", "HEAD", "--only", FORMER_CHAIN)
    assert found == {
        (FORMER_CHAIN, case) for case in ("200-at-once", "2000-at-once", "8000-at-once", "chain")
    }


def test_servers_that_check_nothing_do_not_refuse() -> None:
    for case in ("strangers-refused", "listed"):
        servers = {server for server, name in pairs("--only", case)}
        assert servers >= {"ours-1", "perl-prefork", "perl-forkserver", "haraka", "postfix"}
        assert not servers & {"aiosmtpd", "bare", "smtp-sink"}


@pytest.mark.parametrize(("server", "runs_other"), [(AGAINST, True), (FORMER_CHAIN, False)])
def test_our_servers_with_the_chain_of_another_tree(
    server: str, runs_other: bool, tmp_path: Path
) -> None:
    (tmp_path / "etc/qpsmtpd").mkdir(parents=True)
    (tmp_path / "etc/qpsmtpd/badhelo").write_text("of the other tree\n")
    home = tmp_path / "home"
    home.mkdir()
    laboratory = Laboratory({AGAINST: tmp_path, "postfix": tmp_path}, {}, tmp_path)
    command = SERVERS[server].prepare(laboratory, home, Setup.CHAIN, 2525)
    code = command.environment["PYTHONPATH"].split(":")[0]
    assert code == str(tmp_path if runs_other else CHECKOUT)
    # Else Python would take the package from the directory that it is started in.
    assert command.environment["PYTHONSAFEPATH"] == "1"
    assert (home / "config/badhelo").read_text() == "of the other tree\n"


@pytest.mark.parametrize(
    ("setup", "plugins"),
    [
        (Setup.CHAIN, {"dnsbl"}),
        (Setup.CHAIN_MINIMAL, {"dmarc reject 0"}),
        (Setup.CHAIN_STANDARD, {"dnsbl", "dmarc reject author", "greylisting suspects all"}),
        (Setup.CHAIN_STRICT, {"dnsbl", "dmarc reject 1", "resolvable_fromhost", "uribl reject 1"}),
    ],
)
def test_chains_of_strangers_wait_for_nothing_but_the_dns(
    setup: Setup, plugins: set[str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    laboratory = Laboratory({"postfix": tmp_path}, {}, tmp_path)
    SERVERS["ours-1"].prepare(laboratory, home, setup, 2525)
    lines = ConfigFiles([home / "config"]).lines("plugins")
    assert plugins <= {line.removesuffix(" black_timeout 5m") for line in lines}
    names = {line.split()[0] for line in lines}
    assert "earlytalker" not in names
    assert setup is Setup.CHAIN or not names & {"virus/clamdscan", "rspamd", "spamassassin"}


@pytest.mark.parametrize("word", ["sendmail", "against"])
def test_a_word_that_is_nothing(word: str) -> None:
    with pytest.raises((SystemExit, argparse.ArgumentTypeError)):
        pairs("--only", word)
