# SPDX-License-Identifier: MIT
"""The values of the parameters of DSN (RFC 3461 section 4)."""

from __future__ import annotations

import pytest

from qpsmtpd.mail.dsn import has_wrong_value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RET", "FULL"),
        ("RET", "hdrs"),
        ("ENVID", "QQ314159"),
        ("ENVID", "a+2Bb"),
        ("ENVID", "x" * 100),
        ("NOTIFY", "NEVER"),
        ("NOTIFY", "never"),
        ("NOTIFY", "SUCCESS,FAILURE,DELAY"),
        ("NOTIFY", "failure"),
        ("ORCPT", "rfc822;u@example.test"),
        ("ORCPT", "rfc822;a+2Bb@example.test"),
        ("ORCPT", "x-local;u"),
        ("ORCPT", f"rfc822;{'x' * 493}"),
        ("OTHER", "anything"),
    ],
)
def test_right(name: str, value: str) -> None:
    assert not has_wrong_value({name: value, "SIZE": "1"}, utf8=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RET", None),
        ("RET", "ALL"),
        ("ENVID", ""),
        ("ENVID", "a+b"),
        ("ENVID", "a+0A"),
        ("ENVID", "a b"),
        ("ENVID", "ü"),
        ("ENVID", "x" * 101),
        ("NOTIFY", None),
        ("NOTIFY", ""),
        ("NOTIFY", "NEVER,SUCCESS"),
        ("NOTIFY", "SUCCESS,"),
        ("NOTIFY", "SOMETIMES"),
        ("NOTIFY", "DELAY,DELAY,DELAY,DELAY"),
        ("ORCPT", "u@example.test"),
        ("ORCPT", "rfc822;"),
        ("ORCPT", ";u"),
        ("ORCPT", "rfc822;a+b"),
        ("ORCPT", "rf c822;a"),
        ("ORCPT", "utf-8;ü@example.test"),
        ("ORCPT", f"rfc822;{'x' * 494}"),
    ],
)
def test_wrong(name: str, value: str | None) -> None:
    assert has_wrong_value({name: value}, utf8=False)


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("utf-8;ü@example.test", False),
        ("UTF-8;a@b", False),
        ("utf-8;a b", True),
        ("utf-8;a\x85b", True),
        ("utf-8;\udcff", True),
        ("rfc822;ü@example.test", True),
    ],
)
def test_internationalized_original_recipient(value: str, wrong: bool) -> None:
    assert has_wrong_value({"ORCPT": value}, utf8=True) is wrong
