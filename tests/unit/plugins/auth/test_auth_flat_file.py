# SPDX-License-Identifier: MIT
"""auth_flat_file lets in who knows the password, by all three mechanisms, and says if it leaks."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

import pytest

from qpsmtpd.api import AuthAttempt, ConfigError, Verdict, accept, deny
from qpsmtpd.plugins.auth.auth_flat_file import AuthFlatFile
from qpsmtpd.testing import a_plugin, a_session

FILE = ["good@example.com:good_pass", "Mixed@Example.org:pa:ss:"]
CHALLENGE = b"<1.2@mx.example>"
WRONG = deny("Wrong user name or password", status="5.7.8")


async def check(attempt: AuthAttempt) -> Verdict | None:
    plugin = await a_plugin(AuthFlatFile, config={"flat_auth_pw": FILE})
    match attempt.mechanism:
        case "PLAIN":
            return await plugin.hook_auth_plain(a_session(), attempt)
        case "LOGIN":
            return await plugin.hook_auth_login(a_session(), attempt)
        case _:
            return await plugin.hook_auth_cram_md5(a_session(), attempt)


def an_attempt(mechanism: str, user: str, password: str) -> AuthAttempt:
    if mechanism != "CRAM-MD5":
        return AuthAttempt(mechanism, user, password)
    digest = hmac.new(password.encode(), CHALLENGE, hashlib.md5).hexdigest()
    return AuthAttempt(mechanism, user, digest=digest, challenge=CHALLENGE)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize(
    ("user", "password", "verdict"),
    [
        ("good@example.com", "good_pass", accept()),
        ("GOOD@Example.com", "good_pass", accept()),
        ("mixed@example.org", "pa:ss:", accept()),
        ("good@example.com", "bad", WRONG),
        ("good@example.com", "", WRONG),
        ("good@example.com", "Good_pass", WRONG),
        ("none@example.com", "good_pass", None),
        ("none@example.com", "", None),
        ("good", "good_pass", None),
        ("", "", None),
    ],
)
async def test_log_in(mechanism: str, user: str, password: str, verdict: Verdict | None) -> None:
    assert await check(an_attempt(mechanism, user, password)) == verdict


async def test_a_digest_counts_for_its_own_challenge_only() -> None:
    attempt = an_attempt("CRAM-MD5", "good@example.com", "good_pass")
    replayed = AuthAttempt("CRAM-MD5", attempt.user, digest=attempt.digest, challenge=b"<9@x>")
    assert await check(replayed) == WRONG


@pytest.mark.parametrize("line", ["user:secret", "user@:secret", "@host:secret", "a@b", "a@b:"])
async def test_wrong_lines_are_errors_that_do_not_show_the_password(line: str) -> None:
    with pytest.raises(ConfigError, match=r"flat_auth_pw:1: .*user@domain:password") as caught:
        await a_plugin(AuthFlatFile, config={"flat_auth_pw": [line]})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("mode", "warnings"), [(0o644, 1), (0o640, 0)])
async def test_a_file_that_everybody_can_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warnings: int
) -> None:
    file = tmp_path / "flat_auth_pw"
    file.touch()
    file.chmod(mode)
    with caplog.at_level(logging.WARNING):
        await a_plugin(
            AuthFlatFile,
            config={"flat_auth_pw": FILE},
            config_dir=tmp_path,
        )
    assert len(caplog.records) == warnings


async def test_passwords_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await check(an_attempt("PLAIN", "good@example.com", "attempted"))
    assert "good@example.com" in caplog.text
    assert "good_pass" not in caplog.text
    assert "attempted" not in caplog.text
