# SPDX-License-Identifier: MIT
"""Settings: what the daemon itself reads from the configuration, one value per file.

Each field of `Settings` is one file of the configuration; `file_of` gives its name.  The
documentation of a file is that of its field.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.hostname import host_name
from qpsmtpd.config.names import todays_name
from qpsmtpd.config.problems import Problem
from qpsmtpd.config.spooldir import default_spool_dir
from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.hosts import HostList, oddity_of_hosts, parse_hosts
from qpsmtpd.lists.lines import read_each
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.mail.ip import IPNetwork
from qpsmtpd.plugin.options import (
    Seconds,
    Size,
    check_value,
    matching,
    opt,
    parse_value,
    read_value,
)
from qpsmtpd.plugin.reportoptions import check_address, check_place
from qpsmtpd.plugin.services import Entry
from qpsmtpd.store.location import Location, RedisLocation, missing_package, parse_location
from qpsmtpd.store.locationfiles import problems_of_files

_is_host = re.compile(r"[A-Za-z0-9_.:\[\]-]+").fullmatch
_is_octal = re.compile(r"[0-7]{3,5}").fullmatch
_plugin_and_timeout = re.compile(
    r"(?P<name>\S+?)(?:\s+|:)(?P<seconds>\d{1,9}(?:\.\d{1,9})?[smhd]?)"
).fullmatch
_is_printable = re.compile(r"[ -~]*").fullmatch

_LOOPBACK = (parse_hosts("127.0.0.0/8"), parse_hosts("::1"))

_host_name = matching(_is_host, "a host name")


def _timeout_of_plugin(line: str) -> tuple[str, Seconds]:
    """A line of plugin_timeouts: `NAME SECONDS` or `NAME:SECONDS`."""
    parts = _plugin_and_timeout(line)
    if parts is None:
        raise ValueError("a plugin and a duration (spamassassin 30)")
    name, _ = todays_name(parts["name"])
    return name, parse_value(Seconds, parts["seconds"])


def _check_proxies(network: IPNetwork) -> None:
    if network.prefixlen == 0:
        raise ValueError("a network of proxies: any client could then claim any address")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one configuration.

    Sizes are in bytes.  0 means "no limit" only for databytes and the numbers of connections.
    """

    # --- files that the Perl version reads too ---
    me: str = opt(
        "",
        check=_host_name,
        doc="Our host name, for the greeting and more; by default this machine's full name as "
        "`hostname --fqdn` prints it, else that in /etc/mailname.",
    )
    smtpgreeting: str = opt(
        "",
        check=matching(_is_printable, "plain ASCII text (RFC 5321 section 4.2)"),
        doc="Text of the greeting after 220, in place of our name and version.",
    )
    timeout: Seconds = opt(
        Seconds(300),
        least=1,
        doc="How long to wait for a command, or for more of a message (was 1200). A command has to "
        "be complete by then.",
    )
    timeoutsmtpd: Seconds | None = opt(
        None,
        least=1,
        doc="How long to wait for a command, in place of timeout; this is qmail's name for it.",
    )
    barelf: Literal["strict", "tolerant", "close"] = opt(
        "strict",
        doc="What to do with a message in which lines end in a bare LF: strict (refuse it), "
        "tolerant (make them end in CRLF), or close (refuse it, and end the connection, as what "
        "follows may be smuggled). In any case only CRLF.CRLF ends a message, and a bare CR is "
        "not tolerated.",
    )
    databytes: Size = opt(
        Size(0),
        doc="Largest message accepted; 0 means no limit. What the mail system behind us takes is "
        "the limit if that is less and it says so.",
    )
    size_threshold: Size = opt(
        Size(256 << 10), doc="Messages up to this size stay in memory instead of a file (was 0)."
    )
    spool_dir: Path = opt(
        Path(),
        check=matching(os.path.isabs, "an absolute path"),
        doc="Directory for scratch files; created if missing. By default one in /tmp.",
    )
    spool_perms: str = opt(
        "0700",
        check=matching(_is_octal, "an octal number such as 0700"),
        doc="Octal permissions of spool_dir.",
    )
    plugin_dirs: tuple[Path, ...] = opt(
        (), doc="Directories of local plugins, one a line; these precede the shipped plugins."
    )
    missing_plugins: Literal["stop", "skip"] = opt(
        "stop",
        doc="What happens when the file plugins or logging names a plugin that does not exist, or "
        "one in Perl: stop (the daemon does not start), or skip (the line is left out, with a "
        "warning, and mail passes that the plugin would have refused). A plugin whose absence "
        "would lose mail, or relay it for strangers, always stops it.",
    )
    loglevel: str = opt(
        "4",
        check=LogLevel.parse,
        doc="Level of what goes to stderr while the file logging is empty: 0 to 7.",
    )
    smtputf8: bool = opt(
        True,
        doc="Whether addresses outside ASCII are taken (RFC 6531); the mail system behind must "
        "support them (was no).",
    )
    plugin_timeouts: tuple[str, ...] = opt(
        (),
        check=_timeout_of_plugin,
        doc="How long each hook of a plugin may take, in place of hook_timeout: one a line, as "
        "`spamassassin 30`; 0 means no limit. The argument hook_timeout of its line counts first.",
    )
    tls_before_auth: bool = opt(
        True,
        doc="Whether AUTH is offered and taken under TLS only, if a plugin offers TLS (was 0). "
        "With 0, passwords may cross the network in the clear.",
    )
    me_auth_results: str = opt(
        "",
        check=_host_name,
        doc="Our name in Authentication-Results, in place of me; with none no such field is added.",
    )
    # --- files of our own ---
    chunking: bool = opt(
        True,
        doc="Whether messages may come in chunks (BDAT: RFC 3030), which some large senders prefer "
        "to DATA.",
    )
    dsn: Literal["next_hop", "always", "off"] = opt(
        "next_hop",
        doc="Whether clients are offered notices of delivery (DSN: RFC 3461): next_hop (where the "
        "mail system behind sends them), always (where it does not, we send those of success, to "
        "clients that may relay and to senders that SPF confirms), or off (what clients ask for is "
        "dropped, so that strangers learn nothing about what becomes of a message).",
    )
    auth_results_of_others: Literal["keep", "rename"] = opt(
        "keep",
        doc="What to do with Authentication-Results of other servers: keep them, or rename them to "
        "Original-Authentication-Results as the Perl version 1.0 did, which breaks DKIM signatures "
        "that cover them. Those that claim to be ours are removed, or renamed with the others.",
    )
    spool_memory: Size = opt(
        Size(128 << 20),
        doc="Memory of all messages that one worker process has under way; what is beyond it goes "
        "to files in spool_dir, except for 16 KB of each message and of its header section.",
    )
    forbid_unauth_pipelining: bool = opt(
        True,
        doc="Whether the connection ends when a client does not wait for a reply for which it has "
        "to wait (RFC 2920 section 3.1): the greeting, that to EHLO, AUTH, STARTTLS, DATA, NOOP, "
        "VRFY and EXPN, and after HELO every one. With 0 it is only noted, except for STARTTLS. "
        "Clients that may relay or are on an allowlist are not held to it.",
    )
    session_timeout: Seconds = opt(Seconds(7200), least=1, doc="How long a session may last.")
    data_deadline: Seconds = opt(
        Seconds(600),
        least=1,
        doc="How long a message may take to arrive, however small it is. Each min_rate bytes of it "
        "allow one second more.",
    )
    min_rate: Size = opt(
        Size(500),
        least=1,
        doc="Bytes that a message must bring per second, on average, once data_deadline has "
        "passed. A line of 64 kbit/s brings 8000.",
    )
    max_recipients: int = opt(
        1000, least=1, doc="Recipients of one message (RFC 5321 section 4.5.3.1.8)."
    )
    max_line_length: Size = opt(Size(64 << 10), least=1000, doc="Longest line of a message.")
    max_header_size: Size = opt(
        Size(256 << 10), least=1000, doc="Largest header section of a message."
    )
    max_headers: int = opt(1000, least=1, doc="Header fields of a message.")
    max_errors: int = opt(100, least=1, doc="Error replies in one session; one more closes it.")
    max_junk_commands: int = opt(
        100, least=1, doc="Commands other than MAIL, RCPT and DATA since the last message."
    )
    max_auth_failures: int = opt(3, least=1, doc="Failed logins in one session.")
    max_auth_failures_from_ip: int = opt(
        100,
        least=0,
        doc="Failed logins of one client address in an hour (of an IPv6 client's network, see "
        "network_prefix_ipv6), for all workers, and for all machines that share the store. Then "
        "AUTH is answered with 421 until the hour is over. Clients in admission_exempt, such as a "
        "webmail server on which all users log in, are not limited; 0 means no limit.",
    )
    auth_failure_pause: Seconds = opt(
        Seconds(1),
        least=0,
        doc="How long a client waits for the answer to a failed login, whatever the reason. Each "
        "failure of its address within an hour doubles that, up to 30 seconds. With 0 it does not "
        "wait, and the time that the answer takes may tell which users exist.",
    )
    max_connections: int = opt(
        10000, least=0, doc="Connections at a time, for all workers together; 0 means no limit."
    )
    stress_percent: int = opt(
        80,
        least=0,
        most=100,
        doc="Percentage of max_connections from which on clients get less time and may err less "
        "often, so that there is room for others: see the section Stress below. 0 means never.",
    )
    max_from_ip: int = opt(
        50,
        least=0,
        doc="Connections of one client address at a time; 0 means no limit. Clients that the "
        "plugin relay lists in relayclients are exempt. The plugin hosts_allow, if it is used, "
        "permits some clients more or fewer.",
    )
    max_from_network: int = opt(
        0, least=0, doc="Connections of one client network at a time; 0 means no limit."
    )
    network_prefix_ipv4: int = opt(
        24, least=1, most=32, doc="Length in bits of the prefix of an IPv4 client network."
    )
    network_prefix_ipv6: int = opt(
        64, least=1, most=128, doc="Length in bits of the prefix of an IPv6 client network."
    )
    admission_exempt: tuple[IPNetwork, ...] = opt(
        _LOOPBACK,
        doc="Clients that max_from_ip and max_from_network do not limit, such as other servers of "
        "your own: one address or network a line. max_connections applies to them too. Without "
        "this file it is this machine: 127.0.0.0/8 and ::1.",
    )
    proxy_networks: tuple[IPNetwork, ...] = opt(
        (),
        check=_check_proxies,
        doc="Proxies such as HAProxy, one address or network a line. Each must begin every "
        "connection with a PROXY header, and can name any client, even one that may relay.",
    )
    proxy_timeout: Seconds = opt(
        Seconds(10), least=1, doc="How long to wait for the header of a proxy."
    )
    xclient_networks: tuple[IPNetwork, ...] = opt(
        (),
        check=_check_proxies,
        doc="Mail proxies such as nginx, one address or network a line, that may say by XCLIENT "
        "whose session they pass on, and who has logged in with them. Each can name any client, "
        "even one that may relay. To others the command is unknown.",
    )
    xforward_networks: tuple[IPNetwork, ...] = opt(
        (),
        check=_check_proxies,
        doc="Mail systems such as Postfix that have us filter their messages, one address or "
        "network a line, and may say by XFORWARD where each comes from. All plugins then judge "
        "that client, and it may relay only if it could when it connected itself.",
    )
    hook_timeout: Seconds = opt(
        Seconds(120),
        least=0,
        doc="How long a hook of a plugin may take, except the hook queue; 0 means no limit.",
    )
    store: str = opt(
        "",
        doc="Where plugins such as rate_limit keep their data: a Redis or Valkey server, which "
        "several machines may share, as redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] (rediss:// with "
        "TLS) or unix://[[USER]:PASSWORD@]/PATH[?db=DB]; Sentinels or a Cluster of them, see "
        "qpsmtpd-scaling(7); or the absolute path of a SQLite file. By "
        "default /var/lib/qpsmtpd/store.sqlite under systemd, else a file in spool_dir.",
    )
    store_timeout: Seconds = opt(
        Seconds(1),
        least=0.05,
        doc="How long to wait for the store; one that is down or slow does not stop mail.",
    )
    decisions_days: float = opt(
        14.0,
        least=0,
        most=3650,
        doc="Days for which the store keeps what became of each message and each refusal, for "
        "`qpsmtpd log`; 0 means that nothing is kept. Subjects and bodies are never kept.",
    )
    decisions_size: Size = opt(
        Size(32 << 20),
        least=1 << 20,
        doc="Size of all decisions together, as they lie in the store; then the oldest ones are "
        "dropped. One message takes about 100 bytes.",
    )
    decisions_addresses: Literal["whole", "hashed", "domain"] = opt(
        "whole",
        doc="What is kept of mail addresses: the whole address; hashed (the domain, and a hash by "
        "which a known address can still be found); or domain (nothing else).",
    )
    decisions_clients: Literal["whole", "network"] = opt(
        "whole",
        doc="What is kept of clients: address, name and HELO (whole), or only the network, see "
        "network_prefix_ipv4.",
    )
    report_to: tuple[str, ...] = opt(
        (),
        check=check_address,
        doc="Addresses that `qpsmtpd report --mail` writes to, one a line; qpsmtpd-report.timer "
        "runs that every night, once it is enabled.",
    )
    report_from: str = opt(
        "",
        check=check_address,
        doc="The address that these reports are from; by default postmaster at our host name.",
    )
    report_via: str = opt(
        "127.0.0.1:25",
        check=check_place,
        doc="What takes these reports: HOST:PORT of an SMTP server that relays for this machine, "
        "or the path of a program like sendmail.",
    )
    reverse_lookup: bool = opt(True, doc="Whether the client's name is looked up in the DNS.")
    reverse_timeout: Seconds = opt(
        Seconds(5), least=0.1, doc="How long to wait for the client's name."
    )

    @property
    def command_timeout(self) -> Seconds:
        """How long to wait for a command."""
        return self.timeoutsmtpd or self.timeout

    def hook_timeout_of(self, *names: str) -> Seconds | None:
        """What plugin_timeouts has under the first of these names that it has, if any."""
        timeouts = dict(map(_timeout_of_plugin, self.plugin_timeouts))
        return next((timeouts[name] for name in names if name in timeouts), None)

    @functools.cached_property
    def proxies(self) -> HostList:
        """The addresses of proxy_networks."""
        return HostList(self.proxy_networks)

    @functools.cached_property
    def xclient_hosts(self) -> HostList:
        """The addresses of xclient_networks."""
        return HostList(self.xclient_networks)

    @functools.cached_property
    def xforward_hosts(self) -> HostList:
        """The addresses of xforward_networks."""
        return HostList(self.xforward_networks)

    @functools.cached_property
    def exempt(self) -> HostList:
        """The addresses of admission_exempt."""
        return HostList(self.admission_exempt)

    @property
    def spool_mode(self) -> int:
        """The permission bits of spool_dir."""
        return int(self.spool_perms, 8)

    @property
    def stderr_level(self) -> LogLevel:
        """The lowest level that goes to stderr."""
        return LogLevel.parse(self.loglevel)


def file_of(field: str) -> str:
    """The name of the file that a field of Settings is read from."""
    return "me-auth-results" if field == "me_auth_results" else field


def load_settings(files: ConfigFiles, name: str = "") -> tuple[Settings, list[Problem]]:
    """Read all settings; what cannot be read keeps its default and is a problem.

    name: this machine's, if it is known; otherwise finding it may take `hostname.LOOKUP_SECONDS`.
    """
    problems: list[Problem] = []
    kinds = typing.get_type_hints(Settings)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        try:
            values |= _read(field, kinds[field.name], files, problems)
        except ConfigError as error:
            problems.extend(map(Problem.of, error.parts))
    if "me" not in values:
        values["me"] = name or host_name()
    values.setdefault("spool_dir", default_spool_dir())
    return Settings(**values), problems


def _read(
    field: dataclasses.Field[Any], kind: Any, files: ConfigFiles, problems: list[Problem]
) -> dict[str, Any]:
    """The value of one field; empty when it has no file."""
    entries = files.entries(file_of(field.name))
    if not entries:
        return {}
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        return {field.name: tuple(read_each(entries, lambda entry: _value(field, element, entry)))}
    problems.extend(_surplus(field.name, entries))
    if field.name == "store":
        problems.extend(_exposed_password(entries[0], _store(entries[0])))
    return {field.name: _value(field, kind, entries[0])}


def _value(field: dataclasses.Field[Any], kind: Any, entry: Entry) -> Any:
    try:
        if kind != IPNetwork:
            return read_value(field, kind, entry.text)
        network = parse_hosts(entry.text)
        check_value(field, network, entry.text)
        if oddity_of_hosts(entry.text):
            # Old lists have such lines, but these settings are ours, and grant much.
            raise ValueError(
                f"{entry.text!r} is not a network without host bits, such as {network}"
            )
    except ValueError as error:
        raise ConfigError(entry.where, str(error)) from None
    return network


def _store(entry: Entry) -> Location:
    """The location, if it can be used.  The line may hold a password, and is not repeated."""
    try:
        location = parse_location(entry.text)
    except ValueError as error:
        raise ConfigError(entry.where, f"must be {error}") from None
    if missing := missing_package(location):
        raise ConfigError(entry.where, f"needs the package {missing}: apt install {missing}")
    if isinstance(location, RedisLocation):
        for problem in problems_of_files(location):
            raise ConfigError(entry.where, problem)
    return location


def _exposed_password(entry: Entry, location: Location) -> Iterator[Problem]:
    file = Path(entry.where.rpartition(":")[0])
    if isinstance(location, RedisLocation) and location.password and file.stat().st_mode & 0o004:
        text = f"everybody can read the password here: chmod 640 {file}; chgrp qpsmtpd {file}"
        yield Problem(entry.where, text, "warning")


def _surplus(name: str, entries: Sequence[Entry]) -> Iterator[Problem]:
    if len(entries) > 1:
        text = f"only the first line of {file_of(name)} counts, not this one"
        yield Problem(entries[1].where, text, "warning")
