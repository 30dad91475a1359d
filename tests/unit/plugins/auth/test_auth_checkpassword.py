# SPDX-License-Identifier: MIT
"""auth_checkpassword: the exit status decides, and nothing but descriptor 3 has the password."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.api import ConfigError, Verdict, accept
from qpsmtpd.plugins.auth.auth_checkpassword import FILE, AuthCheckpassword
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.unit.logins.fake import PASSWORD, assert_temporary, each_unreadable, log_in
from tests.unit.scripts import a_script

#: What checkpassword does, for one user.
CHECK = r"""
name=$(printf 'user@example.test\0%s\0Y123456\0' "$EXPECTED" | od -An -tx1)
[ "$(od -An -tx1 <&3)" = "$name" ] || exit 1
exec "$@"
"""


async def run(
    tmp_path: Path, text: str, more: str = "", password: str = PASSWORD
) -> Verdict | None:
    program = a_script(tmp_path / "check", text)
    return await log_in(AuthCheckpassword, f"checkpw {program} {more}", password=password)


@pytest.mark.parametrize(("password", "verdict"), [("secret", accept()), ("Secret", None)])
async def test_a_program(tmp_path: Path, password: str, verdict: Verdict | None) -> None:
    assert await run(tmp_path, f"EXPECTED=secret\n{CHECK}", password=password) == verdict


async def test_what_the_program_gets(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = (
        f'cat <&3 >{seen}; cat >>{seen}; echo "$*" >>{seen}; cat /proc/$$/cmdline; env; exec "$@"'
    )
    assert await run(tmp_path, script, f"true {a_script(tmp_path / 'true', 'exit 0')}") == accept()
    inputs = f"user@example.test\0{PASSWORD}\0Y123456\0"
    assert seen.read_text() == f"{inputs}{tmp_path}/true\n"


async def test_the_command_in_a_file(tmp_path: Path) -> None:
    program = a_script(tmp_path / "check", '[ "$*" = "one two" ]')
    config = {FILE: [f"{program} one two"]}
    assert await log_in(AuthCheckpassword, "", config=config) == accept()


@pytest.mark.parametrize(
    ("status", "line", "wrong"),
    [(1, "", True), (3, "", True), (2, "", False), (111, "", False), (1, "wrong 9", False)],
)
async def test_exit_statuses(tmp_path: Path, status: int, line: str, wrong: bool) -> None:
    verdict = await run(tmp_path, f"cat <&3; exit {status}", line)
    if wrong:
        assert verdict is None
    else:
        assert f"exit status {status}" in assert_temporary(verdict)


async def test_a_program_that_reads_nothing(tmp_path: Path) -> None:
    assert await run(tmp_path, "exec 3<&-; exit 0") == accept()
    assert_temporary(await run(tmp_path, "kill -9 $$"))


async def test_a_program_that_hangs(tmp_path: Path) -> None:
    # It has nothing to do with its input, and no child that would outlive it.
    assert_temporary(await run(tmp_path, "exec sleep 600", "timeout 0.1"))


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    assert_temporary(await log_in(AuthCheckpassword, f"checkpw {tmp_path}/none"))


async def test_too_long_for_the_interface(tmp_path: Path) -> None:
    assert await run(tmp_path, "exit 0", password="x" * 490) is None
    assert await run(tmp_path, "exit 0", password="x" * 480) == accept()


@each_unreadable
async def test_names_and_passwords_that_nobody_has(tmp_path: Path, text: str) -> None:
    assert await run(tmp_path, "exit 0", password=text) is None


@pytest.mark.parametrize(
    ("line", "config"),
    [("checkpw vchkpw", ""), ("", ""), ("", "vchkpw /bin/true"), ("wrong 0", "/bin/check")],
)
async def test_wrong_lines(line: str, config: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(AuthCheckpassword, line, config={FILE: [config] if config else []})


async def test_examine(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path)
    plugin = await a_plugin(AuthCheckpassword, "checkpw /check")
    for make, text in (
        (lambda: None, "does not exist"),
        (lambda: (tmp_path / "check").write_text(""), "is not a program"),
        (lambda: (tmp_path / "check").chmod(0o755), "without other rights"),
        (lambda: (tmp_path / "check").chmod(0o4755), "its owner's privileges"),
    ):
        make()
        [finding] = await findings_of(plugin, system)
        assert text in str(finding)
