# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/errors.py."""

from __future__ import annotations

import socket

import pytest

from qpsmtpd.errors import (
    AddressError,
    ConfigError,
    DnsError,
    PeerError,
    PluginError,
    QpsmtpdError,
    SpoolError,
    words_of,
)


@pytest.mark.parametrize("error", [ConfigError, PluginError, SpoolError, PeerError, DnsError])
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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('::1', 25)"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("Multiple exceptions: this, that"), "Multiple exceptions: this, that"),
        (EOFError("ended"), "ended"),
        (TimeoutError(), ""),
    ],
)
def test_the_words_of_the_system(error: Exception, words: str) -> None:
    assert words_of(error) == words
