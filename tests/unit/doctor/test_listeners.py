# SPDX-License-Identifier: MIT
"""Listeners: /proc/net/tcp, and whose sockets these are."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.doctor.listeners import Listening, Program, listening, parse_table
from qpsmtpd.doctor.machine import Machine
from tests.unit.doctor.fakes import FakeMachine, a_process, a_table


def test_addresses_and_owners(machine: FakeMachine) -> None:
    a_table(machine, "127.0.0.1:25 100", "0.0.0.0:587 200", "[::1]:25 300")
    a_process(machine, 7, "exim4", "/usr/sbin/exim4 -bdf", 100, 300)
    found = listening(machine)
    assert [(str(s.address), str(s)) for s in found] == [
        ("127.0.0.1:25", "Exim (process 7)"),
        ("0.0.0.0:587", "some program"),
        ("[::1]:25", "Exim (process 7)"),
    ]


def test_both_families(machine: FakeMachine) -> None:
    a_table(machine, "[::]:25 1", "[::]:587 2", "0.0.0.0:587 3")
    assert {str(s.address) for s in listening(machine)} == {"*:25", "[::]:587", "0.0.0.0:587"}


def test_connections_do_not_listen(machine: FakeMachine) -> None:
    a_table(machine, "127.0.0.1:25 1", state="01")
    assert listening(machine) == []


@pytest.mark.parametrize(
    "name, command, title",
    [
        ("master", "/usr/lib/postfix/sbin/master -w", "Postfix"),
        ("smtpd", "smtpd -n smtp -t inet -u -c -o stress=", "Postfix"),
        ("smtpd", "smtpd: pony express", "smtpd"),
        ("exim4", "/usr/sbin/exim4 -bd", "Exim"),
        ("qpsmtpd", "/usr/bin/python3 /usr/bin/qpsmtpd run", "qpsmtpd"),
        ("qpsmtpd-forkser", "", "qpsmtpd"),
        ("perl", "/usr/bin/perl -T /usr/bin/qpsmtpd-prefork", "qpsmtpd"),
        ("smtp-sink", "smtp-sink :25 9", "smtp-sink"),
    ],
)
def test_titles(name: str, command: str, title: str) -> None:
    assert Program(1, name, command).title == title


def test_of_systemd() -> None:
    address = ListenAddress("", 25)
    systemd = Program(1, "systemd", "/sbin/init")
    ours = Program(9, "qpsmtpd", "qpsmtpd run")
    assert Listening(address, (systemd,)).by_systemd
    assert not Listening(address, (systemd, ours)).by_systemd
    assert Listening(address, (systemd, ours)).ours
    assert not Listening(address, ()).by_systemd


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_real_machine(host: str) -> None:
    """The format of this kernel, and a socket of this process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        port = server.getsockname()[1]
        (found,) = [s for s in listening(Machine()) if s.address.port == port]
        assert found.address == ListenAddress(host, port)
        assert os.getpid() in [program.pid for program in found.programs]


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is written as by such a machine")
@given(st.ip_addresses(), st.integers(0, 65535))
def test_any_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    words = [address.packed[start : start + 4][::-1] for start in range(0, len(address.packed), 4)]
    text = f"head\n 0: {b''.join(words).hex().upper()}:{port:04X} 0:0 0A a b c 0 0 77 1\n"
    assert list(parse_table(text)) == [(ListenAddress(str(address), port), "77")]


@given(st.text())
def test_any_text(text: str) -> None:
    list(parse_table(f"head\n{text}"))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert listening(FakeMachine(tmp_path)) == []
