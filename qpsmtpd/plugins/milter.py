# SPDX-License-Identifier: MIT
"""milter: ask a milter, a filter made for Sendmail and Postfix, about clients and messages.

    milter opendkim unix:/run/opendkim/opendkim.sock
    milter:2 opendmarc inet:8893@localhost
    milter:3 clamav 127.0.0.1:7357 quarantine=deny failure=pass

NAME is for the log. Where the milter listens may be written as in the Perl version (HOST:PORT, or
PORT of 127.0.0.1), as in the configuration of milters (inet:8893@host, inet6:8893@::1), as Postfix
does (inet:host:8893), or as the path of its socket, with or without `unix:`. Several milters are
asked in the order of their lines; each gets the message as the one before has left it.

The milter is asked when a client connects, at HELO, MAIL, RCPT (about recipients that the other
plugins accept, wherever the line is; with verify_recipients above it, only about those that exist),
DATA, about unknown commands, and with the complete message, as far as it wants. Relay clients are
not exempt: it gets to know who has logged in. It sees the message as the next hop will, with what
plugins above have added, but, as with Sendmail and Postfix, without our own Received field. The
macros are those of Postfix.

What it may do:

    accept            nothing more is told to it; other plugins and
                      milters are asked all the same
    reject, tempfail  550 or 552 5.7.1, 450 or 452 4.7.1; a milter that
                      says which reply is to be given can choose any 4xx
                      or 5xx; anything else becomes a 451
    discard           the message is refused (`discard refuse`), so that
                      nothing is lost unheard; with `discard drop` the
                      client is told 250, and the message is gone
    quarantine        `quarantine hold`: Postfix keeps it in its queue
                      hold, if queue/postfix-queue hands it over; any
                      other way of delivery cannot do that, so the
                      message is deferred, and the log has an ERROR.
                      `deny` refuses it; `tag` delivers it with a field
                      X-Quarantine, which has the milter's name and
                      reason
    change            header fields, body, reverse-path and recipients
                      are changed as it says. A recipient that it adds is
                      not asked about in any plugin, so it must not take
                      addresses from messages. If it removes all
                      recipients, that is a discard

A milter that cannot be reached, breaks off, is too slow, says that it cannot do its work, or does
not speak the protocol: what `failure` says. `defer` refuses MAIL, or what comes next, with 451
4.7.1; `pass` goes on without it, with the message as it was before. One that cannot be reached, or
has failed three times in a row, is tried again after a second, and then less and less often, at
least every ten seconds; meanwhile clients do not wait for it. The log says when it is down and when
it works again. A client that has connected meanwhile is shown to the milter at MAIL.

The daemon's user needs the right to write to the milter's socket, as a rule by its group (`adduser
qpsmtpd opendkim`, and a restart). A milter that signs mail of relay clients has to know who they
are, by their address or by having logged in (with opendkim, InternalHosts and the macro auth_type).

`content_timeout` is for a whole message, and begins anew when the milter reports progress. Keep it
below the `hook_timeout` of the line (120 s unless given), after which the message is deferred,
whatever `failure` says.

`reuse` keeps connections for the next client by a command that libmilter knows since Sendmail 8.14,
if the last message was one that the milter had nothing against. Other milters may not know the
command, and take one client for another.

With `mode=shadow` the milter is asked, and nothing is refused or changed.

Differences from the Perl version: versions 2 to 6 of the protocol, Unix sockets and IPv6; header
fields that the milter changes are changed (there they were lost), and so are body and envelope; the
client gets the usual texts, or that of the milter; EHLO is asked about; a refusal at connect is
given at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal

from qpsmtpd.api import (
    PLACE_FORMS,
    Breaker,
    Finding,
    HookResult,
    Note,
    Place,
    Plugin,
    Recipient,
    ReversePath,
    Seconds,
    Session,
    System,
    Transaction,
    Verdict,
    defer,
    deny,
    opt,
    parse_place,
    printable_ascii,
    socket_denied,
)
from qpsmtpd.milter import packets
from qpsmtpd.milter.dialogue import Dialogue
from qpsmtpd.milter.edits import Edits
from qpsmtpd.milter.link import CONTINUE, Answer, Link, Manner
from qpsmtpd.milter.links import Links
from qpsmtpd.milter.macros import Server
from qpsmtpd.milter.verdicts import UNAVAILABLE, refusal
from qpsmtpd.milter.wire import MilterError

#: Field of a quarantined message that is delivered.
QUARANTINE_FIELD = "X-Quarantine"

#: Seconds for which doctor waits.
EXAMINING = 5.0

_LONGEST_REASON = 200


@dataclass(frozen=True, kw_only=True)
class MilterOptions:
    """Options of milter."""

    name: str = opt(positional=True, doc="What the log calls the milter.")
    place: str = opt(positional=True, doc=f"Where it listens: {PLACE_FORMS}.", check=parse_place)
    failure: Literal["defer", "pass"] = opt(
        "defer", doc="What becomes of mail while the milter fails."
    )
    discard: Literal["refuse", "drop"] = opt(
        "refuse", doc="What becomes of a message that it wants to have discarded."
    )
    quarantine: Literal["hold", "deny", "tag"] = opt(
        "hold", doc="What becomes of a message that it wants to have kept aside."
    )
    protocol: int = opt(
        6, least=2, most=6, doc="Newest version of the protocol; some old milters know only 2."
    )
    connect_timeout: Seconds = opt(Seconds(30), least=0.01, doc="How long connecting may take.")
    timeout: Seconds = opt(Seconds(30), least=0.01, doc="How long each command may take.")
    content_timeout: Seconds = opt(
        Seconds(100), least=0.01, doc="How long the milter may take for a message."
    )
    reuse: bool = opt(
        False, doc="Whether to keep connections for the next client; see above.", flag=True
    )
    idle: Seconds = opt(Seconds(5), doc="How long an unused connection is kept, with `reuse`.")


class Milter(Plugin[MilterOptions]):
    """Ask a milter."""

    verifies_recipients = False

    async def start(self) -> None:
        options, services = self.options, self.services
        self._links = Links(self._manner(), float(options.idle) if options.reuse else 0.0)
        self._breaker = Breaker(services.clock, "milter", self._subject)
        self._server = Server(services.me, f"qpsmtpd {services.version}")
        #: The client's dialogue with this milter.
        self._dialogue = Note[Dialogue](f"{self.name}.dialogue")
        #: That the milter needs to know nothing more of this session or transaction.
        self._done = Note[bool](f"{self.name}.done")

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the milter answers, and which version of the protocol it speaks."""
        subject = self._subject
        manner = self._manner(EXAMINING)
        if path := manner.place.path:
            if denied := socket_denied(system, subject, path):
                yield denied
                return
            manner = replace(manner, place=Place(path=str(system.path(path))))
        try:
            link = await Link.open(manner)
        except MilterError as error:
            passed = self.options.failure == "pass"
            found = Finding.warning if passed else Finding.error
            meanwhile = "Mail passes without it" if passed else "All mail is deferred"
            yield found(subject, str(error), f"{meanwhile} until it answers.")
            return
        link.leave()
        yield Finding.ok(subject, f"answers, version {link.agreement.version} of the protocol")

    # --- the client -------------------------------------------------------------------------

    async def hook_connect(self, session: Session) -> Verdict | None:
        if not self._breaker.closed:
            # Whether it is back is found out at MAIL: most clients do not get that far.
            return None
        try:
            return self._of_client(session, await self._begin(session))
        except MilterError as error:
            # MAIL will try again, and say so if it must.
            self._failed(session, error)
            return None

    async def hook_helo(self, session: Session, host: str) -> Verdict | None:
        return await self._hello(session, host)

    async def hook_ehlo(self, session: Session, host: str) -> Verdict | None:
        return await self._hello(session, host)

    async def hook_unrecognized_command(
        self, session: Session, verb: str, argument: str
    ) -> Verdict | None:
        line = f"{verb} {argument}".rstrip()
        return await self._of_session(session, lambda dialogue: dialogue.unknown(line))

    async def _hello(self, session: Session, host: str) -> Verdict | None:
        return await self._of_session(session, lambda dialogue: dialogue.hello(host))

    async def _of_session(
        self, session: Session, ask: Callable[[Dialogue], Awaitable[Answer]]
    ) -> Verdict | None:
        """Ask outside of transactions; there is nothing yet that a failure could let pass."""
        dialogue = session.notes.get(self._dialogue)
        if dialogue is None:
            return None
        try:
            return self._of_client(session, await self._asked(session, ask(dialogue)))
        except MilterError as error:
            self._failed(session, error)
            return None

    def _of_client(self, session: Session, answer: Answer) -> Verdict | None:
        """What an answer about the client means."""
        if isinstance(answer, packets.Accept):
            session.notes[self._done] = True
            self._leave(session)
        if isinstance(answer, packets.Discard):
            raise MilterError("discards a client, and not a message")
        if answer != CONTINUE:
            self._breaker.worked()
        return self._refusal(answer)

    # --- the message ------------------------------------------------------------------------

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        return await self._of_message(tx, lambda dialogue: dialogue.mail(tx))

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return await self._of_message(tx, lambda dialogue: dialogue.rcpt(tx, recipient))

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        return await self._of_message(tx, lambda dialogue: dialogue.data(tx))

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        found: list[Edits] = []

        async def ask(dialogue: Dialogue) -> Answer:
            answer, edits = await dialogue.message(tx, apply=self.mode != "shadow")
            self._breaker.worked()
            found.append(edits)
            return answer

        verdict = await self._of_message(tx, ask)
        if verdict is not None or not found or tx.dropped_by:
            return verdict
        return self._carry_out(tx, found[0])

    async def hook_deny(self, session: Session, result: HookResult) -> None:
        dialogue, tx = session.notes.get(self._dialogue), session.transaction
        if dialogue is None or tx is None or tx.notes.get(self._done):
            return
        refused, verdict = result.recipient, result.verdict
        if refused is None or verdict is None or result.plugin == self.name:
            return
        try:
            await self._asked(session, dialogue.refused(tx, refused, verdict))
        except MilterError as error:
            self._failed(session, error)

    async def hook_reset_transaction(self, tx: Transaction) -> None:
        dialogue = tx.session.notes.get(self._dialogue)
        if dialogue is not None:
            try:
                await self._asked(tx.session, dialogue.forget(tx))
            except MilterError as error:
                self._failed(tx.session, error)

    async def hook_disconnect(self, session: Session) -> None:
        dialogue = session.notes.pop(self._dialogue)
        if dialogue is not None:
            try:
                await dialogue.end()
            except MilterError:
                dialogue.abort()

    async def stop(self) -> None:
        self._links.close()

    async def _of_message(
        self, tx: Transaction, ask: Callable[[Dialogue], Awaitable[Answer]]
    ) -> Verdict | None:
        """Ask about a message, with what a failure costs."""
        session = tx.session
        if session.notes.get(self._done) or tx.notes.get(self._done):
            return None
        if session.notes.get(self._dialogue) is None and not self._breaker.may_try():
            return self._without(tx, f"is down: {self._breaker.reason}")
        try:
            verdict = await self._begin_late(session)
            dialogue = session.notes.get(self._dialogue)
            if verdict is not None or dialogue is None:
                return verdict
            return self._of_answer(tx, await self._asked(session, ask(dialogue)))
        except MilterError as error:
            self._failed(session, error)
            return self._without(tx, str(error))

    async def _begin_late(self, session: Session) -> Verdict | None:
        """Show the milter a client that has connected, and said HELO, while it failed."""
        if session.notes.get(self._dialogue) is not None:
            return None
        return self._of_client(session, await self._begin(session))

    def _without(self, tx: Transaction, why: str) -> Verdict | None:
        """What becomes of a message without the milter."""
        if self.options.failure == "defer":
            return _with_reason(UNAVAILABLE, f"milter {self.options.name} {why}")
        self.log.info("milter=%s passed without it: %s", self.options.name, why)
        tx.notes[self._done] = True
        return None

    def _of_answer(self, tx: Transaction, answer: Answer) -> Verdict | None:
        """What an answer about a message or a recipient means."""
        if answer != CONTINUE:
            self._breaker.worked()
        if isinstance(answer, (packets.Accept, packets.Discard)):
            tx.notes[self._done] = True
        if isinstance(answer, packets.Discard):
            return self._discard(tx, "discard")
        return self._refusal(answer)

    # --- what becomes of it -----------------------------------------------------------------

    def _refusal(self, answer: Answer) -> Verdict | None:
        verdict = refusal(answer)
        if verdict is None:
            return None
        return _with_reason(verdict, f"milter {self.options.name}: {verdict.reason}")

    def _discard(self, tx: Transaction, why: str) -> Verdict | None:
        reason = f"milter {self.options.name}: {why}"
        if self.options.discard == "refuse":
            return deny(status="5.7.1", reason=reason)
        if self.mode != "shadow":
            tx.drop(self, reason)
        return None

    def _carry_out(self, tx: Transaction, edits: Edits) -> Verdict | None:
        if edits:
            self.log.info("milter=%s changes %s", self.options.name, edits)
        if self.mode == "shadow":
            return None
        if not edits.carry_out():
            return self._discard(tx, "no recipients are left")
        return None if edits.quarantine is None else self._quarantine(tx, edits.quarantine)

    def _quarantine(self, tx: Transaction, why: str) -> Verdict | None:
        why = printable_ascii(why, _LONGEST_REASON)
        reason = f"milter {self.options.name}: quarantine {why}"
        match self.options.quarantine:
            case "tag":
                tx.add_header(QUARANTINE_FIELD, f"{printable_ascii(self.options.name)}; {why}")
                return None
            case "deny":
                return deny(status="5.7.1", reason=reason)
        deliverers = self.services.deliverers
        if deliverers and all(deliverer.can_hold for deliverer in deliverers):
            tx.hold(reason)
            return None
        self.log.error(
            "nothing here can hold messages, so they are deferred: set quarantine=deny or "
            "quarantine=tag milter=%s",
            self.options.name,
        )
        return defer(status="4.7.1", reason=reason)

    # --- the connection ---------------------------------------------------------------------

    @property
    def _subject(self) -> str:
        """Which milter it is, for the log and for doctor."""
        return f"{self.options.name} {parse_place(self.options.place)}"

    def _manner(self, most: float | None = None) -> Manner:
        options = self.options
        return Manner(
            place=parse_place(options.place),
            version=options.protocol,
            connect_timeout=min(options.connect_timeout, most or options.connect_timeout),
            timeout=min(options.timeout, most or options.timeout),
            content_timeout=options.content_timeout,
        )

    async def _begin(self, session: Session) -> Answer:
        dialogue, answer = await Dialogue.begin(self._links, self._server, session)
        session.notes[self._dialogue] = dialogue
        self._breaker.reached()
        return answer

    async def _asked(self, session: Session, question: Awaitable[Answer | None]) -> Answer:
        """The answer.  Whoever is interrupted does not know what the milter will say next."""
        try:
            answer = await question
        except MilterError:
            raise
        except BaseException:
            self._abort(session)
            raise
        return CONTINUE if answer is None else answer

    def _failed(self, session: Session, error: MilterError) -> None:
        self._breaker.failed(error)
        self._abort(session)

    def _abort(self, session: Session) -> None:
        if (dialogue := session.notes.pop(self._dialogue)) is not None:
            dialogue.abort()

    def _leave(self, session: Session) -> None:
        if (dialogue := session.notes.pop(self._dialogue)) is not None:
            dialogue.leave()


def _with_reason(verdict: Verdict, reason: str) -> Verdict:
    return replace(verdict, reason=reason)
