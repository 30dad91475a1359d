# SPDX-License-Identifier: MIT
"""The options that all plugins with a scanner have, and what becomes of a message that is not
scanned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.mail.verdict import Verdict, defer
from qpsmtpd.plugin.options import Seconds, opt
from qpsmtpd.scanners.wire import ScannerError

TEXT = "The message cannot be checked now, please try again later"


@dataclass(frozen=True, kw_only=True)
class ScannerOptions:
    """How to ask the scanner; subclass it with where it is."""

    on_error: Literal["defer", "pass"] = opt(
        "defer",
        doc="What becomes of a message that cannot be scanned because the scanner is down, too "
        "slow, or gives no sensible answer: defer (451), or pass it unscanned.",
    )
    timeout: Seconds = opt(
        Seconds(60),
        least=0.1,
        most=3600,
        doc="How long scanning one message may take, at all hosts together. It has to be less than "
        "the hook_timeout of the line.",
    )
    connections: int = opt(
        20, least=1, doc="How many messages each worker has scanned at once; others wait."
    )


def replace_words(
    words: Sequence[str], name: str, replace: Callable[[str], Sequence[str]]
) -> list[str]:
    """The words of a line with `name VALUE` and `name=VALUE` replaced, for old forms of options."""
    result: list[str] = []
    rest = list(words)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        if word.replace("-", "_").lower() != name or not (equals or rest):
            result.append(f"{word}{equals}{value}")
        else:
            result += replace(value if equals else rest.pop(0))
    return result


def is_false(value: str) -> bool:
    """Whether Perl plugins take a value for no."""
    return value.lower() in ("0", "no", "")


def unscanned(options: ScannerOptions, log: logging.Logger, error: ScannerError) -> Verdict | None:
    """What becomes of a message after a failure of the scanner."""
    if options.on_error == "pass":
        log.info("passed unscanned: %s", error)
        return None
    return defer(TEXT, status="4.3.0", code=451, reason=f"not scanned: {error}")
