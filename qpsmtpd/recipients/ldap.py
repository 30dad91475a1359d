# SPDX-License-Identifier: MIT
"""LDAP: recipients are what a filter finds in a directory (see logins/ldap.py for the rest)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qpsmtpd.logins.ldap import Directory, Talk, escaped
from qpsmtpd.plugin.services import Services
from qpsmtpd.recipients.table import TableKey

FILTER_FORMS = (
    "a filter in parentheses (RFC 4515) with %s (the address), %u (the user) or %d (the domain) "
    "in it"
)

_placeholders = re.compile("%([sud])")
_is_filter = re.compile(r"\(.*\)", re.DOTALL).fullmatch


@dataclass(frozen=True)
class LdapTable:
    """A filter on a directory.  Every recipient has a connection of its own."""

    directory: Directory
    search_filter: str
    services: Services

    def __str__(self) -> str:
        return f"ldap {self.directory.host}:{self.directory.port}"

    async def find(self, keys: Sequence[TableKey]) -> bool:
        """Whether any of these is there.  Raises ScannerError."""
        filters = "".join(filled(self.search_filter, key) for key in keys)
        talk = Talk(self.directory)
        try:
            return await self.services.run_blocking(talk.has_any, f"(|{filters})")
        finally:
            talk.give_up()

    async def close(self) -> None:
        """Nothing stays open."""


def check_filter(text: str) -> None:
    """Check a filter.  Raises a ValueError that says what would be right."""
    balanced = text.count("(") == text.count(")")
    if not (_is_filter(text) and balanced and _placeholders.search(text)):
        raise ValueError(FILTER_FORMS)


def filled(search_filter: str, key: TableKey) -> str:
    """A filter for one key, whose text cannot become part of the filter."""
    of = {"s": key.address, "u": key.user, "d": key.domain}
    return _placeholders.sub(lambda found: escaped(of[found[1]]), search_filter)
