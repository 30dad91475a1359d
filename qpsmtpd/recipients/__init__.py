# SPDX-License-Identifier: MIT
"""Clients of what knows which recipients exist, for plugins that refuse the others.

    plugin ──▶ RecipientTable ──▶ ldap, postgresql, sqlite, socketmap ──▶ the table
               (whom to ask about,    (what is said)
               memory, verdict)

What wins here: only a clear no refuses a recipient for good.  A table that is down, slow, or talks
nonsense is a ScannerError (the wire is that of scanners), for which the recipient is deferred or
taken.  And a table vouches for nobody: it is asked about recipients that have been accepted
already, and can only refuse them.
"""

from qpsmtpd.recipients.memory import RecipientMemory
from qpsmtpd.recipients.table import (
    Backend,
    RecipientTable,
    TableKey,
    TableOptions,
    check_backend,
)

__all__ = [
    "Backend",
    "RecipientMemory",
    "RecipientTable",
    "TableKey",
    "TableOptions",
    "check_backend",
]
