# SPDX-License-Identifier: MIT
"""user_config reads a recipient's own file, and none outside."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import Address, Recipient
from qpsmtpd.plugin.options import parse
from qpsmtpd.plugins.user_config import MAX_BYTES, UserConfig, UserConfigOptions
from qpsmtpd.testing import a_plugin, services

USER = Address("user", "example.com")


async def ask(
    directory: Path, name: str = "badhelo", address: Address = USER, pattern: str = "%u_%h_%a"
) -> Sequence[str] | None:
    plugin = await a_plugin(UserConfig, f"{directory}/{pattern}")
    return await plugin.hook_user_config(Recipient(address), name)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The directory of the user's files."""
    own = tmp_path / "user_example.com_user@example.com"
    own.mkdir()
    return own


async def test_file(tmp_path: Path, own: Path) -> None:
    (own / "badhelo").write_text("# all lines\none\n")
    assert await ask(tmp_path) == ["# all lines", "one"]
    assert await ask(tmp_path, "other") is None
    assert await ask(tmp_path, address=Address("other", "example.com")) is None


async def test_default_pattern() -> None:
    assert (await a_plugin(UserConfig)).options.pattern == "/home/%u/.qpsmtpd"


@pytest.mark.parametrize(
    ("local_part", "domain", "name"),
    [
        ("..", "x", "badhelo"),
        ("../user", "x", "badhelo"),
        ("a/b", "x", "badhelo"),
        ("user", "x", "../secret"),
        ("user", "x", ""),
        ("user\0", "x", "badhelo"),
        ("", "x", "badhelo"),
    ],
)
async def test_nothing_outside(tmp_path: Path, local_part: str, domain: str, name: str) -> None:
    (tmp_path / "u").mkdir()
    for file in ("badhelo", "secret", "u/badhelo"):
        (tmp_path / file).write_text("outside")
    assert await ask(tmp_path / "u", name, Address(local_part, domain), "%u") is None


async def test_no_domain(tmp_path: Path) -> None:
    (tmp_path / "badhelo").write_text("outside")
    assert await ask(tmp_path, address=Address("postmaster", None), pattern="%h") is None


async def test_no_links_and_no_pipes(
    tmp_path: Path, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_text("secret")
    (own / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(own / "pipe")
    (own / "directory").mkdir()
    assert await ask(tmp_path, "link") is None
    assert "cannot read" in caplog.text
    assert await ask(tmp_path, "pipe") is None
    assert await ask(tmp_path, "directory") is None


async def test_size_limit(tmp_path: Path, own: Path) -> None:
    (own / "badhelo").write_text("x" * (MAX_BYTES + 10))
    assert await ask(tmp_path) == ["x" * MAX_BYTES]


@given(st.text(), st.text() | st.none())
def test_every_directory_is_below(local_part: str, domain: str | None) -> None:
    options, _ = parse(UserConfigOptions, ["/base/%u/%h"])
    assert options is not None
    directory = UserConfig("user_config", options, services())._directory(
        Address(local_part, domain)
    )
    assert directory is None or directory.parts == ("/", "base", local_part, domain)
