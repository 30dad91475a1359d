# SPDX-License-Identifier: MIT
"""Pattern: an administrator's regular expression, on the spellings of a domain or address.

A client chooses how it spells a name, and an administrator how to write a pattern
(`@bücher\\.example$`, `@xn--bcher-kva\\.example$`); a match must not depend on either choice. So

- a pattern that refuses is tried on every spelling: the canonical one, the one with U-labels, and
  what the client wrote (for addresses, also as a system that normalizes characters would read it);
- a pattern that admits is tried on the first two only: they are the same whatever the client wrote,
  so that no spelling makes a stranger a friend.

Case never matters.
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
        """Whether an entry that refuses applies to a name."""
        return any(map(self._search, name.canonical)) or any(map(self._search, name.written))

    def admits(self, name: Spellings) -> bool:
        """Whether an entry that admits applies to a name."""
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
