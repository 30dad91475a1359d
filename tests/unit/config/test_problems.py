# SPDX-License-Identifier: MIT
"""Problems as text."""

from __future__ import annotations

from qpsmtpd.config.problems import ConfigErrors, Problem, errors_in
from qpsmtpd.errors import ConfigError


def test_text() -> None:
    assert str(Problem("plugins:3", "unknown option")) == "plugins:3: unknown option"
    assert str(Problem("plugins:3", "odd", "warning")) == "plugins:3: warning: odd"
    assert str(Problem("", "odd")) == "odd"


def test_all_of_them() -> None:
    error, warning = Problem.of(ConfigError("me:1", "wrong")), Problem("me:2", "odd", "warning")
    assert errors_in([warning, error]) == [error]
    errors = ConfigErrors([error, warning])
    assert errors.problems == [error, warning]
    assert str(errors) == "me:1: wrong\nme:2: warning: odd"
