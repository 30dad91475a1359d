# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/errors.py."""

from __future__ import annotations

import pytest

from qpsmtpd.errors import (
    AddressError,
    ConfigError,
    DnsError,
    PluginError,
    QpsmtpdError,
    SpoolError,
)


@pytest.mark.parametrize("error", [ConfigError, PluginError, SpoolError, DnsError])
def test_what_we_raise_on_purpose_has_one_base(error: type[Exception]) -> None:
    assert issubclass(error, QpsmtpdError)


def test_a_bad_address_is_a_bad_value() -> None:
    assert issubclass(AddressError, ValueError)
    assert not issubclass(AddressError, QpsmtpdError)


@pytest.mark.parametrize(
    ("where", "text"), [("plugins:3", "plugins:3: unknown plugin"), ("", "unknown plugin")]
)
def test_config_error_names_the_place(where: str, text: str) -> None:
    error = ConfigError(where, "unknown plugin")
    assert str(error) == text
    assert (error.where, error.problem) == (where, "unknown plugin")
