# SPDX-License-Identifier: MIT
"""Old names of plugins."""

from __future__ import annotations

import pytest

from qpsmtpd.config.names import PERL_PLUGINS, module_name, todays_name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("check_badmailfrom", "badmailfrom"),
        ("check_badmailfrom_patterns", "badmailfrom"),
        ("check_badmailfromto", "badmailfromto"),
        ("check_badrcptto", "badrcptto"),
        ("check_badrcptto_patterns", "badrcptto"),
        ("check_basicheaders", "headers"),
        ("check_bogus_bounce", "bogus_bounce"),
        ("check_earlytalker", "earlytalker"),
        ("check_loop", "loop"),
        ("check_norelay", "relay"),
        ("check_relay", "relay"),
        ("check_spamhelo", "helo"),
        ("check_unrecognized_commands", "count_unrecognized_commands"),
        ("denysoft_greylist", "greylisting"),
        ("dkimcheck", "dkim"),
        ("require_resolvable_fromhost", "resolvable_fromhost"),
        ("whitelist_soft", "whitelist"),
        ("check_qmail_deliverable", "qmail_deliverable"),
        ("config/http", "http_config"),
        ("ident/geoip2", "ident/geoip"),
        ("logging/file_connection", "logging/file"),
        ("async/check_earlytalker", "earlytalker"),
        ("queue/maildir", "queue/maildir"),
    ],
)
def test_todays_name(old: str, new: str) -> None:
    assert todays_name(old)[0] == new
    assert new in PERL_PLUGINS


@pytest.mark.parametrize(
    ("old", "arguments"),
    [
        ("check_relay", ()),
        ("relay_only", ("only", "1")),
        ("check_badmailfrom_patterns", ("patterns",)),
        ("check_badrcptto_patterns", ("patterns",)),
        ("check_basicheaders", ("check_basicheaders",)),
    ],
)
def test_arguments_that_are_implied(old: str, arguments: tuple[str, ...]) -> None:
    assert todays_name(old)[1] == arguments


def test_module_name() -> None:
    assert module_name("queue/qmail-queue") == "queue.qmail_queue"
