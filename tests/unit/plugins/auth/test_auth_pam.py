# SPDX-License-Identifier: MIT
"""auth_pam: what the helper is asked, and what its answers lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.api import Plugin, Verdict, accept
from qpsmtpd.plugins.auth.auth_pam import AuthPam, AuthPamOptions
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.unit.logins.fake import (
    PASSWORD,
    SILENT,
    assert_temporary,
    each_lie,
    each_unreadable,
    fake_back_end,
    log_in,
)
from tests.unit.scanners.fake import Answer

LOGIN = f"smtp\0user\0{PASSWORD}\x00192.0.2.1\0".encode()


async def ask(
    *answers: Answer, line: str = "", user: str = "user", password: str = PASSWORD
) -> tuple[Verdict | None, bytes]:
    """The verdict when the helper answers so, and what it was asked."""
    async with fake_back_end(b"", *answers, ends=(b"\0",)) as helper:
        line = f"place {helper.place} {line}"
        return await log_in(AuthPam, line, user, password), helper.said


@pytest.mark.parametrize(
    ("answer", "verdict"), [(b"right\n", accept()), (b"wrong 7\n", None), (b"wrong 13\n", None)]
)
async def test_yes_and_no(answer: bytes, verdict: Verdict | None) -> None:
    assert await ask(answer) == (verdict, LOGIN)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"failed 9 Authentication service cannot retrieve it\n", "cannot tell now: 9 Authent"),
        (b"refused not among the services that may be asked for\n", "refuses: not among"),
        (b"ready\n", "does not answer"),
        (b"right", "does not answer"),
        (b"rightly\n", "does not answer"),
        (b"wrong", "does not answer"),
        (b"failed \x1b[2J\n", "does not answer"),
        (b"", "does not answer"),
    ],
)
async def test_whatever_else_is_temporary(answer: bytes, reason: str) -> None:
    verdict, _ = await ask(answer)
    assert reason in assert_temporary(verdict)


@each_lie
async def test_nonsense_is_temporary(lie: Answer) -> None:
    verdict, _ = await ask(lie, line="timeout 0.1" if lie == SILENT else "")
    assert_temporary(verdict)


@each_unreadable
async def test_what_nobody_can_have_is_not_asked(text: str) -> None:
    assert await ask(b"right\n", user=text) == (None, b"")
    assert await ask(b"right\n", password=text) == (None, b"")


@pytest.mark.parametrize(
    ("user", "asked"),
    [
        ("user@Example.ORG", b"user"),
        ("user", b"user"),
        ("us@er@example.org", b"us@er"),
        ("user@other.example", None),
        ("user@", None),
        ("@example.org", None),
    ],
)
async def test_names_of_the_domain(user: str, asked: bytes | None) -> None:
    verdict, said = await ask(b"right\n", line="domain example.org", user=user)
    assert verdict == (accept() if asked else None)
    assert said == (LOGIN.replace(b"user", asked, 1) if asked else b"")


async def test_without_a_domain_names_are_as_they_are() -> None:
    _, said = await ask(b"right\n", user="user@example.org")
    assert said.startswith(b"smtp\0user@example.org\0")


async def test_another_service() -> None:
    async with fake_back_end(b"", b"right\n", ends=(b"\0",)) as helper:
        assert await log_in(AuthPam, f"mail-users place {helper.place}", "user") == accept()
        assert helper.said.startswith(b"mail-users\0user\0")


@pytest.mark.parametrize("service", ["../passwd", "a/b", "é", ".", "a.b"])
async def test_no_service_is_a_path(service: str) -> None:
    with pytest.raises(Exception, match=r"/etc/pam\.d"):
        await a_plugin(AuthPam, service)


async def test_no_helper_at_all(tmp_path: Path) -> None:
    assert_temporary(await log_in(AuthPam, f"place {tmp_path}/pam"))


# --- what doctor says -----------------------------------------------------------------------


async def findings(tmp_path: Path, line: str) -> list[str]:
    plugin: Plugin[AuthPamOptions] = await a_plugin(AuthPam, line, name="auth/auth_pam")
    found = await findings_of(plugin, FakeSystem(tmp_path))
    return [f"{each.severity.name} {each.text} {' '.join(each.commands)}".strip() for each in found]


async def test_a_helper_that_is_ready(tmp_path: Path) -> None:
    (tmp_path / "etc/pam.d").mkdir(parents=True)
    (tmp_path / "etc/pam.d/smtp").touch()
    async with fake_back_end(b"", b"ready\n", ends=(b"\0",)) as helper:
        assert await findings(tmp_path, f"place {helper.place}") == [
            "OK answers: PAM can be asked, service smtp",
            "OK the rules are those of /etc/pam.d/smtp",
        ]
        assert helper.said == b"smtp\0"


async def test_a_helper_that_refuses_or_is_not_there(tmp_path: Path) -> None:
    enable = "systemctl enable --now qpsmtpd-pam.socket"
    rules = "OK the rules are those of /etc/pam.d/other"
    async with fake_back_end(b"", b"refused not you\n", ends=(b"\0",)) as helper:
        refused, said = await findings(tmp_path, f"place {helper.place}")
        assert (refused, said) == (f"ERROR the helper refuses: not you {enable}", rules)
    [absent, _] = await findings(tmp_path, "place /run/qpsmtpd/pam.socket")
    assert absent.startswith("ERROR cannot connect: ")
    assert absent.endswith(enable)
