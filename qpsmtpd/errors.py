# SPDX-License-Identifier: MIT
"""The exceptions of qpsmtpd.

    QpsmtpdError
    ├── ConfigError     a configuration file is wrong (file, line, what would be right)
    ├── PluginError     a plugin cannot be found or loaded
    │   └── MissingPluginError      it is not there, or in Perl
    ├── SpoolError      the message cannot be stored (451 4.3.0, or 452 4.3.1 if there is no room)
    ├── StoreError      the store (greylisting, limits) does not answer: plugins have no opinion
    ├── PeerError       a scanner, a milter or the like did not do its part
    └── DnsError        no name server answered, or it failed; NXDOMAIN is an empty answer instead
        └── DnsLimitError   the budget of questions or seconds for lookups is spent
    ValueError
    └── AddressError    a mailbox or path breaks RFC 5321

A refusal is never an exception: plugins return verdicts (mail/verdict.py).
"""

from __future__ import annotations

import os
from typing import Literal


class QpsmtpdError(Exception):
    """Base of what qpsmtpd raises on purpose."""


class ConfigError(QpsmtpdError):
    """A wrong configuration: `where` is "FILE:LINE" or a file; `problem` says what is right.

    `parts` has this error, and the others that were found with it: see lists/lines.py.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.where = where
        self.problem = problem
        self.parts: tuple[ConfigError, ...] = (self,)


class PluginError(QpsmtpdError):
    """A plugin file cannot be found or imported, or does not contain exactly one plugin."""


class MissingPluginError(PluginError):
    """There is no such plugin, or it is in Perl.  `loss` is what that means: see config/absent."""

    def __init__(self, problem: str, loss: Literal["idle", "filter", "vital"]) -> None:
        super().__init__(problem)
        self.loss = loss


class SpoolError(QpsmtpdError):
    """The spool cannot store the message; `full`: because there is no room (disk full, quota)."""

    def __init__(self, problem: str, *, full: bool = False) -> None:
        super().__init__(problem)
        self.full = full


class StoreError(QpsmtpdError):
    """The store is down or did not answer in time: never a reason to refuse anything."""


class PeerError(QpsmtpdError):
    """A service that a plugin asks did not do its part; the text says what it did, for the log.

    unreachable: nobody can connect, so that others need not try.  See plugin/breaker.py.
    """

    def __init__(self, problem: str, *, unreachable: bool = False) -> None:
        super().__init__(problem)
        self.unreachable = unreachable


class DnsError(QpsmtpdError):
    """The lookup failed (timeout, SERVFAIL, refused): nothing is known about the name."""


class DnsLimitError(DnsError):
    """A budget for lookups is spent (`Resolver.limited`); every further question raises this."""


class AddressError(ValueError):
    """The text is not a mailbox or path of RFC 5321 section 4.1.2."""


def words_of(error: Exception) -> str:
    """What an exception says; of the system's, its own words: asyncio's have a tuple in them."""
    number = getattr(error, "errno", None) or 0
    return os.strerror(number) if number > 0 else getattr(error, "strerror", "") or str(error)
