# SPDX-License-Identifier: MIT
"""Pattern: a regular expression of an administrator, on the spellings of a domain or address.

A client chooses how it spells a name, the administrator one of several ways to write a pattern
(`@bücher\\.example$`, `@xn--bcher-kva\\.example$`), and neither may get around the other. So

- what refuses is tried on every spelling: the canonical one, the one with U-labels, and what the
  client wrote (of addresses also as a system that normalises characters would read it);
- what admits is tried on the first two only: they are the same whatever the client wrote, so that
  no spelling makes a stranger a friend.

Upper and lower case are the same everywhere.
"""

from __future__ import annotations

import re
import unicodedata
import warnings

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.domain import Spellings


class Pattern:
    """A regular expression, with slashes around it or without; found anywhere unless anchored.

    Raises ConfigError when Python cannot read it, or reads it differently from Perl.
    """

    __slots__ = ("_search",)

    def __init__(self, word: str, where: str) -> None:
        self._search = compile_pattern(word, where).search

    def refuses(self, name: Spellings) -> bool:
        """Whether a name is meant by an entry that refuses."""
        return any(map(self._search, name.canonical)) or any(map(self._search, name.written))

    def admits(self, name: Spellings) -> bool:
        """Whether a name is meant by an entry that admits."""
        return any(map(self._search, name.canonical))


def compile_pattern(word: str, where: str) -> re.Pattern[str]:
    """The regular expression of a `Pattern`; see there."""
    expression = word[1:-1] if len(word) > 2 and word[0] == word[-1] == "/" else word
    try:
        with warnings.catch_warnings():
            # [[:alpha:]] and the like: Python would take them for something else.
            warnings.simplefilter("error", FutureWarning)
            return re.compile(unicodedata.normalize("NFC", expression), re.IGNORECASE)
    except (re.error, FutureWarning) as error:
        raise ConfigError(where, f"{word!r} is not a regular expression: {error}") from None
