# SPDX-License-Identifier: MIT
"""Password files and certificates that an option of a plugin names."""

from __future__ import annotations

import ssl
from pathlib import Path

from qpsmtpd.errors import ConfigError
from qpsmtpd.nexthop.hopauth import read_password
from qpsmtpd.nexthop.target import TlsMode, tls_context
from qpsmtpd.plugin.services import Config


def password_of(plugin: str, option: str, file: Path | None, config: Config) -> str:
    """The password in the file of an option, "" without one; it blocks.  Raises ConfigError."""
    if file is None:
        return ""
    path = config.path(file)
    try:
        return read_password(path)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(plugin, f"{option}: {path}: {problem}") from error


def context_of(
    plugin: str, mode: TlsMode, ca: Path | None, config: Config
) -> ssl.SSLContext | None:
    """The client context of a mode of TLS and the option `ca`; it blocks.  Raises ConfigError."""
    path = ca and config.path(ca)
    try:
        return tls_context(mode, path)
    except OSError as error:
        raise ConfigError(plugin, f"ca: {path}: {error.strerror or error}") from error
