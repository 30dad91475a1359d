# SPDX-License-Identifier: MIT
"""rcpt_map knows the recipients of its domain, and of no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import ConfigError, Verdict, accept, defer, deny
from qpsmtpd.plugins.rcpt_map import RcptMap, _read_rules
from qpsmtpd.testing import a_plugin, a_recipient, a_transaction

FILE = """\
# users
user@example.com OK

 Mixed@Example.com\tOK  welcome
gone@example.com DENY gave notice
later@example.com DENYSOFT
hard@example.com DENY_DISCONNECT
else@example.com DECLINED
user@other.test OK
"""
UNKNOWN = deny("No such user.", status="5.1.1")


@pytest.fixture
def line(tmp_path: Path) -> str:
    file = tmp_path / "map"
    file.write_text(FILE)
    return f"domain Example.com file {file}"


async def verdict_on(line: str, address: str) -> Verdict | None:
    plugin = await a_plugin(RcptMap, line)
    return await plugin.hook_rcpt(a_transaction(), a_recipient(address))


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("user@example.com", accept()),
        ("USER@EXAMPLE.COM", accept()),
        ("mixed@example.com", accept("welcome")),
        ("gone@example.com", deny("gave notice", status="5.1.1")),
        ("later@example.com", defer("No such user.", status="4.1.1")),
        ("hard@example.com", deny("No such user.", status="5.1.1", disconnect=True)),
        ("else@example.com", None),
        ("unknown@example.com", UNKNOWN),
        ("user@other.test", None),
        ("user@sub.example.com", None),
        ("postmaster", None),
    ],
)
async def test_verdicts(line: str, address: str, verdict: Verdict | None) -> None:
    assert await verdict_on(line, address) == verdict


@pytest.mark.parametrize(
    ("default", "verdict"),
    [
        ("DENYSOFT=Come_back_later", defer("Come back later", status="4.1.1")),
        ("DENY", UNKNOWN),
        ("DECLINED", None),
        ("OK", accept()),
    ],
)
async def test_default(line: str, default: str, verdict: Verdict | None) -> None:
    assert await verdict_on(f"{line} default {default}", "unknown@example.com") == verdict


async def test_file_of_the_configuration_directory(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("user@example.com OK\n")
    plugin = await a_plugin(RcptMap, "domain example.com file map", config_dir=tmp_path)
    assert await plugin.hook_rcpt(a_transaction(), a_recipient("user@example.com")) == accept()


@pytest.mark.parametrize("words", ["", "domain example.com", "file /dev/null"])
async def test_both_options_are_required(words: str) -> None:
    with pytest.raises(ConfigError, match="is required"):
        await a_plugin(RcptMap, words)


async def test_wrong_default(line: str) -> None:
    with pytest.raises(ConfigError, match="default: 'MAYBE' is not one of"):
        await a_plugin(RcptMap, f"{line} default MAYBE=x")


async def test_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"^/nonexistent: cannot be read"):
        await a_plugin(RcptMap, "domain example.com file /nonexistent")


@pytest.mark.parametrize("wrong", ["user@example.com", "user@example.com MAYBE", "user OK"])
def test_wrong_lines(wrong: str) -> None:
    with pytest.raises(ConfigError, match="map:2: "):
        _read_rules(f"ok@example.com OK\n{wrong}\n", Path("map"))


@given(st.text())
def test_any_file_is_read_or_refused(text: str) -> None:
    try:
        addresses = list(_read_rules(text, Path("map")))
    except ConfigError as error:
        assert error.where.startswith("map:")
        return
    assert all("@" in address for address in addresses)
