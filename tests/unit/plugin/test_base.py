# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/plugin/base.py."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import logging
from dataclasses import dataclass, replace
from typing import Any

import pytest

from qpsmtpd.errors import PluginError
from qpsmtpd.mail.session import AuthAttempt, Session
from qpsmtpd.mail.verdict import Decision, Verdict, defer, deny
from qpsmtpd.plugin.base import (
    HOOK_METHODS,
    Plugin,
    RejectOptions,
    RejectType,
    fit_status,
    password_matches,
    rejection,
)
from qpsmtpd.plugin.checks import check_plugin
from qpsmtpd.testing import a_plugin, a_session, a_transaction, services

#: The hook list of the Perl version.
PERL_HOOKS = """
    logging config user_config post-fork pre-connection connect ehlo_parse ehlo helo_parse helo
    auth_parse auth auth-plain auth-login auth-cram-md5 rcpt_parse rcpt_pre rcpt mail_parse mail
    mail_pre data data_headers_end data_post_headers data_post queue_pre queue queue_post vrfy noop
    quit reset_transaction disconnect post-connection unrecognized_command deny ok received_line
    help
"""


class Idle(Plugin[None]):
    """Has no hooks and takes no options."""


class Rejecting(Plugin[RejectOptions]):
    """Has the options of plugins that reject."""


# --- hooks ------------------------------------------------------------------------------------


def test_the_hooks_are_those_of_the_perl_version_and_four_more() -> None:
    perl = {"hook_" + name.replace("-", "_") for name in PERL_HOOKS.split()}
    assert len(perl) == 39
    assert set(HOOK_METHODS) == perl | {
        "hook_auth_exchange",
        "hook_rset",
        "hook_sign",
        "hook_verify_recipient",
    }


def test_hooks_in_their_order_with_those_it_inherits() -> None:
    class Parent(Plugin[None]):
        async def hook_disconnect(self, session: Session) -> None: ...

    class Child(Parent):
        async def hook_connect(self, session: Session) -> None: ...

    assert Child.hooks() == ["connect", "disconnect"]
    assert Idle.hooks() == []


@pytest.mark.parametrize("name", ["hook_rctp", "hook_", "hook_reset", "hook_valid_auth"])
def test_a_hook_that_does_not_exist(name: str) -> None:
    wrong: type[Plugin[Any]] = type("Wrong", (Plugin,), {name: None})
    with pytest.raises(PluginError, match=f"{name}: there is no such hook"):
        check_plugin(wrong)


def test_other_methods_are_free() -> None:
    check_plugin(type("Right", (Plugin,), {"rcpt": None, "hooked": None}))


async def test_every_hook_may_be_left_alone() -> None:
    plugin = await a_plugin(Idle)
    for method in map(plugin.__getattribute__, HOOK_METHODS):
        arguments = [None] * len(inspect.signature(method).parameters)
        result = method(*arguments)
        assert (await result if inspect.isawaitable(result) else result) is None
    await plugin.stop()
    assert plugin.tls_context() is None


async def test_a_plugin_knows_what_it_was_given() -> None:
    lent = services()
    plugin = await a_plugin(Idle, name="queue/smtp-forward:1", services=lent)
    assert plugin.name == "queue/smtp-forward:1"
    assert plugin.services is lent
    assert plugin.log.name == "qpsmtpd.plugins.queue.smtp-forward:1"


# --- immune -----------------------------------------------------------------------------------


async def test_immune() -> None:
    plugin = await a_plugin(Idle)
    session = a_session()
    session.deferred_rejects.append("naughty is not immune")
    assert not plugin.immune(session)
    assert plugin.immune(a_session(relay_client=True))
    session.whitelisted_host = "whitelisthosts"
    assert plugin.immune(session)


async def test_immune_sender() -> None:
    plugin = await a_plugin(Idle)
    tx = a_transaction()
    assert not plugin.immune(tx.session)
    tx.whitelisted_sender = True
    assert plugin.immune(tx.session)


# --- reject -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("", deny("no", status="5.7.1")),
        ("reject 1", deny("no", status="5.7.1")),
        ("reject 0", None),
        ("reject naughty", None),
        ("reject_type perm", deny("no", status="5.7.1")),
        ("reject_type hard", deny("no", status="5.7.1")),
        ("reject_type temp", defer("no", status="4.7.1")),
        ("reject_type soft", defer("no", status="4.7.1")),
        ("reject_type disconnect", deny("no", status="5.7.1", disconnect=True)),
        ("reject_type perm_disconnect", deny("no", status="5.7.1", disconnect=True)),
        ("reject_type temp_disconnect", defer("no", status="4.7.1", disconnect=True)),
        ("reject 0 reject_type temp", None),
    ],
)
async def test_reject(line: str, verdict: Verdict | None) -> None:
    plugin = await a_plugin(Rejecting, line)
    session = a_session()
    assert plugin.reject(session, "no", status="x.7.1") == verdict
    assert session.has_deferred_rejects is ("naughty" in line)


async def test_reject_by_default_as_the_plugin_likes() -> None:
    session = a_session()
    plugin = await a_plugin(Rejecting)
    assert plugin.reject(session, "no", default="temp_disconnect") == defer("no", disconnect=True)
    plugin = await a_plugin(Rejecting, "reject_type perm")
    assert plugin.reject(session, "no", default="temp_disconnect") == deny("no")


async def test_naughty_keeps_every_text_and_the_first_type() -> None:
    session = a_session()
    for line, text in (("", "one"), ("reject_type temp", "two"), ("reject_type disconnect", "3")):
        plugin = await a_plugin(Rejecting, f"reject naughty {line}")
        assert plugin.reject(session, text) is None
    assert session.deferred_rejects == ["one", "two", "3"]
    assert session.deferred_type == "temp"


@pytest.mark.parametrize(
    ("line", "reason", "logged"),
    [
        ("", "", "fail reason='no'"),
        ("", "listed by x", "fail reason='listed by x'"),
        ("reject 0", "", "fail tolerated=yes reason='no'"),
    ],
)
async def test_reject_is_logged(
    line: str, reason: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = await a_plugin(Rejecting, line)
    with caplog.at_level(logging.INFO, logger="qpsmtpd"):
        plugin.reject(a_session(), "no", reason=reason)
    assert caplog.messages == [logged]


async def test_reject_needs_its_options() -> None:
    plugin = await a_plugin(Idle, name="idle")
    with pytest.raises(TypeError, match="idle: its options are not RejectOptions"):
        plugin.reject(a_session(), "no")


async def test_reject_options_of_a_subclass() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Options(RejectOptions):
        """Nothing more."""

    class Other(Plugin[Options]):
        """Rejects as well."""

    Other.Options = Options
    assert (await a_plugin(Other)).reject(a_session(), "no") == deny("no")


# --- helpers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "decision", "disconnect"),
    [
        ("perm", Decision.DENY, False),
        ("temp", Decision.DEFER, False),
        ("disconnect", Decision.DENY, True),
        ("temp_disconnect", Decision.DEFER, True),
    ],
)
def test_rejection(kind: RejectType, decision: Decision, disconnect: bool) -> None:
    assert rejection(kind, "no") == Verdict(decision, "no", "", disconnect)
    digit = "4" if decision is Decision.DEFER else "5"
    assert rejection(kind, "no", "5.1.2").status == f"{digit}.1.2"


@pytest.mark.parametrize(
    ("status", "decision", "fitted"),
    [
        ("x.7.1", Decision.DENY, "5.7.1"),
        ("5.7.1", Decision.DEFER, "4.7.1"),
        ("4.7.23", Decision.DENY, "5.7.23"),
        ("5.1.5", Decision.ACCEPT, "2.1.5"),
        ("", Decision.DENY, ""),
    ],
)
def test_fit_status(status: str, decision: Decision, fitted: str) -> None:
    assert fit_status(status, decision) == fitted


def cram(password: str, challenge: bytes = b"<1@mx.example>") -> AuthAttempt:
    digest = hmac.new(password.encode(), challenge, hashlib.md5).hexdigest()
    return AuthAttempt("CRAM-MD5", "joe", None, digest, challenge)


def test_rfc_2195() -> None:
    """The example of RFC 2195 section 2."""
    attempt = AuthAttempt(
        "CRAM-MD5",
        "tim",
        digest="b913a602c7eda7a495b4e6e7334d3890",
        challenge=b"<1896.697170952@postoffice.reston.mci.net>",
    )
    assert password_matches(attempt, "tanstaaftanstaaf")


@pytest.mark.parametrize(
    ("attempt", "password", "matches"),
    [
        (AuthAttempt("PLAIN", "joe", "secret"), "secret", True),
        (AuthAttempt("PLAIN", "joe", "Secret"), "secret", False),
        (AuthAttempt("PLAIN", "joe", ""), "secret", False),
        (AuthAttempt("PLAIN", "joe", "größe"), "größe", True),
        (cram("secret"), "secret", True),
        (cram("größe"), "größe", True),
        (cram("other"), "secret", False),
        (replace(cram("secret"), digest=cram("secret").digest.upper()), "secret", True),
        (replace(cram("secret"), digest=""), "secret", False),
        # The client chooses these octets: they are a wrong password, not a fault.
        (replace(cram("secret"), digest="é" * 32), "secret", False),
    ],
)
def test_password_matches(attempt: AuthAttempt, password: str, matches: bool) -> None:
    assert password_matches(attempt, password) is matches
