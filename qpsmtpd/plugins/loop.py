# SPDX-License-Identifier: MIT
"""loop: refuse messages that have passed too many hosts: they go in circles.

    loop [MAX_HOPS]

Counts the fields Received and Delivered-To of the complete message, including ours, and refuses
it with 552 5.4.6 if there are MAX_HOPS (100) or more (RFC 5321 section 6.3). Without this plugin a
message can circle forever between two hosts that each believe the other responsible. Exempt clients
are not spared this test.

As in the Perl version, anything but a positive number stands for 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qpsmtpd.api import Plugin, Transaction, Verdict, deny, opt


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Options of loop."""

    max_hops: int = opt(100, positional=True, doc="This many trace fields are too many.")

    @staticmethod
    def rewrite(words: Sequence[str]) -> Sequence[str]:
        """`loop 0` and `loop nonsense` are `loop` alone."""
        if len(words) == 1 and "=" not in words[0]:
            return [word for word in words if word.isdecimal() and int(word) > 0]
        return words


class Loop(Plugin[LoopOptions]):
    """Breaks mail loops."""

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        assert tx.message is not None
        headers = tx.message.headers
        hops = headers.count("Received") + headers.count("Delivered-To")
        if hops < self.options.max_hops:
            return None
        self.log.info("fail hops=%d", hops)
        return deny("Too many hops, this message is looping", status="5.4.6")
