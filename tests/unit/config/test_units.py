# SPDX-License-Identifier: MIT
"""Units that a machine starts when it boots."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.config.units import starts_at_boot


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """What the administrator has decided; the units themselves are in `lib`."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "etc/multi-user.target.wants").mkdir(parents=True)
    return tmp_path / "etc"


def enable(etc: Path, unit: str, wants: str = "multi-user.target.wants") -> Path:
    file = etc.parent / "lib" / unit
    file.touch()
    link = etc / wants / unit
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(file)
    return link


def starts(etc: Path, unit: str = "clamav-daemon") -> bool:
    return starts_at_boot(unit, [etc, etc.parent / "lib"])


def test_one_that_is_installed_is_not_enabled_by_that(etc: Path) -> None:
    link = enable(etc, "clamav-daemon.service")
    assert starts(etc)
    assert starts(etc, "clamav-daemon.service")
    assert not starts(etc, "clamav")
    link.unlink()
    assert not starts(etc)


@pytest.mark.parametrize("wants", ["sockets.target.wants", "default.target.requires"])
def test_a_socket_will_do(etc: Path, wants: str) -> None:
    enable(etc, "clamav-daemon.socket", wants)
    assert starts(etc)
    assert not starts(etc, "clamav-daemon.service")


def test_one_whose_package_was_removed(etc: Path) -> None:
    link = enable(etc, "clamav-daemon.service")
    link.resolve().unlink()
    assert not starts(etc)


def test_one_that_is_masked(etc: Path) -> None:
    enable(etc, "clamav-daemon.service")
    (etc / "clamav-daemon.service").symlink_to("/dev/null")
    assert not starts(etc)


def test_a_machine_without_systemd(tmp_path: Path) -> None:
    assert not starts_at_boot("clamav-daemon", [tmp_path / "none"])
