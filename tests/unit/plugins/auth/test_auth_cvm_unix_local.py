# SPDX-License-Identifier: MIT
"""auth_cvm_unix_local: the code of the answer decides, on the ports where it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.api import ConfigError, Verdict, accept, deny
from qpsmtpd.plugins.auth.auth_cvm_unix_local import AuthCvmUnixLocal
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.unit.client import until
from tests.unit.logins.fake import (
    PASSWORD,
    SILENT,
    FakeBackEnd,
    a_login_session,
    assert_temporary,
    each_lie,
    each_unreadable,
    fake_back_end,
    log_in,
)
from tests.unit.scanners.fake import Answer

RIGHT = b"\0user\x001000\x001000\0A User\0/home/user\0/bin/sh\0"
WRONG = deny("Wrong user name or password", status="5.7.8")


async def ask(
    tmp_path: Path, answer: Answer, more: str = "", *, port: int = 587, password: str = PASSWORD
) -> tuple[Verdict | None, FakeBackEnd]:
    """What a login leads to if the module answers so."""
    async with fake_back_end(b"", answer, path=tmp_path / "cvm") as server:
        line = f"cvm_socket {server.place} {more}"
        session = a_login_session(local_port=port)
        verdict = await log_in(AuthCvmUnixLocal, line, password=password, session=session)
    return verdict, server


async def test_right(tmp_path: Path) -> None:
    verdict, server = await ask(tmp_path, RIGHT)
    assert verdict == accept()
    assert server.said == f"\1user\0example.test\0{PASSWORD}\0\0".encode()


async def test_wrong(tmp_path: Path) -> None:
    assert (await ask(tmp_path, b"\x64"))[0] == WRONG


@pytest.mark.parametrize("answer", [b"\4", b"\1\0", b"\0", b"\0user"])
async def test_no_sensible_answer(tmp_path: Path, answer: bytes) -> None:
    assert_temporary((await ask(tmp_path, answer))[0])


@each_lie
async def test_nonsense(tmp_path: Path, lie: Answer) -> None:
    more = f"timeout {0.2 if lie == SILENT else 60}"
    verdict, _ = await ask(tmp_path, lie, more)
    if isinstance(lie, bytes) and lie.startswith(b"d"):
        assert verdict == WRONG
    else:
        assert_temporary(verdict)


@pytest.mark.parametrize(
    ("port", "more", "asked"),
    [
        (25, "", False),
        (25, "enable_smtp yes", True),
        (465, "", True),
        (465, "enable_ssmtp no", False),
        (587, "enable_smtp no enable_ssmtp no", True),
    ],
)
async def test_ports(tmp_path: Path, port: int, more: str, asked: bool) -> None:
    verdict, server = await ask(tmp_path, RIGHT, more, port=port)
    assert verdict == (accept() if asked else None)
    assert bool(server.clients) == asked


async def test_nobody_there(tmp_path: Path) -> None:
    assert_temporary(
        await log_in(
            AuthCvmUnixLocal, f"cvm_socket {tmp_path}/x", session=a_login_session(local_port=587)
        )
    )


@each_unreadable
async def test_names_and_passwords_that_nobody_has(tmp_path: Path, text: str) -> None:
    verdict, server = await ask(tmp_path, RIGHT, password=text)
    assert (verdict, server.clients) == (WRONG, 0)


@pytest.mark.parametrize("line", ["", "cvm_socket cvm"])
async def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(AuthCvmUnixLocal, line)


async def test_examine(tmp_path: Path) -> None:
    plugin = await a_plugin(AuthCvmUnixLocal, "cvm_socket /cvm")
    [finding] = await findings_of(plugin, FakeSystem(tmp_path))
    assert "No such file" in str(finding)
    async with fake_back_end(b"", path=tmp_path / "cvm") as server:
        [finding] = await findings_of(plugin, FakeSystem(tmp_path))
        await until(lambda: server.clients == 1)
    assert "somebody listens" in str(finding)
