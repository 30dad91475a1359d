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


@pytest.mark.parametrize("pattern", ["%u_%h_%a"])
@pytest.mark.parametrize(
    "address", [Address("User", "Example.COM."), Address("USER", "ｅｘａｍｐｌｅ．com")]
)
async def test_no_spelling_gets_around_a_file(
    tmp_path: Path, own: Path, pattern: str, address: Address
) -> None:
    (own / "badhelo").write_text("one\n")
    assert await ask(tmp_path, address=address, pattern=pattern) == ["one"]


async def test_an_international_domain_has_one_directory(tmp_path: Path) -> None:
    (tmp_path / "xn--bcher-kva.example").mkdir()
    (tmp_path / "xn--bcher-kva.example/badhelo").write_text("one\n")
    for domain in ("bücher.example", "BÜCHER.example", "XN--BCHER-KVA.example"):
        assert await ask(tmp_path, address=Address("user", domain), pattern="%h") == ["one"]


async def test_the_local_part_as_it_came_is_first(tmp_path: Path) -> None:
    for name in ("User", "user"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "badhelo").write_text(f"{name}\n")
    assert await ask(tmp_path, address=Address("User", "x"), pattern="%u") == ["User"]
    assert await ask(tmp_path, address=Address("USER", "x"), pattern="%u") == ["user"]


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
    address = Address(local_part, domain)
    for directory in UserConfig("user_config", options, services())._directories(address):
        assert directory.parts in (
            ("/", "base", local_part, address.domain),
            ("/", "base", local_part.lower(), address.domain),
        )
