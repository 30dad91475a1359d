# SPDX-License-Identifier: MIT
"""Host name: the full name of a machine whose kernel has a short one, or not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from qpsmtpd.config import hostname
from qpsmtpd.config.hostname import host_name, is_full

Know = Callable[..., None]


@pytest.fixture
def know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Know:
    """Sets what is known; `hostname --fqdn` is a script of these lines."""

    def set_all(name: str = "mx", hosts: str = "", program: str = "exit 1", mail: str = "") -> None:
        monkeypatch.setattr(socket, "gethostname", lambda: name)
        for variable, text in (("_HOSTS", hosts), ("_MAILNAME", mail)):
            (tmp_path / variable).write_text(text)
            monkeypatch.setattr(hostname, variable, tmp_path / variable)
        script = tmp_path / "hostname"
        script.write_text(f"#!/bin/sh\n{program}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return set_all


ALL = {
    "hosts": "127.0.0.1 localhost\n127.0.1.1\tmx.hosts.example mx\n",
    "program": "echo mx.dns.example",
    "mail": "mail.example\n",
}


@pytest.mark.parametrize(
    "known, expected",
    [
        ({**ALL, "name": "mx.kernel.example"}, "mx.kernel.example"),
        (ALL, "mx.hosts.example"),
        (
            {**ALL, "hosts": "192.0.2.1 MX mx.hosts.example # mx.comment.example"},
            "mx.hosts.example",
        ),
        ({**ALL, "hosts": "192.0.2.1 other.example\n192.0.2.2 mx\n"}, "mx.dns.example"),
        ({**ALL, "hosts": "127.0.0.1 localhost.localdomain localhost mx"}, "mx.dns.example"),
        ({"program": "echo mx", "mail": "mail.example\n"}, "mail.example"),
        ({"program": "echo localhost.localdomain", "mail": "mail.example\n"}, "mail.example"),
        ({"mail": "short\n"}, "mx"),
        ({}, "mx"),
    ],
)
def test_the_first_full_name_counts(know: Know, known: dict[str, str], expected: str) -> None:
    know(**known)
    assert host_name() == expected


def test_nothing_can_be_read(know: Know, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    know()
    for variable in ("_HOSTS", "_MAILNAME"):
        monkeypatch.setattr(hostname, variable, tmp_path / "missing")
    monkeypatch.setenv("PATH", str(tmp_path / "missing"))
    assert host_name() == "mx"


def test_name_servers_that_do_not_answer(know: Know, monkeypatch: pytest.MonkeyPatch) -> None:
    know(program="exec sleep 600", mail="mail.example\n")
    monkeypatch.setattr(hostname, "LOOKUP_SECONDS", 0.01)
    assert host_name() == "mail.example"


@pytest.mark.parametrize("name", ["", "mx", "mx.", ".", "localhost", "LocalHost.localdomain"])
def test_not_full(name: str) -> None:
    assert not is_full(name)
