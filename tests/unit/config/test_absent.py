# SPDX-License-Identifier: MIT
"""What stands in for plugins that we do not ship."""

from __future__ import annotations

import dataclasses
import re

import pytest

from qpsmtpd.config.absent import ABSENT, what_stands_in
from qpsmtpd.config.names import PERL_PLUGINS, todays_name
from qpsmtpd.config.pluginfinder import is_shipped, shipped_names
from qpsmtpd.config.settings import Settings, file_of
from qpsmtpd.plugin.base import HOOK_METHODS

SHIPPED = shipped_names()


def test_each_plugin_of_the_perl_version_is_ours_or_has_a_stand_in() -> None:
    names = {todays_name(name)[0] for name in PERL_PLUGINS}
    assert names - set(SHIPPED) - set(ABSENT) == set()


def test_no_plugin_of_ours_is_absent() -> None:
    """Who adds a plugin removes what stood in for it."""
    assert set(SHIPPED) & set(ABSENT) == set()
    assert all(map(is_shipped, SHIPPED))


@pytest.mark.parametrize("name", ABSENT)
def test_sentences(name: str) -> None:
    text = ABSENT[name].stands_in
    assert not text.endswith(".")
    assert 20 < len(text) < 160


@pytest.mark.parametrize("name", ABSENT)
def test_what_stands_in_is_there(name: str) -> None:
    """Plugins, settings and hooks of ours that the sentences name, and Postfix's parameters."""
    named = re.findall(r"[a-z]+(?:[_/][a-z_-]+)+", ABSENT[name].stands_in)
    settings = {file_of(field.name) for field in dataclasses.fields(Settings)}
    ours = {*SHIPPED, *settings, *HOOK_METHODS}
    assert set(named) <= ours | {"mime_header_checks", "always_bcc", "peers/"}


@pytest.mark.parametrize(
    ("name", "text", "loss"),
    [
        ("virus/sophie", "virus/command", "idle"),
        ("sophie", "virus/command", "idle"),
        ("exe_filter", "mime_header_checks", "filter"),
        ("stunnel", "proxy_networks", "vital"),
        ("site/stunnel", "proxy_networks", "filter"),
        ("checks/dnsbl", "did you mean dnsbl?", "filter"),
        ("checks/check_relay", "did you mean relay?", "filter"),
        ("spamasassin", "did you mean spamassassin?", "filter"),
        ("logging/ffile", "did you mean logging/file?", "idle"),
        ("logging/other", "logging/syslog", "idle"),
        ("auth/ours", "hook_auth_plain", "filter"),
        ("queue/deliver", "queue/maildir", "filter"),
        ("checks/spf", "sender_permitted_from", "filter"),
        ("site/quota", "rewritten in Python", "filter"),
    ],
)
def test_names(name: str, text: str, loss: str) -> None:
    absent = what_stands_in(name, SHIPPED)
    assert text in absent.stands_in
    assert absent.loss == loss
