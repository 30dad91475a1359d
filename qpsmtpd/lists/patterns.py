# SPDX-License-Identifier: MIT
"""Pattern: an administrator's regular expression, on the spellings of a domain or address.

A client chooses how it spells a name, and an administrator how to write a pattern
(`@bücher\\.example$`, `@xn--bcher-kva\\.example$`); a match must not depend on either choice. So

- a pattern that refuses is tried on every spelling: the canonical one, the one with U-labels, and
  what the client wrote (for addresses, also as a system that normalizes characters would read it);
- a pattern that admits is tried on the first two only: they are the same whatever the client wrote,
  so that no spelling makes a stranger a friend.

Case never matters.  At most LONGEST characters of a name are looked at, so that there is a bound to
what a client can make an expression cost; `check-config` warns where that is too much (trials.py).

Of what Perl has and Python lacks, the classes of POSIX (`[[:alpha:]]`) and `\\z` are understood.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.address import MAX_LOCAL_PART
from qpsmtpd.mail.domain import MAX_DOMAIN, Spellings

#: Characters of a name that are looked at: those of the longest address.  What is longer has been
#: normalized from a shorter text, which is tried as well.
LONGEST = MAX_LOCAL_PART + 1 + MAX_DOMAIN


#: What the classes of POSIX stand for within brackets.
_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9a-fA-F",
}
# One without an end goes to the end: it must not be looked for anew at every bracket.
_brackets = re.compile(r"\[\^?\]?(?:\[:\w+:\]|\\.|[^\]\\])*+(?:\]|\\?\Z)", re.DOTALL)
_posix_class = re.compile(rf"\[:({'|'.join(_POSIX)}):\]")
_escape = re.compile(r"\\(.)")


class Expression(NamedTuple):
    """A regular expression of the administrator's, and where it stands: "FILE:LINE"."""

    pattern: re.Pattern[str]
    where: str


_noted: ContextVar[list[Expression] | None] = ContextVar("_noted", default=None)


@contextmanager
def noted_expressions() -> Iterator[list[Expression]]:
    """Note every expression that is compiled meanwhile."""
    noted: list[Expression] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


class Pattern:
    """A regular expression, with slashes around it or without; found anywhere unless anchored.

    Raises ConfigError when Python cannot read it, or reads it differently from Perl.
    """

    __slots__ = ("_search",)

    def __init__(self, word: str, where: str) -> None:
        self._search = compile_pattern(word, where).search

    def refuses(self, name: Spellings) -> bool:
        """Whether an entry that refuses applies to a name."""
        return self._is_in(name.canonical) or self._is_in(name.written)

    def admits(self, name: Spellings) -> bool:
        """Whether an entry that admits applies to a name."""
        return self._is_in(name.canonical)

    def _is_in(self, texts: tuple[str, ...]) -> bool:
        return any(self._search(text, 0, LONGEST) for text in texts)


def compile_pattern(word: str, where: str) -> re.Pattern[str]:
    """The regular expression of a `Pattern`; see there."""
    expression = word[1:-1] if len(word) > 2 and word[0] == word[-1] == "/" else word
    try:
        with warnings.catch_warnings():
            # [[:^alpha:]] and the like: Python would take them for something else.
            warnings.simplefilter("error", FutureWarning)
            text = _in_python(unicodedata.normalize("NFC", expression))
            pattern = re.compile(text, re.IGNORECASE)
    except (re.error, FutureWarning) as error:
        raise ConfigError(where, f"{word!r} is not a regular expression: {error}") from None
    if (noted := _noted.get()) is not None:
        noted.append(Expression(pattern, where))
    return pattern


def _in_python(expression: str) -> str:
    """An expression of Perl's with what Python writes in another way."""
    translated = _brackets.sub(
        lambda brackets: _posix_class.sub(lambda found: _POSIX[found[1]], brackets[0]), expression
    )
    return _escape.sub(lambda found: r"\Z" if found[1] == "z" else found[0], translated)
