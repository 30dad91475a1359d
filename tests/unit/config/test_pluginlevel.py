# SPDX-License-Identifier: MIT
"""The argument `loglevel` of a plugin line."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from qpsmtpd.config.pluginlevel import PluginLevel, set_plugin_level


@pytest.fixture
def listened() -> Iterator[logging.Logger]:
    """The logger of everything, at INFO."""
    logger = logging.getLogger("qpsmtpd")
    level = logger.level
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(level)


@pytest.fixture
def of_plugin(listened: logging.Logger) -> Iterator[logging.Logger]:
    logger = listened.getChild("plugin.test_level")
    yield logger
    set_plugin_level(logger, "")


def levels(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.getMessage(), record.levelname) for record in caplog.records]


@pytest.mark.parametrize(
    ("argument", "seen"),
    [
        ("", [("error", "ERROR"), ("info", "INFO")]),
        ("+0", [("error", "ERROR"), ("info", "INFO")]),
        ("-1", [("error", "CRITICAL"), ("info", "NOTICE"), ("debug", "INFO")]),
        ("+1", [("error", "WARNING")]),
        ("-7", [("error", "EMERG"), ("info", "EMERG"), ("debug", "EMERG")]),
        ("7", []),
        ("4", [("error", "WARNING"), ("info", "WARNING"), ("debug", "WARNING")]),
        ("LOGINFO", [("error", "INFO"), ("info", "INFO"), ("debug", "INFO")]),
    ],
)
def test_levels(
    of_plugin: logging.Logger,
    caplog: pytest.LogCaptureFixture,
    argument: str,
    seen: list[tuple[str, str]],
) -> None:
    set_plugin_level(of_plugin, argument)
    of_plugin.error("error")
    of_plugin.info("info")
    of_plugin.debug("debug")
    assert levels(caplog) == seen


def test_another_configuration_takes_its_place(
    of_plugin: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    set_plugin_level(of_plugin, "-1")
    set_plugin_level(of_plugin, "-1")
    of_plugin.info("once")
    set_plugin_level(of_plugin, "")
    of_plugin.info("as it is")
    assert levels(caplog) == [("once", "NOTICE"), ("as it is", "INFO")]


@pytest.mark.parametrize("argument", ["+9", "+", "loud", "1.5", "--1"])
def test_wrong(argument: str) -> None:
    with pytest.raises(ValueError, match="a log level"):
        PluginLevel(argument)
