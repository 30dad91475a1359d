# SPDX-License-Identifier: MIT
"""resolvconf.py: what the file says, and when it says something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.dns.resolvconf import INTERVAL, ResolvConf, ResolvConfFile, parse_resolv_conf
from qpsmtpd.testing import FakeClock


def test_name_servers() -> None:
    text = (
        "# nameserver 192.0.2.9\nsearch example.com\nnameserver\nnameserver dns.example\n"
        "  nameserver 192.0.2.1 # ours\nnameserver 2001:db8::1\nnameserver fe80::1%lo\n"
        "nameserver 192.0.2.3\n"
    )
    servers = ("192.0.2.1", "2001:db8::1", "fe80::1%lo")
    assert parse_resolv_conf(text) == ResolvConf(servers)


def test_options() -> None:
    text = "options rotate ndots:2 timeout:2\noptions attempts:4\n"
    assert parse_resolv_conf(text) == ResolvConf((), timeout=2, attempts=4, rotate=True)


@pytest.mark.parametrize(
    ("option", "timeout", "attempts"),
    [
        ("timeout:0", 1, None),
        ("timeout:31", 30, None),
        ("timeout:9999999999", 30, None),
        ("timeout:99999999999999999999999", None, None),
        ("attempts:6", None, 5),
        ("timeout:", None, None),
        ("timeout:-1", None, None),
        ("timeout:²", None, None),
        ("timeout", None, None),
        ("attempts:x", None, None),
    ],
)
def test_odd_options(option: str, timeout: int | None, attempts: int | None) -> None:
    read = parse_resolv_conf(f"options {option}")
    assert (read.timeout, read.attempts) == (timeout, attempts)


@given(st.text())
def test_any_resolv_conf(text: str) -> None:
    assert len(parse_resolv_conf("nameserver " + text).nameservers) <= 3
    parse_resolv_conf("options " + text)


# --- the file ---------------------------------------------------------------------------------


class AFile:
    """A file, and a resolver's view of it."""

    def __init__(self, path: Path, text: str | None = "nameserver 192.0.2.1\n") -> None:
        self.path = path
        if text is not None:
            self.path.write_text(text)
        self.clock = FakeClock()
        self.seen = ResolvConfFile(path, self.clock)

    def servers(self) -> list[str]:
        return list(self.seen.current.nameservers)

    def look(self) -> list[str] | None:
        """The name servers after a change, a second later; None without one."""
        self.clock.advance(INTERVAL)
        return self.servers() if self.seen.changed() else None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resolv.conf"


def test_a_changed_file_is_seen(path: Path) -> None:
    file = AFile(path)
    assert file.servers() == ["192.0.2.1"]
    assert file.look() is None
    path.write_text("nameserver 192.0.2.22\n")
    assert file.look() == ["192.0.2.22"]
    assert file.look() is None


def test_a_file_in_its_place_is_seen(path: Path, tmp_path: Path) -> None:
    file = AFile(path)
    stat = path.stat()
    other = tmp_path / "other"
    other.write_text("nameserver 192.0.2.2\n")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)
    assert file.look() == ["192.0.2.2"]


def test_a_link_that_leads_elsewhere_is_seen(path: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}").write_text(f"nameserver 192.0.2.{number}\n")
    path.symlink_to("1")
    file = AFile(path, None)
    path.unlink()
    path.symlink_to("2")
    assert file.look() == ["192.0.2.2"]


def test_a_change_of_the_options_is_seen(path: Path) -> None:
    file = AFile(path)
    path.write_text("nameserver 192.0.2.1\noptions rotate\n")
    assert file.look() == ["192.0.2.1"]
    assert file.seen.current.rotate


def test_a_change_that_changes_nothing_is_none(path: Path) -> None:
    file = AFile(path)
    path.write_text("# new\nnameserver 192.0.2.1\n")
    assert file.look() is None


def test_a_file_that_appears_is_seen(path: Path) -> None:
    file = AFile(path, None)
    assert file.servers() == ["127.0.0.1"]
    assert file.look() is None
    path.write_text("nameserver 192.0.2.1\n")
    assert file.look() == ["192.0.2.1"]


@pytest.mark.parametrize("text", ["", "# no name server\n"])
def test_without_a_name_server_this_machine_is_asked(path: Path, text: str) -> None:
    assert AFile(path, text).servers() == ["127.0.0.1"]


def test_a_file_that_loses_its_name_servers_names_this_machine(path: Path) -> None:
    file = AFile(path)
    path.write_text("# none\n")
    assert file.look() == ["127.0.0.1"]


def test_a_file_that_is_being_written_changes_nothing_yet(path: Path) -> None:
    file = AFile(path)
    path.write_text("")
    assert file.look() is None
    path.unlink()
    assert file.look() is None
    assert file.servers() == ["192.0.2.1"]
    path.write_text("nameserver 192.0.2.2\n")
    assert file.look() == ["192.0.2.2"]


def test_the_file_is_looked_at_once_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = AFile(path)
    looks = []
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path: looks.append(path) or stat(path))  # type: ignore[func-returns-value]
    for _ in range(20):
        file.seen.changed()
        file.clock.advance(INTERVAL / 4)
    assert len(looks) == 4


def test_a_file_that_cannot_be_read_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    file = AFile(path, None)
    assert file.look() is None
    assert file.servers() == ["127.0.0.1"]
    assert [record.message for record in caplog.records] == [
        f"resolv_conf={path} unreadable error=Is a directory"
    ]
