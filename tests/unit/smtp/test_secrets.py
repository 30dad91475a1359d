# SPDX-License-Identifier: MIT
"""Passwords stay out of the log, whatever became of AUTH, and whatever the client says next."""

from __future__ import annotations

import base64
import ssl
from typing import Any

import pytest

from qpsmtpd.api import Plugin, deny
from qpsmtpd.plugins.auth.auth_flat_file import AuthFlatFile
from qpsmtpd.plugins.auth.authdeny import Authdeny
from qpsmtpd.plugins.count_unrecognized_commands import CountUnrecognizedCommands
from qpsmtpd.plugins.rate_limit import RateLimit
from qpsmtpd.testing import a_plugin, a_session
from tests.unit.fakewire import FakeWire, a_plugin_with, fails, talk
from tests.unit.smtp.test_authenticate import Counting

PASSWORD = "Tr0ub4dor&3"
#: Its base64 consists of letters.
LETTERS = "abcabcabc"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def forms_of(password: str) -> list[str]:
    """All that may not be found in the log."""
    plain = f"\0joe@mx.example\0{password}"
    return [password, encoded(password), encoded(plain)]


def exchanges(password: str) -> dict[str, list[str]]:
    """What clients send one line after the other, whatever we say."""
    plain, user = encoded(f"\0joe@mx.example\0{password}"), encoded("joe@mx.example")
    secret = encoded(password)
    return {
        "PLAIN": [f"AUTH PLAIN {plain}"],
        "PLAIN, asked": ["AUTH PLAIN", plain],
        "PLAIN, twice": [f"AUTH PLAIN {plain}", plain, plain],
        "PLAIN, broken": [f"AUTH PLAIN {plain[:-3]}", plain[:-3], plain],
        "PLAIN, not encoded": [f"AUTH PLAIN joe {password}", password],
        "LOGIN": ["AUTH LOGIN", user, secret],
        "LOGIN, initial": [f"AUTH LOGIN {user}", secret],
        "LOGIN, once more": ["AUTH LOGIN", "!!!", secret, password, f"{password} {secret}"],
        "LOGIN, cancelled": ["AUTH LOGIN", "*", user, secret, secret[:-1]],
        "LOGIN, not encoded": ["AUTH LOGIN", "joe", password, password],
        "CRAM-MD5": ["AUTH CRAM-MD5", encoded(f"joe@mx.example {password}")],
        "CRAM-MD5, initial": [f"AUTH CRAM-MD5 {secret}", secret],
        "of a plugin": [f"AUTH COUNT {secret}", secret, secret, secret],
        "unknown": [f"AUTH NTLM {secret}", secret, f"x{password}"],
        "in lower case": ["auth login", user, secret],
        "with a tab": [f"AUTH\tPLAIN\t{plain}", secret],
        "after a space": [f" AUTH PLAIN {plain}", password],
        "without a space": [f"AUTHPLAIN {plain}", password],
        "with =": [f"AUTH=PLAIN {plain}", secret],
        "too long": ["AUTH LOGIN", "x" * 20000, secret],
        "NUL": ["AUTH LOGIN\0", user, secret],
        "without AUTH": [user, secret, plain],
        "of POP3": [f"USER joe {password}", f"PASS {password}"],
        "of IMAP": [f"a1 LOGIN joe {password}"],
    }


STATES: dict[str, dict[str, Any]] = {
    "offered": {"hello": b"EHLO x\r\n"},
    "before EHLO": {"hello": b""},
    "after HELO": {"hello": b"HELO x\r\n"},
    "not offered": {"hello": b"EHLO x\r\n", "auth": ()},
    "in clear": {"hello": b"EHLO x\r\n", "tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
    "in a transaction": {"hello": b"EHLO x\r\nMAIL FROM:<>\r\n"},
    "too many failures": {"hello": b"EHLO x\r\n", "max_auth_failures": 1},
    "a plugin fails": {"hello": b"EHLO x\r\n", "broken": True},
    "turned away": {"hello": b"EHLO x\r\nAUTH PLAIN !\r\n", "max_auth_failures_from_ip": 1},
}


async def the_plugins(*, broken: bool) -> tuple[Plugin[Any], ...]:
    first = a_plugin_with("first", auth=fails) if broken else Counting(deny())
    file = {"flat_auth_pw": ["joe@mx.example:right"]}
    return (
        first,
        await a_plugin(AuthFlatFile, config=file),
        await a_plugin(Authdeny),
        await a_plugin(RateLimit, "errors_per_client 1/1h"),
        await a_plugin(CountUnrecognizedCommands, "100"),
    )


@pytest.mark.parametrize("password", [PASSWORD, LETTERS])
@pytest.mark.parametrize("exchange", exchanges(""))
@pytest.mark.parametrize("state", STATES)
async def test_no_password_is_logged(
    caplog: pytest.LogCaptureFixture, state: str, exchange: str, password: str
) -> None:
    caplog.set_level("DEBUG")
    more: dict[str, Any] = {
        "auth": ("PLAIN", "LOGIN", "CRAM-MD5", "COUNT"),
        "exchanges": ("COUNT",),
    }
    more |= STATES[state]
    if broken := more.pop("broken", False):
        del more["exchanges"]
    hello: bytes = more.pop("hello")
    lines = [f"{line}\r\n".encode() for line in exchanges(password)[exchange]]
    await talk(hello, *lines, b"NOOP\r\n", plugins=await the_plugins(broken=broken), **more)
    assert "closed ip=" in caplog.text
    for form in forms_of(password):
        assert form.lower() not in caplog.text.lower()


@pytest.mark.parametrize(
    ("verb", "argument", "shown"),
    [
        ("FLY", "high", "FLY"),
        ("FLY", "", "FLY"),
        ("XFOO", "bar", "XFOO"),
        ("XFOO", "", "(4 octets)"),
        ("c2VjcmV0", "", "(8 octets)"),
        ("c2VjcmV0", "x", "(9 octets)"),
        ("X" * 13, "x", "(14 octets)"),
        ("caf\xe9", "x", "(5 octets)"),
        ("", "x", "(1 octets)"),
        ("", "", "(0 octets)"),
    ],
)
def test_what_is_shown_of_an_unknown_command(verb: str, argument: str, shown: str) -> None:
    session = a_session()
    assert session.loggable(verb, argument) == shown
    session.auth_tried = True
    assert session.loggable(verb, argument) == f"({len(verb) + len(argument)} octets)"


async def test_known_commands_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    wire: FakeWire = await talk(b"EHLO there\r\nFLY high\r\n")
    assert wire.codes == [220, 250, 500]
    assert "command 'EHLO there'" in caplog.text
    assert "unrecognized command 'FLY'" in caplog.text
    assert "high" not in caplog.text
