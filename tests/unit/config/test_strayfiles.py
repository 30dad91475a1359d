# SPDX-License-Identifier: MIT
"""Stray files: what is told of, and what is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.strayfiles import stray_files
from qpsmtpd.plugin.base import Plugin


class Reads(Plugin[Any]):
    """A plugin with a file."""

    files = {"quotas": "How much a user may send.", "partners.cdb": "Domains of partners."}


def strays(directory: Path, *others: Path, used: type[Plugin[Any]] = Reads) -> list[str]:
    files = ConfigFiles([directory, *others])
    files.entries("plugins")
    return [str(problem) for problem in stray_files(files, [used])]


def write(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_text("x\n")


def test_a_file_that_nobody_reads(tmp_path: Path) -> None:
    write(tmp_path, "databites", "zzz", "me")
    nobody = "nothing reads this file: no setting and no plugin has a file with this name"
    assert strays(tmp_path) == [
        f"{tmp_path}/databites: warning: {nobody} (did you mean 'databytes'?)",
        f"{tmp_path}/zzz: warning: {nobody}",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("quota", "quotas"),
        ("me_auth_results", "me-auth-results"),
        ("badmailfrom_", "badmailfrom"),
        ("pluginz", "plugins"),
    ],
)
def test_what_was_meant(tmp_path: Path, name: str, meant: str) -> None:
    write(tmp_path, name)
    (text,) = strays(tmp_path)
    assert text.endswith(f"(did you mean {meant!r}?)")


@pytest.mark.parametrize(
    "name",
    [
        *("me", "me-auth-results", "plugins", "logging", "timeoutsmtpd"),
        *("quotas", "badmailfrom", "flat_auth_pw"),
        *("partners.cdb", "partners", "morercpthosts", "badmailfrom.cdb"),
        *("README", "README.local", ".hidden", "me~", "#me#", "me.bak", "me.old", "me.orig"),
        *("plugins.dpkg-dist", "plugins.dpkg-old", "badhelo.ucf-dist"),
        *("debian-queue-method", "debconf-settings"),
    ],
)
def test_left_alone(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    assert strays(tmp_path) == []


def test_a_plugin_that_is_not_in_use_has_no_files(tmp_path: Path) -> None:
    """Unless it is one that we ship: others would have to be run to be asked."""
    write(tmp_path, "quotas")
    assert len(strays(tmp_path, used=Plugin)) == 1


def test_included_files_and_directories(tmp_path: Path) -> None:
    write(tmp_path, "friends")
    (tmp_path / "plugins").write_text("$include friends\n")
    (tmp_path / "ssl").mkdir()
    write(tmp_path / "ssl", "anything")
    assert strays(tmp_path) == []


def test_files_that_a_plugin_line_names(tmp_path: Path) -> None:
    (tmp_path / "plugins").write_text(
        f"tls my.crt key=my.key\nrcpt_map domain a.test file {tmp_path}/map\n"
        "help file RSET=reset.txt,MAIL=loop\n"
    )
    write(tmp_path, "my.crt", "my.key", "map", "reset.txt")
    (tmp_path / "loop").symlink_to("loop")
    assert strays(tmp_path) == []


def test_only_the_first_directory_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    write(tmp_path, "locals", "smtproutes")
    assert strays(tmp_path / "ours", tmp_path) == []


def test_the_directory_of_qmail_is_not_ours(tmp_path: Path) -> None:
    write(tmp_path, "locals", "smtproutes")
    assert strays(tmp_path, tmp_path) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert strays(tmp_path / "none", tmp_path) == []


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9").write_text("x")
    (text,) = strays(tmp_path)
    assert text.startswith(f"{tmp_path}/caf\ufffd: warning: ")
