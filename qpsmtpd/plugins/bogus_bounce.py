# SPDX-License-Identifier: MIT
"""bogus_bounce: find messages that only pretend to be non-delivery reports.

    bogus_bounce [log|deny|denysoft] [reject 0|1|naughty]
                 [reject_type TYPE]

A message from the null sender reports on another message, so it goes to a single recipient, the
sender of that message (RFC 3464 section 2, RFC 3834 section 3.3), and has no return path. A message
from the null sender is bogus if it has more than one recipient, or a Return-Path field other than
`<>`. This is tested at the end of the message. What happens then: `log`, the default, writes a line
to the log; `deny` refuses with 552 5.7.1, `denysoft` with 452. The options `reject` and
`reject_type` say the same as in other plugins, and take precedence.

Exempt clients are not tested.

Differences from the Perl version: there `deny` and `denysoft` only logged, the number of recipients
was never checked, and a Return-Path of `<>` counted as bogus.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.api import Headers, Plugin, RejectOptions, Transaction, Verdict, opt

_ACTIONS = {"log": "reject 0", "deny": "reject 1", "denysoft": "reject 1 reject_type temp"}
_action = re.compile(r"(?<!\S)(?:action[ =])?(log|denysoft|deny)(?!\S)").search


@dataclass(frozen=True, kw_only=True)
class BogusBounceOptions(RejectOptions):
    """Options of bogus_bounce."""

    reject: Literal["0", "1", "naughty"] = opt(
        "0", doc="1 rejects; 0 only logs; naughty leaves the rejection to the plugin naughty."
    )

    @staticmethod
    def rewrite(words: Sequence[str]) -> Sequence[str]:
        """`deny`, `action deny` and `action=deny` are `reject 1`, and so on."""
        line = " ".join(words)
        action = _action(line)
        if action is None:
            return words
        # In front, so that explicit options take precedence.
        return f"{_ACTIONS[action[1]]} {line[: action.start()]} {line[action.end() :]}".split()


class BogusBounce(Plugin[BogusBounceOptions]):
    """Tests messages from the null sender."""

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if tx.reverse_path is not None or tx.message is None or self.immune(tx.session):
            return None
        if len(tx.recipients) > 1:
            return self.reject(
                tx.session, "A non-delivery report has only one recipient", status="5.7.1"
            )
        if _has_return_path(tx.message.headers):
            return self.reject(
                tx.session, "A non-delivery report has no return path (RFC 3834)", status="5.7.1"
            )
        return None


def _has_return_path(headers: Headers) -> bool:
    return any(path != "<>" for path in headers.get_all("Return-Path"))
