# SPDX-License-Identifier: MIT
"""queue/discard: accept every message and throw it away.

For benchmarks and spam traps. **Mail is lost**: the client is told 250, and the message is thrown
away. Put it into the file `plugins` only where nobody waits for the mail. It takes no arguments,
reads no files and refuses nothing.

Differences from the Perl version: the Perl version has no such plugin.
"""

from __future__ import annotations

from qpsmtpd.api import NoOptions, Plugin, Transaction, Verdict, accept

_DISCARDED = accept("Message accepted and discarded", status="2.6.0")


class Discard(Plugin[NoOptions]):
    """Take the message; deliver it to nobody."""

    takes_every_recipient = True
    warning = "every message is accepted and thrown away"

    async def start(self) -> None:
        self.log.warning(self.warning)

    async def hook_queue(self, tx: Transaction) -> Verdict:
        if tx.success_wanted:
            for recipient in tx.recipients:
                recipient.success = "none"
        return _DISCARDED
