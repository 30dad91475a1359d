# SPDX-License-Identifier: MIT
"""auth_flat_file lets in who knows the password, by all three mechanisms, and says if it leaks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from qpsmtpd.api import (
    AuthAttempt,
    AuthExchange,
    Challenge,
    ConfigError,
    Store,
    TlsInfo,
    Verdict,
    accept,
    deny,
)
from qpsmtpd.logins.verifier import make_verifier
from qpsmtpd.nexthop.hopauth import Credentials, Scram
from qpsmtpd.plugins.auth.auth_flat_file import FILE as FLAT
from qpsmtpd.plugins.auth.auth_flat_file import AuthFlatFile
from qpsmtpd.testing import FakeStore, a_plugin, a_session

FIRST = base64.b64encode(b"n,,n=good@example.com,r=abc")
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


# --- verifiers ------------------------------------------------------------------------------

VERIFIERS = [
    f"good@example.com:{make_verifier('good_pass', b'salt of sixteen!', 4096)}",
    "clear@example.com:clear_pass",
]
CRAM_ATTEMPT = an_attempt("CRAM-MD5", "good@example.com", "good_pass")


async def with_verifiers(
    lines: Sequence[str] = VERIFIERS, store: Store | None = None
) -> AuthFlatFile:
    return await a_plugin(AuthFlatFile, config={FLAT: lines}, store=store or FakeStore())


@pytest.mark.parametrize(
    ("user", "password", "verdict"),
    [
        ("GOOD@example.com", "good_pass", accept()),
        ("good@example.com", "bad", WRONG),
        ("good@example.com", "", WRONG),
        ("clear@example.com", "clear_pass", accept()),
        ("clear@example.com", "bad", WRONG),
        ("none@example.com", "good_pass", None),
        ("none@example.com", "", None),
    ],
)
async def test_plain_with_verifiers(user: str, password: str, verdict: Verdict | None) -> None:
    plugin = await with_verifiers()
    attempt = an_attempt("PLAIN", user, password)
    assert await plugin.hook_auth_plain(a_session(), attempt) == verdict


async def test_cram_md5_needs_clear_text() -> None:
    plugin = await with_verifiers()
    assert await plugin.hook_auth_cram_md5(a_session(), CRAM_ATTEMPT) == WRONG
    assert plugin.unusable_mechanisms() == ("CRAM-MD5",)
    assert plugin.sasl_mechanisms() == ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")
    clear = await with_verifiers(FILE)
    assert (clear.unusable_mechanisms(), clear.sasl_mechanisms()) == ((), ())


@pytest.mark.parametrize(
    ("verifier", "right"),
    [
        ("SCRAM-SHA-256$1:c2FsdA==$secret:secret", "a verifier must be: SCRAM-SHA-256.ITERATIONS"),
        (VERIFIERS[0].partition(":")[2].replace("4096", "1000"), "4096 to 1000000 iterations"),
    ],
)
async def test_wrong_verifiers_are_errors(verifier: str, right: str) -> None:
    with pytest.raises(ConfigError, match=rf"flat_auth_pw:1: .*{right}") as caught:
        await with_verifiers([f"good@example.com:{verifier}"])
    assert "secret" not in str(caught.value)


class Step(NamedTuple):
    """What a plugin said in an exchange, and what it holds of it."""

    exchange: AuthExchange
    said: Any


async def scram(
    plugin: AuthFlatFile,
    user: str,
    password: str,
    *,
    tls: TlsInfo | None = None,
    plus: bool = False,
) -> Step:
    """A whole exchange with a client of ours."""
    client = Scram(Credentials(user, password), "sha256")
    session = a_session()
    session.tls = tls
    exchange = AuthExchange("SCRAM-SHA-256-PLUS" if plus else "SCRAM-SHA-256")
    said = await plugin.hook_auth_exchange(session, exchange)
    assert said == Challenge("")
    answer = client.begin()
    while isinstance(said, Challenge):
        exchange.response = base64.b64encode(answer)
        said = await plugin.hook_auth_exchange(session, exchange)
        if isinstance(said, Challenge):
            answer = client.answer(base64.b64decode(said.text))
    return Step(exchange, said)


@pytest.mark.parametrize(
    ("user", "password", "verdict"),
    [
        ("good@example.com", "good_pass", accept()),
        ("Good@Example.com", "good_pass", accept()),
        ("good@example.com", "bad", WRONG),
        ("clear@example.com", "clear_pass", accept()),
        ("clear@example.com", "bad", WRONG),
        ("none@example.com", "good_pass", WRONG),
        ("none", "good_pass", WRONG),
    ],
)
async def test_scram(user: str, password: str, verdict: Verdict) -> None:
    exchange, said = await scram(await with_verifiers(), user, password)
    assert said == verdict
    assert exchange.user == user


async def test_the_first_message_may_come_with_the_command() -> None:
    plugin, exchange = await with_verifiers(), AuthExchange("SCRAM-SHA-256", FIRST)
    said = await plugin.hook_auth_exchange(a_session(), exchange)
    assert isinstance(said, Challenge)
    assert base64.b64decode(said.text).startswith(b"r=abc")


@pytest.mark.parametrize("response", [b"=", b"!", b"biws", base64.b64encode(b"\xff")])
async def test_nonsense_is_refused(response: bytes) -> None:
    plugin, exchange = await with_verifiers(), AuthExchange("SCRAM-SHA-256", response)
    assert await plugin.hook_auth_exchange(a_session(), exchange) == WRONG


async def test_nobody_is_logged_in_who_acts_as_another() -> None:
    first = base64.b64encode(b"n,a=root,n=good@example.com,r=abc")
    plugin, exchange = await with_verifiers(), AuthExchange("SCRAM-SHA-256", first)
    assert await plugin.hook_auth_exchange(a_session(), exchange) == WRONG


async def test_who_gives_up_or_goes_on_talking_is_not_logged_in() -> None:
    plugin = await with_verifiers()
    for last, verdict in ((b"*", None), (b"bW9yZQ==", WRONG)):
        exchange, said = await scram(plugin, "good@example.com", "good_pass")
        assert said == accept()
        exchange.user, exchange.response = "", last
        assert await plugin.hook_auth_exchange(a_session(), exchange) == verdict
        assert exchange.user == ""


async def test_who_has_not_seen_our_offer_of_channel_binding_is_refused() -> None:
    plugin = await with_verifiers()
    session = a_session()
    session.tls = TlsInfo("TLSv1.2", "", unique=b"channel")
    exchange = AuthExchange("SCRAM-SHA-256", base64.b64encode(b"y,,n=good@example.com,r=abc"))
    assert await plugin.hook_auth_exchange(session, exchange) == WRONG
    session.tls = TlsInfo("TLSv1.3", "")
    assert isinstance(await plugin.hook_auth_exchange(session, exchange), Challenge)


async def salt_of(plugin: AuthFlatFile, user: str) -> str:
    first = base64.b64encode(f"n,,n={user},r=abc".encode())
    said = await plugin.hook_auth_exchange(a_session(), AuthExchange("SCRAM-SHA-256", first))
    assert isinstance(said, Challenge)
    _, salt, iterations = base64.b64decode(said.text).decode().split(",")
    assert iterations == "i=4096"
    assert len(base64.b64decode(salt[2:])) == 16
    return salt


@pytest.mark.parametrize("user", ["none@example.com", "clear@example.com", "good@example.com"])
async def test_salts_do_not_tell_who_exists(user: str) -> None:
    store = FakeStore()
    salts = {await salt_of(await with_verifiers(store=store), user) for _ in range(3)}
    assert len(salts) == 1
    assert salts != {await salt_of(await with_verifiers(store=store), f"x{user}")}
    assert salts == {await salt_of(await with_verifiers(store=store), user.upper())}


async def test_without_the_store_users_log_in_all_the_same() -> None:
    plugin = await with_verifiers(store=FakeStore(down=True))
    assert (await scram(plugin, "good@example.com", "good_pass")).said == accept()
    assert (await scram(plugin, "none@example.com", "good_pass")).said == WRONG
    assert await salt_of(plugin, "none@example.com") == await salt_of(plugin, "none@example.com")
