# SPDX-License-Identifier: MIT
"""The options that all plugins with a next hop have."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from pathlib import Path

from qpsmtpd.errors import ConfigError
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.nexthop.target import Target, TlsMode, tls_context
from qpsmtpd.plugin.options import Seconds, opt

is_host = re.compile(r"[\w.-]+|(?=[^:]*:[^:]*:)\[?[0-9A-Fa-f:.]+\]?").fullmatch


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
    pool: int = opt(20, least=1, doc="Connections in use at once, of each worker.")
    idle: Seconds = opt(
        Seconds(60), doc="How long an unused connection is kept; 0 is a connection per message."
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
        doc="Whether to ask the next hop about each recipient at RCPT. Put the line before "
        "rcpt_ok then.",
    )

    def check(self) -> list[str]:
        """Problems that show only once all options are known."""
        problems = []
        if self.ca is not None and self.tls != "verify":
            problems.append("ca: needs tls=verify")
        return problems


def complete(options: NextHopOptions, target: Target) -> Target:
    """The target with what the options say.  Reads files; raises OSError if `ca` is unusable."""
    return replace(
        target,
        tls=options.tls,
        context=tls_context(options.tls, options.ca),
        timeout=options.timeout,
        dot_timeout=options.dot_timeout,
    )


async def make_pool(
    plugin: str, options: NextHopOptions, target: Target, *, keep: bool = True
) -> Pool:
    """The pool of a plugin; `keep`: whether connections are used again.

    Raises ConfigError when the file `ca` cannot be used.
    """
    try:
        target = await asyncio.to_thread(complete, options, target)
    except OSError as error:
        raise ConfigError(
            plugin, f"ca: {options.ca} has to be a file of PEM certificates ({error})"
        ) from error
    return Pool(target, size=options.pool, idle=options.idle if keep else 0)
