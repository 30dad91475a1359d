# SPDX-License-Identifier: MIT
"""spamassassin: have SpamAssassin judge messages, through its daemon spamd.

    spamassassin [reject SCORE|userprefs] [munge_subject_threshold SCORE]
                 [spamd_socket PLACE]

A message of up to `size_limit` is sent to spamd, and gets the header fields X-Spam-* that
SpamAssassin gives it (but not X-Spam-Report). Nothing is refused unless `reject` has a score: a
message with that score or more is refused with 552 5.7.1 (see `reject_type`). `reject userprefs`
takes SpamAssassin's own, required_score. With `munge_subject_threshold`, the Subject of a message
that is spam and has more than that score begins with `subject_prefix`.

Fields X-Spam-* that came with the message are not our verdict: X-Spam-Flag becomes
X-Old-Spam-Flag, unless `leave_old_headers` says otherwise.

`spamd_user` is the user whose preferences apply; with `spamd_user vpopmail` it is the recipient, if
there is only one. A message for several recipients gets a field X-Spam-User that says so.

spamd is asked at `localhost:783`, or where `spamd_socket` says, as a path or HOST:PORT. Of several,
with commas between them, the first that works is used. While none does, or none gives a sensible
answer in time, messages are deferred with 451 4.3.0, or pass unscanned with `on_error pass`. One
that cannot be reached, or has failed three times in a row, is tried again after a second, and then
less and less often, at least every ten seconds; the log says when it is down and when it works
again.

Exempt clients are not checked. Spam costs the client a point of karma; what SpamAssassin learns
automatically costs or earns another one. With `mode=shadow` the message is not changed.

Differences from the Perl version: a spamd that is down defers mail, which there passed. All fields
X-Spam-* of others are renamed, there only those that SpamAssassin added.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from qpsmtpd.api import (
    PLACE_FORMS,
    Finding,
    Plugin,
    RejectKind,
    Size,
    System,
    Transaction,
    Verdict,
    matching,
    opt,
    parse_place,
    parse_places,
    rejection,
)
from qpsmtpd.scanners import (
    Content,
    OldFields,
    ScannerError,
    ScannerOptions,
    ScannerWire,
    Service,
    SpamResult,
    add_spam_result,
    check_scanner,
    prefix_subject,
    put_away,
    unscanned,
)
from qpsmtpd.scanners.spamd import PORT, SpamdAnswer, check, ping

TEXT = "The message looks like spam"

#: What SpamAssassin adds that is not put into the message.
_LEFT_OUT = {"x-spam-report", "x-spam-prev-subject"}

_LEARNED = {"ham": 1, "spam": -1}


_check_place = partial(parse_place, port=PORT)


def _is_threshold(text: str) -> bool:
    try:
        return text == "userprefs" or 0 <= float(text) < float("inf")
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class SpamassassinOptions(ScannerOptions):
    """Options of spamassassin."""

    spamd_socket: tuple[str, ...] = opt(
        ("localhost:783",),
        check=_check_place,
        doc=f"Where spamd listens: {PLACE_FORMS}. Of several, the first that works is used.",
    )
    spamd_user: str = opt(
        "",
        doc="The user whose preferences apply; by default the daemon's user. vpopmail stands for "
        "the recipient, if there is only one.",
    )
    reject: str = opt(
        "0",
        was=("reject_threshold",),
        check=matching(_is_threshold, "a score (12) or userprefs"),
        doc="The score from which on a message is refused; userprefs takes SpamAssassin's own, and "
        "0 refuses nothing.",
    )
    reject_type: RejectKind = opt(
        "perm", doc="How to refuse: perm (5xx), temp (4xx), disconnect or temp_disconnect."
    )
    munge_subject_threshold: float | None = opt(
        None, doc="The score above which spam gets subject_prefix in front of its subject."
    )
    subject_prefix: str = opt("*** SPAM ***", doc="What marks the subject of spam.")
    headers: Literal["all", "none"] = opt(
        "all", doc="Whether the message gets the fields X-Spam-*; with none, old ones stay as well."
    )
    leave_old_headers: OldFields = opt(
        "rename",
        doc="What becomes of X-Spam-* fields that came with the message: rename makes them "
        "X-Old-Spam-*.",
    )
    size_limit: Size = opt(Size(500000), doc="Larger messages are not checked.")
    relayclient: Literal["skip"] = opt(
        "skip", doc="Relay clients are never checked; this option of older versions says so."
    )


class Spamassassin(Plugin[SpamassassinOptions]):
    """Spam, in the opinion of SpamAssassin."""

    async def start(self) -> None:
        options = self.options
        self._service = Service(
            parse_places(options.spamd_socket, PORT),
            ping,
            self.services.clock,
            timeout=options.timeout,
            connections=options.connections,
        )
        self._changes = self.mode != "shadow"

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether each spamd answers."""
        places = parse_places(self.options.spamd_socket, PORT)
        start = "systemctl enable --now spamd.service"
        async for finding in check_scanner(
            system, self.name, self.options, places, _greet, start=start
        ):
            yield finding

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if tx.message is None or self.immune(tx.session):
            return None
        if self._changes and self.options.headers == "all":
            put_away(tx, "X-Spam", self.options.leave_old_headers)
        content = Content(tx.message, f"X-Envelope-From: <{tx.sender}>\r\n".encode())
        if content.size > self.options.size_limit:
            self.log.info("skipped: the message is too large size=%d", content.size)
            return None
        user = self._user(tx)
        try:
            answer = await self._service.ask(lambda wire: check(wire, content, user))
        except ScannerError as error:
            return unscanned(self.options, self.log, error)
        self._tell(tx, answer)
        if self._changes:
            self._mark(tx, answer, user)
        return self._verdict(answer)

    def _user(self, tx: Transaction) -> str:
        user = self.options.spamd_user or _own_name()
        if user == "vpopmail" and len(tx.recipients) == 1:
            return str(tx.recipients[0])
        return user

    def _tell(self, tx: Transaction, answer: SpamdAnswer) -> None:
        """Put the result where others find it."""
        verdict = answer.verdict
        self.log_about(
            tx.session,
            "spam=%s score=%g required=%g tests=%s autolearn=%s",
            "yes" if verdict.is_spam else "no",
            verdict.score,
            verdict.required,
            ",".join(answer.tests),
            answer.autolearn,
        )
        tx.session.adjust_karma(_LEARNED.get(answer.autolearn, 0) - verdict.is_spam)
        result = SpamResult(
            self.name,
            verdict.is_spam,
            verdict.score,
            verdict.required,
            answer.tests,
            autolearn=answer.autolearn,
        )
        add_spam_result(tx, result)

    # --- what is changed in the message -----------------------------------------------------

    def _mark(self, tx: Transaction, answer: SpamdAnswer, user: str) -> None:
        if self.options.headers == "all":
            for name, value in reversed(answer.fields):
                if name.lower() not in _LEFT_OUT:
                    tx.add_header(name, value)
            if len(tx.recipients) > 1:
                tx.add_header("X-Spam-User", f"{user}, {len(tx.recipients)} recipients")
        threshold, verdict = self.options.munge_subject_threshold, answer.verdict
        if threshold is not None and verdict.score > max(threshold, verdict.required):
            assert tx.message is not None
            prefix_subject(tx.message, self.options.subject_prefix)

    def _verdict(self, answer: SpamdAnswer) -> Verdict | None:
        verdict, options = answer.verdict, self.options
        userprefs = options.reject == "userprefs"
        threshold = verdict.required if userprefs else float(options.reject)
        if (not userprefs and not threshold) or verdict.score < threshold:
            return None
        reason = f"spam score={verdict.score:g} threshold={threshold:g}"
        return rejection(options.reject_type, TEXT, "5.7.1", reason)


async def _greet(wire: ScannerWire) -> str:
    await ping(wire)
    return "PONG"


def _own_name() -> str:
    """The name of the user that we are."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "nobody"
