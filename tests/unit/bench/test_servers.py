# SPDX-License-Identifier: MIT
from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from qpsmtpd.commands.main import main
from tests.bench.__main__ import QUICK_CASES, QUICK_SERVERS, chosen, make_parser
from tests.bench.cases import CASES
from tests.bench.laboratory import Laboratory
from tests.bench.servers import (
    AGAINST,
    NEXT_HOPS,
    PEERS,
    SERVERS,
    Haraka,
    Perl,
    Postfix,
    Setup,
    fill,
)


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
    directories = {Perl: "qpsmtpd", Haraka: "haraka", Postfix: "postfix"}
    for server in SERVERS.values():
        if directory := directories.get(type(server)):
            for setup in server.setups:
                assert (PEERS / directory / setup).is_dir(), (server.name, setup)


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
    return {(server.name, case.name) for server, case in chosen(make_parser().parse_args(words))}


def test_without_words_everything_is_measured_where_it_makes_sense() -> None:
    everything = pairs()
    assert {server for server, _ in everything} == set(SERVERS) - {AGAINST}
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
    assert pairs("--quick") == {(s, c) for s in QUICK_SERVERS for c in QUICK_CASES}


def test_a_word_that_is_nothing() -> None:
    with pytest.raises((SystemExit, argparse.ArgumentTypeError)):
        pairs("--only", "sendmail")
