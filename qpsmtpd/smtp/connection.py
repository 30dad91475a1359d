# SPDX-License-Identifier: MIT
"""Connection: one client connection as the commands see it.

It ties together the Session that plugins see, the configuration snapshot the connection began
with, and the Wire, which is all that the commands know about the network.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.logs.lines import write_line
from qpsmtpd.mail.account import of_refusal
from qpsmtpd.mail.session import ReverseLookup, Session, TlsInfo
from qpsmtpd.mail.spoolmemory import SpoolMemory
from qpsmtpd.mail.trail import CORE, Answer
from qpsmtpd.metrics.catalogue import REFUSALS
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.smtp.proxied import Proxied
from qpsmtpd.smtp.replies import OUT_OF_STEP, reply_to, verdict_of
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: Refusals of one session that are kept, so that one client does not drive out all others.
MOST_KEPT_REFUSALS = 50


class ClientGoneError(Exception):
    """The client has closed or reset the connection."""


class ClientTimeoutError(Exception):
    """The client kept us waiting too long; the text names the setting that it exceeded."""


class ShutdownError(Exception):
    """The server is stopping and was waiting for this client."""


class LineTooLongError(Exception):
    """The client sent a command line that is too long; it has been skipped."""


class Wire(Protocol):
    """The network side of a connection (protocol.py; a fake in tests).

    Reading raises ClientGoneError, ClientTimeoutError or ShutdownError.
    """

    async def read_line(self, limit: int, *, answer: bool = False) -> bytes:
        """The next line without its CRLF.  Raises LineTooLongError beyond `limit` bytes.

        answer: to a challenge.  Else an octet with which no command begins is returned with all
        that has come, as whoever speaks another protocol may send no line at all.
        """

    async def read_block(self) -> bytes:
        """Whatever has arrived, at least one byte."""

    async def read_octets(self, most: int) -> bytes:
        """What has arrived of a chunk, one byte to `most`."""

    @property
    def message_deadline(self) -> float:
        """When the message that is being read has to be complete."""

    def resume_message(self, deadline: float) -> None:
        """Go on with a message, of which `message_deadline` was this; 0 for a new one.

        Raises ClientTimeoutError after that time.
        """

    def unread(self, data: bytes) -> None:
        """Put back what was read but not used."""

    def write(self, data: bytes) -> None:
        """Collect bytes to send; they go out at the next read or flush."""

    async def flush(self) -> None:
        """Send what was collected, and wait while the client is slow to take it."""

    @property
    def pending_input(self) -> bytes:
        """Empty unless something has arrived that has not been read yet."""

    async def early_input(self, seconds: float, *, teaser: bool = False) -> bool:
        """Wait for input; False if none came.  teaser: greet with a first line before."""

    async def tarpit(self, seconds: float) -> bool:
        """Let the client wait, as `Session.tarpit` says; raises nothing."""

    async def pause(self, seconds: float) -> None:
        """Send what was collected, and let the client wait, whatever it sends meanwhile."""

    def count_as(self, ip: str) -> int | Reply:
        """Count the connection as one of this client's; how many it has open, or the refusal."""

    def reverse_lookup(self, ip: str) -> ReverseLookup:
        """Begin to look up a client's name; returns the function that waits for it."""

    async def start_tls(self, context: ssl.SSLContext) -> TlsInfo:
        """Negotiate TLS.  Raises ClientGoneError when it fails."""


@dataclass(slots=True)
class Counters:
    """What is limited per connection."""

    errors: int = 0
    junk_commands: int = 0
    auth_failures: int = 0
    kept_refusals: int = 0
    #: The last command after which the client did not wait, and was forgiven; -1 if it always has.
    forgiven_step: int = -1


class Incoming(Protocol):
    """A message of which some chunks have come (chunks.py)."""

    def close(self) -> None:
        """Forget what has come, unless it is complete."""


@dataclass(slots=True)
class Connection:
    """One client connection; every command function gets it as its first argument."""

    session: Session
    snapshot: Snapshot
    wire: Wire
    counters: Counters = field(default_factory=Counters)
    #: What the messages of all connections have in memory.
    memory: SpoolMemory = field(default_factory=SpoolMemory)
    #: What has come of a message, between two chunks of it; None if there is none.
    incoming: Incoming | None = None
    #: What somebody who speaks for clients has said of them (presented.py); None if nobody does.
    proxied: Proxied | None = None
    #: No further command is read.
    closing: bool = False
    #: The client has said QUIT, so that it expects the end.
    said_goodbye: bool = False
    #: A message is being decided on, so that a refusal is not a decision of its own.
    deciding: bool = False
    #: The server is stopping: the connection ends after the transaction.
    draining: bool = False
    #: Whether each command is logged; to ask the logger each time costs more than a command's verb.
    traced: bool = field(default_factory=lambda: log.isEnabledFor(logging.DEBUG))

    def say(self, reply: Reply) -> None:
        """Send a reply."""
        self.wire.write(reply.octets)
        if reply.plain:
            return
        if reply.disconnect:
            self.closing = True
            self.said_goodbye = reply.code == 221
        if reply.code >= 500:
            # Temporary refusals do not count: a greylisted mailing list may earn a thousand.
            self.counters.errors += 1

    def say_each(self, replies: Sequence[Reply]) -> None:
        """Send the replies to one message for its recipients, in LMTP; they count as one."""
        *others, last = replies
        self.wire.write(b"".join(reply.octets for reply in others))
        self.say(last)

    def run(self, hook: str, *args: Any) -> Awaitable[Answer | None]:
        """Ask the plugins.  Awaiting it gives the answer that ends the hook, or None."""
        return self.snapshot.chain.run(hook, self.session, *args)

    async def run_outside(self, hook: str, *args: Any) -> Answer | None:
        """Ask the plugins about a command that ends the transaction, as if it were over already.

        It stays until they have agreed, for a refused command changes nothing; what they say
        belongs to the session, because the transaction may soon be gone.
        """
        session = self.session
        transaction, session.transaction = session.transaction, None
        try:
            return await self.run(hook, session, *args)
        finally:
            session.transaction = transaction

    def refusal(self, answer: Answer | None, about: str = "") -> Reply | None:
        """The reply for an answer that refuses, which is logged; None for any other answer.

        `about` is what was refused, for the log.
        """
        if answer is None or not answer.refused:
            return None
        reply = reply_to(answer)
        self.log_refusal(answer.hook, reply, about, answer.plugin)
        return reply

    def refuse(self, hook: str, reply: Reply) -> Reply:
        """Record a refusal by the core, unless it is in the trail already; returns the reply."""
        if reply.recorded:
            return reply
        trail = (self.session.transaction or self.session).trail
        trail.decide(Answer(CORE, hook, verdict_of(reply)))
        return reply.as_recorded()

    async def report_refusal(self, hook: str, reply: Reply) -> None:
        """Tell the plugins that observe refusals of one by the core."""
        if "deny" in self.snapshot.chain.hooks:
            await self.snapshot.chain.report_refusal(hook, self.session, verdict_of(reply))

    @property
    def exempt(self) -> bool:
        """Whether the client may relay or is on an allowlist, and is spared some tests."""
        return bool(self.session.relay_client or self.session.whitelisted_host)

    def out_of_step(self, command: str) -> Reply | None:
        """The refusal for a stranger who has sent more where a client has to wait for the reply.

        RFC 2920 section 3.1 says where.  To be asked before the reply to the command is given: what
        comes while it is on its way is in order.
        """
        if not self.wire.pending_input or self.exempt:
            return None
        if not self.snapshot.settings.forbid_unauth_pipelining:
            self.forgive_step(command)
            return None
        self.log_refusal("command", OUT_OF_STEP, command)
        return OUT_OF_STEP

    def forgive_step(self, command: str) -> None:
        """Only note that a stranger did not wait for the reply: once in a session in the log."""
        session, counters = self.session, self.counters
        if self.exempt or counters.forgiven_step == session.commands:
            return
        trail = (session.transaction or session).trail
        trail.add(Answer(CORE, "command", verdict_of(OUT_OF_STEP), "tolerated"))
        if counters.forgiven_step < 0:
            log.info("did not wait for the reply to=%s tolerated=yes", command)
        counters.forgiven_step = session.commands

    def log_refusal(self, hook: str, reply: Reply, about: str = "", plugin: str = CORE) -> None:
        """One line for everything refused before there is a message."""
        write_line(
            log,
            self.session,
            "refused ip=%s helo=%r about=%r reply=%s",
            self.session.client.ip,
            self.session.hello_host,
            about,
            reply,
            hook=hook,
            plugin=plugin,
        )
        if self.deciding:
            return
        FIGURES.count(REFUSALS, plugin, hook, "deferred" if reply.code < 500 else "refused")
        keeper = self.snapshot.decisions
        if keeper is None or self.counters.kept_refusals >= MOST_KEPT_REFUSALS:
            return
        self.counters.kept_refusals += 1
        keeper.keep(of_refusal(self.session, hook, plugin, reply.code, str(reply), about))

    async def reset_transaction(self) -> None:
        """End the transaction, if there is one, and tell the plugins."""
        transaction = self.session.transaction
        if transaction is None:
            return
        if "reset_transaction" in self.snapshot.chain.hooks:
            await self.snapshot.chain.notify("reset_transaction", self.session, transaction)
        if self.incoming is not None:
            self.incoming.close()
            self.incoming = None
        transaction.close()
        self.session.transaction = None
        if transaction.tasks is not None:
            await transaction.end_tasks()

    async def end_session(self) -> None:
        """End the transaction, tell the plugins that the session is over, and end its tasks."""
        session, chain = self.session, self.snapshot.chain
        if session.transaction is not None:
            await self.reset_transaction()
        for hook in ("disconnect", "post_connection"):
            if hook in chain.hooks:
                await chain.notify(hook, session)
        if session.tasks is not None:
            await session.end_tasks()
        # Tasks in them remember the session: this spares Python's collector a circle.
        session.forget_notes()
