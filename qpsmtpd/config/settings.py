# SPDX-License-Identifier: MIT
"""Settings: what the daemon itself reads from the configuration, one value per file.

Each field of `Settings` is one file of the configuration; `file_of` gives its name.  The
documentation of a file is that of its field.
"""

from __future__ import annotations

import dataclasses
import re
import socket
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.problems import Problem
from qpsmtpd.config.spooldir import default_spool_dir
from qpsmtpd.errors import ConfigError
from qpsmtpd.log import LogLevel
from qpsmtpd.options import Seconds, Size, opt, parse_value
from qpsmtpd.services import Entry

_is_host = re.compile(r"[A-Za-z0-9_.:\[\]-]+").fullmatch
_is_octal = re.compile(r"[0-7]{3,5}").fullmatch
_is_printable = re.compile(r"[ -~]*").fullmatch

#: Files whose limit must be at least this; of the others, 0 switches the limit off.
_AT_LEAST: dict[str, float] = {
    "timeout": 1,
    "timeoutsmtpd": 1,
    "session_timeout": 1,
    "hook_timeout": 1,
    "reverse_timeout": 0.1,
    "max_recipients": 1,
    "max_line_length": 1000,
    "max_header_size": 1000,
    "max_headers": 1,
    "max_errors": 1,
    "max_junk_commands": 1,
    "max_auth_failures": 1,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one configuration.

    Sizes are in bytes.  0 means "no limit" for databytes, max_connections and max_from_ip only.
    """

    # --- files that the Perl version reads too ---
    me: str = opt("", doc="Our host name, for the greeting and more; that of the system if empty.")
    smtpgreeting: str = opt("", doc="Text of the greeting after 220; hides version and name.")
    timeout: Seconds = opt(
        Seconds(300), doc="How long to wait for a command, or for more of a message (was 1200)."
    )
    timeoutsmtpd: Seconds | None = opt(
        None, doc="How long to wait for a command, in place of timeout; the name that qmail uses."
    )
    databytes: Size = opt(Size(0), doc="Largest message accepted; 0 is any.")
    size_threshold: Size = opt(
        Size(256 << 10), doc="Messages up to this size stay in memory instead of a file (was 0)."
    )
    spool_dir: Path = opt(
        Path(), doc="Directory of scratch files; made if missing. Without it one in /tmp."
    )
    spool_perms: str = opt("0700", doc="Octal permissions of spool_dir.")
    plugin_dirs: tuple[Path, ...] = opt(
        (), doc="Directories of local plugins, one a line; they precede the plugins shipped."
    )
    loglevel: str = opt("4", doc="What goes to stderr while the file logging is empty: 0 to 7.")
    tls_before_auth: bool = opt(False, doc="Whether AUTH is offered under TLS only.")
    me_auth_results: str = opt(
        "", doc="Our name in Authentication-Results, in place of me; none adds no such field."
    )
    # --- files of our own ---
    session_timeout: Seconds = opt(Seconds(7200), doc="How long a session may last.")
    max_recipients: int = opt(1000, doc="Recipients of one message (RFC 5321 section 4.5.3.1.8).")
    max_line_length: Size = opt(Size(64 << 10), doc="Longest line of a message.")
    max_header_size: Size = opt(Size(256 << 10), doc="Largest header section of a message.")
    max_headers: int = opt(1000, doc="Header fields of a message.")
    max_errors: int = opt(100, doc="Error replies in one session; the next one closes it.")
    max_junk_commands: int = opt(
        100, doc="Commands other than MAIL, RCPT and DATA since the last message."
    )
    max_auth_failures: int = opt(3, doc="Failed log-ins in one session.")
    max_connections: int = opt(10000, doc="Connections of one worker at a time; 0 is any number.")
    max_from_ip: int = opt(
        0, doc="Connections of one client address at a time, for hosts_allow; 0 is any number."
    )
    hook_timeout: Seconds = opt(
        Seconds(120), doc="How long one hook of a plugin may take, but for the hook queue."
    )
    reverse_lookup: bool = opt(True, doc="Whether the client's name is looked up in the DNS.")
    reverse_timeout: Seconds = opt(Seconds(5), doc="How long to wait for the client's name.")

    @property
    def command_timeout(self) -> Seconds:
        """How long to wait for a command."""
        return self.timeoutsmtpd or self.timeout

    @property
    def spool_mode(self) -> int:
        """The permission bits of spool_dir."""
        return int(self.spool_perms, 8)

    @property
    def stderr_level(self) -> LogLevel:
        """The least important level that goes to stderr."""
        return LogLevel.parse(self.loglevel)


def file_of(field: str) -> str:
    """The name of the file that a field of Settings is read from."""
    return "me-auth-results" if field == "me_auth_results" else field


def load_settings(files: ConfigFiles) -> tuple[Settings, list[Problem]]:
    """Read all settings; what cannot be read keeps its default and is a problem."""
    problems: list[Problem] = []
    kinds = typing.get_type_hints(Settings)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        try:
            values |= _read(field.name, kinds[field.name], files, problems)
        except ConfigError as error:
            problems.append(Problem.of(error))
    values.setdefault("me", socket.gethostname())
    values.setdefault("spool_dir", default_spool_dir())
    return Settings(**values), problems


def _read(name: str, kind: Any, files: ConfigFiles, problems: list[Problem]) -> dict[str, Any]:
    """The value of one field; empty when it has no file."""
    entries = files.entries(file_of(name))
    if not entries:
        return {}
    if name == "plugin_dirs":
        return {name: tuple(Path(entry.text) for entry in entries)}
    problems.extend(_surplus(name, entries))
    entry = entries[0]
    try:
        value = parse_value(kind, entry.text)
        for wanted in _wanted(name, value):
            raise ValueError(wanted)
    except ValueError as error:
        raise ConfigError(entry.where, f"{entry.text!r} is not {error}") from None
    return {name: value}


def _surplus(name: str, entries: Sequence[Entry]) -> Iterator[Problem]:
    if len(entries) > 1:
        text = f"only the first line of {file_of(name)} counts, not this one"
        yield Problem(entries[1].where, text, "warning")


def _wanted(name: str, value: Any) -> Iterator[str]:
    """What would be right, if the value is not."""
    if name in _AT_LEAST and value < _AT_LEAST[name]:
        yield f"enough: at least {_AT_LEAST[name]:g}"
    if name in ("max_connections", "max_from_ip") and value < 0:
        yield "a number of connections (0 is any number)"
    if name in ("me", "me_auth_results") and not _is_host(value):
        yield "a host name"
    if name == "smtpgreeting" and not _is_printable(value):
        yield "plain ASCII text (RFC 5321 section 4.2)"
    if name == "spool_perms" and not _is_octal(value):
        yield "an octal number like 0700"
    if name == "spool_dir" and not value.is_absolute():
        yield "an absolute path"
    if name == "loglevel":
        LogLevel.parse(value)
