# SPDX-License-Identifier: MIT
"""rspamd: have rspamd judge messages, and do what it says.

    rspamd [PLACE] [reject 0|1|naughty] [greylist pass|defer]
           [outgoing yes]

A message of up to `size_limit` is sent to rspamd's normal worker at `localhost:11333` (POST
/checkv2, HTTP), with what is known about client, sender, recipients and login. What happens then
is the action that rspamd chose by its score:

    no action         nothing
    greylist          nothing; with `greylist defer` see below
    add header        the field X-Spam: Yes
    rewrite subject   the subject that rspamd chose, and X-Spam: Yes
    quarantine        X-Spam: Yes, as we have no quarantine
    soft reject       451 4.7.1
    reject, discard   552 5.7.1, as to discard would lose mail without a
                      trace; with `reject 0` only X-Spam: Yes

Any other action counts as no action, with a warning in the log. Header fields that rspamd adds or
removes (its module milter_headers, DKIM and ARC signatures) are added and removed; other changes to
the message that it may ask a milter for are not made. With `words yes` clients read what rspamd has
for them (smtp_message). Fields X-Spam and X-Spam-* that came with the message are renamed, as
`leave_old_headers` says.

rspamd greylists by itself (module greylist, with Redis), and then says soft reject; a mere greylist
is for messages that have waited. Where it has no Redis, `greylist defer` greylists them: the same
sender, recipients and network are deferred with 451 4.7.1 until `greylist_delay` after their first
attempt, for which the store of the daemon is used.

Of several places, with commas between them, the first that works is used. While none does, or none
gives a sensible answer in time, messages are deferred with 451 4.3.0, or pass unscanned with
`on_error pass`. One that cannot be reached, or has failed three times in a row, is tried again
after a second, and then less and less often, at least every ten seconds; the log says when it is
down and when it works again.

Exempt clients are not checked; with `outgoing yes`, relay clients and authenticated users are, as
rspamd needs for signing and for limits. Spam costs the client a point of karma. With `mode=shadow`
the message is not changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from email.header import Header
from functools import partial
from pathlib import Path
from typing import Literal

from qpsmtpd.api import (
    PLACE_FORMS,
    ConfigError,
    Finding,
    Message,
    Plugin,
    RejectOptions,
    Seconds,
    Session,
    Size,
    StoreError,
    System,
    Transaction,
    Verdict,
    defer,
    network_of,
    opt,
    parse_place,
    parse_places,
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
    put_away,
    read_password,
    replace_subject,
    unscanned,
)
from qpsmtpd.scanners.rspamd import (
    PORT,
    AddedField,
    RemovedField,
    RspamdAnswer,
    check,
    ping,
    request_fields,
)

TEXT_REJECT = "The message looks like spam"
TEXT_LATER = "Please try again later"

_REFUSED = {"reject", "discard"}
_MARKED = {"add header", "rewrite subject", "quarantine"}
_HARMLESS = {"no action", "greylist", "soft reject"}

#: Seconds for which the first attempt of a message is remembered.
_REMEMBERED = 86400.0


_check_place = partial(parse_place, port=PORT)


def _check_settings(text: str) -> None:
    with suppress(ValueError):
        if not text or isinstance(json.loads(text), dict):
            return
    raise ValueError("a JSON object without blanks")


@dataclass(frozen=True, kw_only=True)
class RspamdOptions(ScannerOptions, RejectOptions):
    """Options of rspamd."""

    server: tuple[str, ...] = opt(
        ("localhost:11333",),
        positional=True,
        check=_check_place,
        doc=f"Where rspamd's normal worker listens: {PLACE_FORMS}. Of several, the first that "
        "works is used.",
    )
    greylist: Literal["pass", "defer"] = opt(
        "pass", doc="What the action greylist does: nothing, or defer what is new."
    )
    greylist_delay: Seconds = opt(
        Seconds(300), least=1, most=86400, doc="How long greylist=defer defers a new message."
    )
    outgoing: bool = opt(False, doc="Whether relay clients and authenticated users are checked.")
    settings_id: str = opt("", doc="Id of the settings that rspamd is to use (Settings-ID).")
    settings: str = opt(
        "", check=_check_settings, doc="Settings as a JSON object without blanks (Settings)."
    )
    password_file: Path | None = opt(
        None,
        doc="File whose first line is the password for rspamd. Others than its owner and group "
        "must not be able to read it.",
    )
    words: bool = opt(False, doc="Whether clients read the words that rspamd has for them.")
    headers: Literal["all", "none"] = opt(
        "all", doc="Whether header fields and the subject are changed as rspamd says."
    )
    leave_old_headers: OldFields = opt(
        "rename",
        doc="What becomes of X-Spam and X-Spam-* fields that came with the message: rename makes "
        "them X-Old-Spam-*.",
    )
    size_limit: Size = opt(Size(10 << 20), doc="Larger messages are not checked.")


class Rspamd(Plugin[RspamdOptions]):
    """Spam, in the opinion of rspamd."""

    async def start(self) -> None:
        options = self.options
        self._service = Service(
            parse_places(options.server, PORT),
            ping,
            self.services.clock,
            timeout=options.timeout,
            connections=options.connections,
        )
        self._changes = self.mode != "shadow" and options.headers == "all"
        self._store = self.services.store.scoped(self.name)
        told = {
            "Settings-ID": options.settings_id,
            "Settings": options.settings,
            "Password": await self._password(),
            "MTA-Name": self.services.me,
        }
        self._told = list(told.items())

    async def _password(self) -> str:
        if self.options.password_file is None:
            return ""
        path = self.services.config.path(self.options.password_file)
        try:
            return await self.services.run_blocking(read_password, path)
        except (OSError, ValueError) as error:
            raise ConfigError(self.name, f"password_file: {path}: {error}") from error

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether each rspamd answers."""
        places = parse_places(self.options.server, PORT)
        start = "systemctl enable --now rspamd.service"
        async for finding in check_scanner(
            system, self.name, self.options, places, _greet, start=start
        ):
            yield finding

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if tx.message is None or self._exempt(tx.session):
            return None
        if self._changes:
            put_away(tx, "X-Spam", self.options.leave_old_headers)
        content = Content(tx.message)
        if content.size > self.options.size_limit:
            self.log.info("skipped: the message is too large size=%d", content.size)
            return None
        fields = request_fields(tx, self._told)
        try:
            answer = await self._service.ask(lambda wire: check(wire, content, fields))
        except ScannerError as error:
            return unscanned(self.options, self.log, error)
        self._tell(tx, answer)
        if self._changes:
            _change(tx, answer)
        return await self._verdict(tx, answer)

    def _exempt(self, session: Session) -> bool:
        outgoing = self.options.outgoing and bool(session.relay_client or session.auth_user)
        return self.immune(session) and not outgoing

    def _tell(self, tx: Transaction, answer: RspamdAnswer) -> None:
        """Put the result where others find it."""
        action = answer.action
        spam = action in _REFUSED | _MARKED
        self.log_about(
            tx.session,
            "action=%r score=%g required=%g symbols=%s",
            action,
            answer.score,
            answer.required,
            ",".join(answer.symbols),
        )
        if not spam and action not in _HARMLESS:
            self.log.warning("action %r is not known, and counts as no action", action)
        if answer.ignored:
            self.log.info("not done: %s", ", ".join(map(repr, answer.ignored)))
        tx.session.adjust_karma(-spam)
        result = SpamResult(
            self.name, spam, answer.score, answer.required, answer.symbols, action=action
        )
        add_spam_result(tx, result)

    async def _verdict(self, tx: Transaction, answer: RspamdAnswer) -> Verdict | None:
        words = answer.words if self.options.words else ""
        reason = f"rspamd action={answer.action!r} score={answer.score:g} {answer.words}".rstrip()
        if answer.action in _REFUSED:
            text = words or TEXT_REJECT
            return self.reject(tx.session, text, status="5.7.1", default="perm", reason=reason)
        later = answer.action == "soft reject" or (
            answer.action == "greylist"
            and self.options.greylist == "defer"
            and await self._is_new(tx)
        )
        if not later or self.options.reject == "0":
            return None
        return defer(words or TEXT_LATER, status="4.7.1", code=451, reason=reason)

    async def _is_new(self, tx: Transaction) -> bool:
        """Whether the first attempt to send such a message was only just now."""
        key, delay = _key(tx), self.options.greylist_delay
        with suppress(StoreError):
            if await self._store.add(f"known {key}", b"", _REMEMBERED) is None:
                await self._store.put(f"waits {key}", b"", delay)
                return True
            return await self._store.get(f"waits {key}") is not None
        return False


async def _greet(wire: ScannerWire) -> str:
    await ping(wire)
    return "pong"


def _key(tx: Transaction) -> str:
    """What tells a message that is tried again: network, sender and recipients."""
    address = tx.session.client_address
    network = network_of(address, 24 if address.version == 4 else 64)
    parts = [network, tx.sender, *sorted(map(str, tx.recipients))]
    return hashlib.blake2s("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


# --- what is changed in the message -------------------------------------------------------------


def _change(tx: Transaction, answer: RspamdAnswer) -> None:
    message = tx.message
    assert message is not None
    for removed in answer.removed:
        _remove(message, removed)
    for added in answer.added:
        _add(tx, message, added)
    if answer.action in _REFUSED | _MARKED and not any(
        each.name == "X-Spam" for each in answer.added
    ):
        tx.add_header("X-Spam", "Yes")
    if answer.action == "rewrite subject" and answer.subject:
        replace_subject(message, _encoded(answer.subject))


def _remove(message: Message, removed: RemovedField) -> None:
    count = message.headers.count(removed.name)
    nth = removed.nth if removed.nth >= 0 else count + 1 + removed.nth
    if removed.nth == 0:
        message.headers.remove(removed.name)
    elif 1 <= nth <= count:
        message.headers.remove_nth(removed.name, nth)


def _add(tx: Transaction, message: Message, added: AddedField) -> None:
    if added.order is None or added.order <= 0:
        tx.add_header(added.name, added.value)
    else:
        index = min(added.order, len(message.headers.fields()))
        message.headers.insert(index, added.name, added.value)


def _encoded(subject: str) -> str:
    """A subject as it stands in a header section (RFC 2047)."""
    if subject.isascii():
        return subject
    return Header(subject.encode("utf-8", "replace"), "utf-8", header_name="Subject").encode()
