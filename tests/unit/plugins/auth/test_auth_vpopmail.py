# SPDX-License-Identifier: MIT
"""auth_vpopmail: right, wrong, unknown and forbidden, and files that cannot be read."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from qpsmtpd.api import AuthAttempt, Verdict, accept
from qpsmtpd.logins import WRONG
from qpsmtpd.plugin.system import Obstacle
from qpsmtpd.plugins.auth.auth_vpopmail import AuthVpopmail
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.unit.logins.fake import a_login_session, assert_temporary, each_unreadable, log_in

HASH = "$1$abcdefgh$eKehL.s8tG6zTf8hBtmEF."
USER = "user@example.test"
PASSWORD = "geheim"


@pytest.fixture
def line(tmp_path: Path) -> str:
    domain = tmp_path / "domains/example.test"
    domain.mkdir(parents=True)
    (domain / "vpasswd").write_text(
        f"user:{HASH}:1:0:x:/x:NOQUOTA:{PASSWORD}\n"
        f"both:{{MD5-CRYPT}}{HASH}:1:0:x:/x:NOQUOTA:another\n"
        f"hashed:{HASH}:1:0:x:/x:NOQUOTA\n"
        f"clear::1:0:x:/x:NOQUOTA:{PASSWORD}\n"
        "none::1:0:x:/x:NOQUOTA\n"
        f"quiet:{HASH}:1:2048:x:/x:NOQUOTA:{PASSWORD}\n"
        f"local:{HASH}:1:32:x:/x:NOQUOTA:{PASSWORD}\n"
        "odd:x:1\n"
    )
    return f"vpopmail_dir {tmp_path} qmail_dir {tmp_path}/qmail"


CASES = [
    ("user", PASSWORD, accept()),
    ("USER", PASSWORD, accept()),
    ("user", "wrong", WRONG),
    ("both", PASSWORD, accept()),
    ("both", "another", WRONG),
    ("hashed", PASSWORD, accept()),
    ("clear", PASSWORD, accept()),
    ("clear", "wrong", WRONG),
    ("none", PASSWORD, WRONG),
    ("quiet", PASSWORD, WRONG),
    ("local", PASSWORD, WRONG),
    ("nobody", PASSWORD, None),
]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(("user", "password", "verdict"), CASES)
async def test_log_in(
    line: str, mechanism: str, user: str, password: str, verdict: Verdict | None
) -> None:
    user = f"{user}@example.test"
    assert await log_in(AuthVpopmail, line, user, password, mechanism=mechanism) == verdict


@pytest.mark.parametrize("user", ["user", "user@example.org", "user@../example.test"])
async def test_other_users_are_for_the_next_plugin(line: str, user: str) -> None:
    assert await log_in(AuthVpopmail, line, user, PASSWORD) is None


@each_unreadable
async def test_names_and_passwords_that_nobody_has(line: str, text: str) -> None:
    assert await log_in(AuthVpopmail, line, f"{text}@example.test", PASSWORD) is None
    assert await log_in(AuthVpopmail, line, USER, text) is None


def cram(user: str, password: str) -> AuthAttempt:
    digest = hmac.new(password.encode(), b"<1@x>", hashlib.md5).hexdigest()
    return AuthAttempt("CRAM-MD5", f"{user}@example.test", digest=digest, challenge=b"<1@x>")


@pytest.mark.parametrize(
    ("user", "password", "verdict"),
    [
        ("user", PASSWORD, accept()),
        ("clear", PASSWORD, accept()),
        ("both", "another", accept()),
        ("user", "wrong", WRONG),
        ("quiet", PASSWORD, WRONG),
        ("hashed", PASSWORD, None),
        ("hashed", "", None),
        ("none", "", None),
        ("nobody", "", None),
    ],
)
async def test_cram_md5(line: str, user: str, password: str, verdict: Verdict | None) -> None:
    plugin = await a_plugin(AuthVpopmail, f"{line} cram_md5 yes")
    assert not plugin.unusable_mechanisms()
    assert await plugin.hook_auth_cram_md5(a_login_session(), cram(user, password)) == verdict


async def test_cram_md5_is_not_offered_unless_asked_for(line: str) -> None:
    assert (await a_plugin(AuthVpopmail, line)).unusable_mechanisms() == ("CRAM-MD5",)


async def test_what_makes_no_sense_is_temporary(line: str, tmp_path: Path) -> None:
    assert_temporary(await log_in(AuthVpopmail, line, "odd@example.test", PASSWORD), PASSWORD)
    (tmp_path / "domains/example.test/vpasswd").unlink()
    assert_temporary(await log_in(AuthVpopmail, line, USER, PASSWORD), PASSWORD)


async def test_examine(tmp_path: Path) -> None:
    plugin, system = await a_plugin(AuthVpopmail, ""), FakeSystem(tmp_path)
    [finding] = await findings_of(plugin, system)
    assert "/home/vpopmail/domains" in str(finding) and "does not exist" in str(finding)
    system.path("/var/qmail/users").mkdir(parents=True)
    system.path("/var/qmail/users/assign").touch()
    [finding] = await findings_of(plugin, system)
    assert "can read it" in str(finding)
    system.obstacles["/var/qmail/users/assign"] = Obstacle(Path("/var/qmail/users"), "denied", "no")
    [finding] = await findings_of(plugin, system)
    assert finding.severity.name == "ERROR"
