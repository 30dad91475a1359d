# SPDX-License-Identifier: MIT
"""naughty: issue the rejections that other plugins deferred, at one chosen point.

    naughty [reject connect|mail|rcpt|data|data_post] [reject_type TYPE]

Plugins with `reject naughty` on their line only remember why they would refuse a client. This one
refuses it: at the hook that `reject` names (rcpt) or, for what is found later than that, at the end
of the message. So a client has time to authenticate, which clears all the reasons, and the log
shows sender and recipient of what was refused. Put it after the plugins with `reject naughty`.

The reply has one line for each reason, status 5.7.1. How the client is refused is up to the
`reject_type` of the plugin that found the first reason, or if it has none, of this plugin. Here the
default is disconnect, which is 5xx and the end of the session; the other values are perm, temp and
temp_disconnect.

A client that is exempt by then is not refused, even if the allowlist (plugins whitelist,
dns_whitelist_soft) was asked after the reason was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from qpsmtpd.api import (
    Plugin,
    Recipient,
    RejectKind,
    ReversePath,
    Session,
    Transaction,
    Verdict,
    opt,
    rejection,
)


@dataclass(frozen=True, kw_only=True)
class NaughtyOptions:
    """Options of naughty."""

    reject: Literal["connect", "mail", "rcpt", "data", "data_post"] = opt(
        "rcpt", doc="The hook at which to reject."
    )
    reject_type: RejectKind = opt(
        "disconnect", doc="How to reject what was remembered without a reject_type."
    )


class Naughty(Plugin[NaughtyOptions]):
    """Issues deferred rejections."""

    speaks_rejections = True

    async def hook_connect(self, session: Session) -> Verdict | None:
        return self._at("connect", session)

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        return self._at("mail", tx.session)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return self._at("rcpt", tx.session)

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        return self._at("data", tx.session)

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        return self._speak(tx.session)

    def _at(self, hook: str, session: Session) -> Verdict | None:
        return self._speak(session) if hook == self.options.reject else None

    def _speak(self, session: Session) -> Verdict | None:
        if not session.has_deferred_rejects or self.immune(session):
            return None
        # What is in deferred_type is some plugin's reject_type.
        kind = cast("RejectKind", session.deferred_type or self.options.reject_type)
        return rejection(kind, "\n".join(session.deferred_rejects), "5.7.1")
