# SPDX-License-Identifier: MIT
"""The options that all plugins with a next hop have."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.nexthop.hopauth import Credentials, read_password
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.nexthop.target import MESSAGES, Target, TlsMode, tls_context
from qpsmtpd.plugin.options import Seconds, matching, opt

#: Where a file is that the administrator named.
Paths = Callable[[str | Path], Path]

is_host = re.compile(r"[\w.-]+|\[?(?=[^:]*:[^:]*:)[0-9A-Fa-f:.]+\]?").fullmatch


def _is_address(text: str) -> bool:
    try:
        parse_ip(text)
    except ValueError:
        return False
    return True


_host_name = matching(is_host, "a host name")
_is_fingerprint = re.compile(r"[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2}){31}").fullmatch


@dataclass(frozen=True, kw_only=True)
class NextHopOptions:
    """How to talk to the next hop; subclass it with where it is."""

    tls: TlsMode = opt(
        "off",
        doc="Whether to encrypt by STARTTLS: off; may, where offered; require; verify, with a "
        "certificate for HOST. Only verify protects against somebody in between.",
    )
    ca: Path | None = opt(
        None, doc="File of the certificates that verify trusts; without it, those of the system."
    )
    implicit_tls: bool = opt(
        False,
        doc="Whether TLS begins with the connection (usually port 465), without STARTTLS; needs "
        "tls=require or tls=verify.",
    )
    tls_name: str = opt(
        "", doc="The name that verify wants in the certificate, if not HOST.", check=_host_name
    )
    fingerprint: tuple[str, ...] = opt(
        (),
        doc="SHA-256 of the certificate that the next hop has, in hexadecimal, with or without "
        "colons; then verify asks no authority. Several may be given.",
        check=matching(_is_fingerprint, "64 hexadecimal digits"),
    )
    user: str = opt("", doc="Name with which to log in by AUTH; needs password_file.")
    password_file: Path | None = opt(
        None,
        doc="File whose first line is the password. Others than its owner and group must not be "
        "able to read it.",
    )
    source: str = opt(
        "",
        doc="Address of this machine from which to connect.",
        check=matching(_is_address, "an IP address of this machine"),
    )
    pool: int = opt(20, least=1, doc="Connections in use at once, of each worker.")
    words: bool = opt(
        False,
        doc="Whether replies to clients have the words of the next hop, where it says the same of "
        "all recipients. They may tell strangers about your network.",
    )
    messages: int = opt(
        MESSAGES,
        least=1,
        doc="Messages per connection, and recipients that are only asked about. Exim delivers "
        "those after the tenth late, as long as smtp_accept_queue_per_connection is 10.",
    )
    chunking: bool = opt(
        True,
        doc="Whether messages go by BDAT where that is offered and saves something: large ones, "
        "and those to several recipients.",
    )
    idle: Seconds = opt(
        Seconds(5),
        doc="How long an unused connection is kept; 0 is a connection per message. Meanwhile it "
        "counts at the next hop, which may not take many (Exim: smtp_accept_max, 20).",
    )
    timeout: Seconds = opt(
        Seconds(60), least=0.01, doc="How long to wait for the next hop in each step."
    )
    dot_timeout: Seconds = opt(
        Seconds(300),
        least=0.01,
        doc="How long to wait for the reply to a complete message. When it is too short the "
        "message may arrive twice.",
    )
    check_recipients: bool = opt(
        False,
        doc="Whether RCPT gets every answer of the next hop to the recipient with the real sender, "
        "also a refusal for now; verify_recipients refuses only recipients that do not exist.",
    )

    def check(self) -> list[str]:
        """Problems that show only once all options are known."""
        problems = []
        if self.ca is not None and self.tls != "verify":
            problems.append("ca: needs tls=verify")
        if self.implicit_tls and self.tls not in ("require", "verify"):
            problems.append("implicit_tls: needs tls=require or tls=verify")
        if (self.tls_name or self.fingerprint) and self.tls != "verify":
            problems.append("tls_name, fingerprint: need tls=verify")
        if self.fingerprint and (self.ca or self.tls_name):
            problems.append("fingerprint: needs neither ca nor tls_name")
        if bool(self.user) != (self.password_file is not None):
            problems.append("user, password_file: one needs the other")
        return problems


def complete(options: NextHopOptions, target: Target, files: Paths) -> Target:
    """The target with what the options say.

    Reads files; raises ValueError, whose text says which one is unusable and why.
    """
    fingerprints = frozenset(f.replace(":", "").lower() for f in options.fingerprint)
    return replace(
        target,
        tls=options.tls,
        context=_context(options, files),
        implicit_tls=options.implicit_tls,
        tls_name=options.tls_name,
        fingerprints=fingerprints,
        credentials=_credentials(options, files),
        source=options.source,
        words=options.words,
        messages=options.messages,
        chunking=options.chunking,
        timeout=options.timeout,
        dot_timeout=options.dot_timeout,
    )


def _context(options: NextHopOptions, files: Paths) -> ssl.SSLContext | None:
    path = options.ca and files(options.ca)
    try:
        return tls_context(options.tls, path, pinned=bool(options.fingerprint))
    except OSError as error:
        raise ValueError(f"ca: {path}: has to be a file of PEM certificates ({error})") from error


def _credentials(options: NextHopOptions, files: Paths) -> Credentials | None:
    if options.password_file is None:
        return None
    path = files(options.password_file)
    try:
        return Credentials(options.user, read_password(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"password_file: {path}: {error}") from error


async def make_pool(
    plugin: str,
    options: NextHopOptions,
    target: Target,
    files: Paths = Path,
    *,
    others: Sequence[Target] = (),
    keep: bool = True,
) -> Pool:
    """The pool of a plugin; `keep`: whether connections are used again.

    others: where to try when the target fails.
    files: where a file is that the administrator named (`services.config.path`).
    Raises ConfigError when a file cannot be used.
    """
    try:
        first, *rest = await asyncio.to_thread(
            lambda: [complete(options, each, files) for each in (target, *others)]
        )
    except ValueError as error:
        raise ConfigError(plugin, str(error)) from error
    idle = options.idle if keep else 0
    return Pool(first, size=options.pool, idle=idle, others=rest)
