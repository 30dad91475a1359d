# SPDX-License-Identifier: MIT
"""verify_recipients: refuse recipients that the mail system behind us does not have.

Without it, mail for an unknown user is taken, and the mail system sends an error message to the
sender, who is forged in most of that mail. With it, the unknown recipient is refused at RCPT with
550 5.1.1, and the others of the same message get it.

The plugin that delivers is asked, by the first line that would take the message:

    queue/smtp-forward, queue/lmtp    ask the next hop, on connections
                                      that carry no mail
    queue/exim-bsmtp                  asks Exim (`exim4 -bv`)
    queue/postfix-queue               asks Postfix's SMTP server
    queue/maildir, queue/discard      take every recipient (but see
                                      `create` of queue/maildir)
    queue/qmail-queue, most others    cannot be asked

It does not matter where the line is: recipients are verified after the plugins have accepted
them. Each manual says what counts as known there.

**In doubt the recipient is accepted.** That is so while the mail system is down, is slow, defers
the recipient (greylisting, for instance), refuses the null sender or our HELO, or refuses for a
reason that is not the recipient's; and for one that accepts all recipients of a domain. A 5xx to
RCPT counts as "unknown" with one of the statuses

    5.1.1  5.1.2  5.1.3      no such mailbox, no such domain
    5.1.4  5.1.6  5.1.10
    5.2.1  5.2.2  5.2.4      a mailbox that is disabled or full, a broken
                             list

and, without any status, with code 550, 551, 553 or 556 if the text does not speak of relaying,
permission, policy or lists. Others, such as 5.7.1 and 5.1.8, are about us, the sender or the
message. Exchange's `5.4.1 Recipient address rejected` is counted. The client gets the status, but
fixed words; those of the mail system are in the log.

What is known is remembered in the store, `positive` for those that exist and `negative` for the
others: so a user who is new can be refused for as long as `negative` if somebody wrote there
before. Both memories have bounds. Upper and lower case count in the part before the @. A worker
knows those that exist for a minute more by itself, also while the store is down.

At most `questions` are asked for one connection of a client, and each waits for `seconds`. If
nobody answers, no questions are asked for half a minute. What is not asked about is accepted.

Recipients of other domains than ours (the files `rcpthosts`, `morercpthosts.cdb` and `me`) are not
asked about: only relay clients can write to them, and it is the mail system's task to say what
becomes of that mail. Our own domains that the mail system only relays are asked about; Postfix
knows their recipients from relay_recipient_maps, Exim does not and accepts them all.

Nobody is asked where a mail system asks us as its policy service or milter: it knows its
recipients itself.

Questions have the null sender; `sender` gives another one, for a next hop that refuses it. Two
servers that ask each other, or a mail system's address that is in truth our own, are noticed, and
the question ends there.

Differences from the Perl version: the Perl version has no such plugin.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from qpsmtpd.api import (
    OUR_DOMAINS,
    Address,
    AddressError,
    Note,
    Plugin,
    Recipient,
    Seconds,
    Session,
    StoreError,
    Transaction,
    Verdict,
    Verification,
    defer,
    deny,
    matching,
    opt,
    our_domains,
    parse_mailbox,
    unavailable,
    unsure,
)
from qpsmtpd.recipients import RecipientMemory

#: Seconds without questions after one that nobody has answered.
PAUSE = 30.0

_TEXTS = {
    "5.1.2": "No such domain here",
    "5.1.6": "Mailbox has moved",
    "5.2.1": "Mailbox disabled",
    "5.2.2": "Mailbox full",
    "5.2.4": "Mailing list does not work",
}
_NO_USER = "No such user here"

_CIRCLE = (
    "asked by this machine about a recipient that is being asked about: does delivery lead back to "
    "qpsmtpd?"
)


def _is_sender(text: str) -> bool:
    try:
        parse_mailbox(text)
    except AddressError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Options of verify_recipients."""

    positive: Seconds = opt(
        Seconds(3600), least=1, doc="How long a recipient that exists is remembered."
    )
    negative: Seconds = opt(
        Seconds(900), least=1, doc="How long one that does not exist is remembered."
    )
    seconds: Seconds = opt(Seconds(10), least=0.01, doc="How long to wait for an answer.")
    questions: int = opt(
        1000, least=1, doc="How many questions to ask for one connection of a client."
    )
    sender: str = opt(
        "",
        doc="The sender of the questions; without it, the null sender.",
        check=matching(_is_sender, "an address such as postmaster@example.org"),
    )


class VerifyRecipients(Plugin[VerifyOptions]):
    """Asks the plugins that deliver, and remembers what they say."""

    remedy = "the mail system behind does not know the recipient: ask it about the address"

    files = OUR_DOMAINS

    async def start(self) -> None:
        sender = self.options.sender
        self._ours = await our_domains(self.services)
        self._sender = parse_mailbox(sender) if sender else None
        self._store = self.services.store.scoped(self.name)
        self._memory = RecipientMemory(
            self._store,
            self.services.clock,
            positive=self.options.positive,
            negative=self.options.negative,
        )
        self._asked = Note[int](f"{self.name}.questions")
        self._questions: dict[str, asyncio.Task[Verification]] = {}
        self._pause_ends = 0.0

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if not self._is_to_be_asked_about(recipient.address, tx.session):
            return None
        verification = await self._verify(tx, recipient)
        if verification is None:
            self.log.error("%s ip=%s", _CIRCLE, tx.session.client.ip)
            return defer("Recipients are verified in a circle", status="4.4.6", code=451)
        if verification.answer != "unknown":
            return None
        text = _TEXTS.get(verification.status, _NO_USER)
        return deny(text, status=verification.status, code=550, reason=verification.reason)

    async def stop(self) -> None:
        tasks = list(self._questions.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- whether to ask ---------------------------------------------------------------------

    def _is_to_be_asked_about(self, address: Address, session: Session) -> bool:
        if session.hosted:
            # It is the mail system that asks us, and we would ask it.
            return False
        if not any(deliverer.can_be_asked() for deliverer in self.services.deliverers):
            return False
        # <postmaster> without a domain is always taken (RFC 5321 section 4.5.1).
        if address.domain is None:
            return False
        return address.domain in self._ours or not session.relay_client

    async def _verify(self, tx: Transaction, recipient: Recipient) -> Verification | None:
        """What is known about a recipient; None if the client is ourselves, asking that."""
        key = self._key(recipient.address)
        known = await self._memory.recall(key)
        if known is not None:
            return known
        if tx.reverse_path == self._sender and await self._is_being_asked(key):
            # Another server that we have asked, which asks us; or we ourselves.
            return None if _is_this_machine(tx.session) else unsure("being asked already")
        if not self._may_ask(tx.session):
            return unsure("not asked")
        return await self._shared(key, recipient)

    def _key(self, address: Address) -> str:
        """What a recipient is remembered by; with a change in who delivers, all is forgotten."""
        prints = ".".join(deliverer.fingerprint for deliverer in self.services.deliverers)
        return f"{prints}/{address.local_part}@{address.domain}"

    def _may_ask(self, session: Session) -> bool:
        if self.services.clock.monotonic() < self._pause_ends:
            return False
        asked = session.notes.get(self._asked, 0)
        if asked == self.options.questions:
            self.log.warning("too many questions for one connection ip=%s", session.client.ip)
        session.notes[self._asked] = asked + 1
        return asked < self.options.questions

    # --- asking -----------------------------------------------------------------------------

    async def _shared(self, key: str, recipient: Recipient) -> Verification:
        """The answer to a question, which is asked once for all who want to know it now."""
        task = self._questions.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(key, recipient))
            self._questions[key] = task
            task.add_done_callback(partial(self._done, key))
        # The others still wait for it when the first one gives up.
        return await asyncio.shield(task)

    def _done(self, key: str, task: asyncio.Task[Verification]) -> None:
        self._questions.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who wait for it are told; perhaps nobody does any more

    async def _ask(self, key: str, recipient: Recipient) -> Verification:
        async with self._marked(key):
            try:
                async with asyncio.timeout(self.options.seconds):
                    verification = await self._answer(recipient)
            except TimeoutError:
                verification = unavailable(f"no answer within {self.options.seconds}")
            await self._memory.remember(key, verification)
        self._note(recipient, verification)
        return verification

    async def _answer(self, recipient: Recipient) -> Verification:
        """What the first plugin says that would take a message to the recipient."""
        for deliverer in self.services.deliverers:
            answer = await deliverer.knows_recipient(recipient, self._sender)
            if answer is not None:
                return answer
        return unsure("no plugin delivers to it")

    def _note(self, recipient: Recipient, verification: Verification) -> None:
        """Log an answer, and pause if there was none."""
        if verification.answer == "unavailable":
            self._pause_ends = self.services.clock.monotonic() + PAUSE
            self.log.warning("recipients are not verified for %gs: %s", PAUSE, verification.reason)
        elif verification.answer == "unsure":
            self.log.info("unsure to=%r reason=%r", str(recipient), verification.reason)

    # --- questions of other processes -------------------------------------------------------------

    async def _is_being_asked(self, key: str) -> bool:
        """Whether this process or another one is asking about a recipient now."""
        if key in self._questions:
            return True
        try:
            return await self._store.get(f"asking/{key}") is not None
        except StoreError:
            return False

    @contextlib.asynccontextmanager
    async def _marked(self, key: str) -> AsyncIterator[None]:
        """Others see that the question is being asked; the mark does not outlive us for long."""
        mark = f"asking/{key}"
        with contextlib.suppress(StoreError):
            await self._store.put(mark, b"", self.options.seconds + 1)
        try:
            yield
        finally:
            with contextlib.suppress(StoreError):
                await self._store.delete(mark)


def _is_this_machine(session: Session) -> bool:
    return session.client_is_local or session.client.ip == session.local.ip
