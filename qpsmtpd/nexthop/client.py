# SPDX-License-Identifier: MIT
"""Client: one connection to a next hop, SMTP (RFC 5321) or LMTP (RFC 2033), step by step.

connect → begin → start_data → send_message, and again begin.  Every step waits a limited time and
raises NextHopError when the next hop does not do its part: then it is unknown what it did with the
current message, and the caller must not say that it was taken.

To the next hop no message is to be worse off than on a connection of its own.  So a connection on
which anything was refused is not used again: refusals are counted (in Postfix, ten delay every
reply, and twenty end the connection).  What goes wrong on a connection that was used before, and
may be due to that, is a NextHopError that is `lost`: 421, a refusal of MAIL or DATA, and everything
that is temporary.  After the end of a message, its replies are what they are.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace

from qpsmtpd.mail.passedon import REQUIRETLS
from qpsmtpd.nexthop import hoplimits
from qpsmtpd.nexthop.dots import DotStuffer
from qpsmtpd.nexthop.hopauth import STATUS, Credentials, choose
from qpsmtpd.nexthop.hoplimits import least, read_limits
from qpsmtpd.nexthop.hopreply import HopReply, NextHopError
from qpsmtpd.nexthop.target import Target
from qpsmtpd.nexthop.wire import HopWire, TlsError
from qpsmtpd.plugin.timelimit import time_limit

#: Commands sent before their replies are read: this many replies fit into the wire's buffer.
BATCH = 200

#: Challenges of one login; no mechanism that we know needs more than two.
MAX_CHALLENGES = 4


@dataclass(frozen=True, slots=True)
class EnvelopeReplies:
    """What the next hop said to MAIL, to each RCPT, and to DATA when that was sent with them."""

    mail: HopReply
    recipients: tuple[HopReply, ...]
    data: HopReply | None = None


class Client:
    """Speaks to one next hop over one connection."""

    def __init__(self, wire: HopWire, target: Target) -> None:
        self._wire = wire
        self._target = target
        #: The keywords of EHLO in upper case, with what follows them.
        self.extensions: dict[str, str] = {}
        #: The text of the greeting.
        self.greeting = ""
        #: The transactions that were begun.
        self.transactions = 0
        #: Whether anything was refused in one of them.
        self.refused = False
        #: Whether the end of the current message was sent (the dot, or the last octets of a chunk):
        #: only then can it have been taken.
        self.dot_sent = False
        self._in_step = True
        # Whether there is a transaction that has to be left before the next one.
        self._open = False

    @property
    def usable(self) -> bool:
        """Whether another transaction can follow on this connection."""
        return self._in_step and self._wire.quiet

    @property
    def harmless(self) -> bool:
        """Whether the next message would be as well off as on a new connection."""
        most = read_limits(self.extensions.get(hoplimits.KEYWORD, "")).transactions
        return not self.refused and self.transactions < least((self._target.messages, most))

    @property
    def reused(self) -> bool:
        """Whether the connection has carried a transaction before the current one."""
        return self.transactions > 1

    @property
    def target(self) -> Target:
        """Where it leads to."""
        return self._target

    @property
    def encrypted(self) -> bool:
        """Whether TLS is in use."""
        return self._wire.encrypted

    @property
    def largest_message(self) -> int:
        """How many octets of a message the next hop says that it takes; 0 if it has no limit."""
        size = self.extensions.get("SIZE", "")
        return int(size) if size.isascii() and size.isdecimal() and len(size) <= 20 else 0

    # --- beginning --------------------------------------------------------------------------

    async def greet(self) -> None:
        """Read the greeting, say hello, start TLS as the target says, and log in."""
        if self._target.implicit_tls:
            await self._handshake()
        greeting = _expect(await self._wire.read_reply(self._target.timeout), "greeting")
        self.greeting = " ".join(greeting.lines)
        await self.hello(self._target.hello)
        if self._target.context is not None and not self.encrypted:
            await self._start_tls()
        if self._target.credentials is not None:
            await self._log_in(self._target.credentials)

    async def hello(self, name: str) -> None:
        """EHLO, or HELO if the next hop does not know EHLO; LHLO in LMTP."""
        verb, reply = await self._say_hello(name)
        _expect(reply, verb)

    async def _say_hello(self, name: str) -> tuple[str, HopReply]:
        """The verb that was answered last, and the reply; if it is positive, the extensions."""
        verb = "LHLO" if self._target.lmtp else "EHLO"
        reply = await self._command(f"{verb} {name}")
        if verb == "EHLO" and reply.permanent and not reply.closing:
            self.extensions = {}
            return "HELO", await self._command(f"HELO {name}")
        words = (line.partition(" ") for line in reply.lines[1:])
        self.extensions = {keyword.upper(): rest.strip() for keyword, _, rest in words}
        if not (self.encrypted and self._target.tls == "verify"):
            # RFC 8689 section 4.2.1: it counts only from who has proved who it is.
            self.extensions.pop(REQUIRETLS, None)
        return verb, reply

    async def _handshake(self) -> None:
        target = self._target
        assert target.context is not None
        await self._wire.start_tls(target.context, target.tls_name or target.host, target.timeout)
        fingerprint = self._wire.fingerprint
        if target.fingerprints and fingerprint not in target.fingerprints:
            raise TlsError(
                f"has another certificate: fingerprint={fingerprint}", "4.7.5", ours=True
            )

    async def _start_tls(self) -> None:
        optional = self._target.tls == "may"
        if "STARTTLS" not in self.extensions:
            if optional:
                return
            raise NextHopError("offers no STARTTLS", "4.7.5", ours=True)
        reply = await self._command("STARTTLS")
        if optional and not reply.positive and not reply.closing:
            return
        _expect(reply, "STARTTLS", "4.7.5")
        await self._handshake()
        # What was said in the clear does not count (RFC 3207 section 4.2).
        await self.hello(self._target.hello)

    async def _log_in(self, credentials: Credentials) -> None:
        offered = self.extensions.get("AUTH", "")
        name, mechanism = choose(offered, credentials, private=self._wire.private)
        initial = mechanism.begin()
        first = "" if initial is None else f" {base64.b64encode(initial).decode()}"
        reply = await self._command(f"AUTH {name}{first}")
        for _ in range(MAX_CHALLENGES):
            if reply.code != 334:
                break
            answer = await asyncio.to_thread(mechanism.answer, _challenge(reply))
            reply = await self._command(base64.b64encode(answer).decode())
        _expect(reply, f"AUTH {name}", STATUS)
        if not mechanism.complete:
            raise NextHopError(f"AUTH {name}: it has not proved who it is", STATUS, ours=True)

    async def xclient(self, commands: Sequence[str], hello: str) -> HopReply | None:
        """Tell the next hop who the client is; it then starts over.

        Returns the reply to the client's name in EHLO if that was refused for good.
        """
        for command in commands:
            _expect(await self._command(command), "XCLIENT", "4.7.0")
        verb, reply = await self._say_hello(hello)
        if reply.permanent and not reply.closing:
            return reply
        _expect(reply, verb)
        return None

    # --- one message ------------------------------------------------------------------------

    async def begin(
        self, mail: str, recipients: Sequence[str], *, before: Sequence[str] = (), data: bool
    ) -> EnvelopeReplies:
        """Send the envelope, in one go where PIPELINING (RFC 2920) is offered.

        mail, recipients: the whole commands; before: commands whose replies do not matter.
        data: send DATA with them.  Only for a single recipient: among several, some may be
        refused, and after 354 the only way back is to break off.
        """
        self.dot_sent = False
        self.transactions += 1
        reset = ["RSET"] if self._open else []
        pipelined = data and "PIPELINING" in self.extensions
        commands = [*reset, *before, mail, *recipients, *(["DATA"] if pipelined else [])]
        replies = await self._batch(commands)
        if reset and not replies[0].positive:
            self._in_step = False
            raise NextHopError(f"RSET: {replies[0]}", lost=True)
        first = len(reset) + len(before)
        answer, *outcomes = replies[first : first + 1 + len(recipients)]
        self._open = answer.positive
        if not answer.positive:
            outcomes = [answer] * len(recipients)
        data_reply = replies[-1] if pipelined else None
        if data_reply and data_reply.code == 354 and not outcomes[0].positive:
            self._in_step = False
        self.refused = self.refused or any(reply.code >= 400 for reply in replies)
        self._doubt(reply for reply in outcomes if reply is answer or not reply.permanent)
        if data_reply and outcomes[0].positive:
            self._doubt([data_reply])
        return EnvelopeReplies(answer, tuple(outcomes), data_reply)

    async def start_data(self) -> HopReply:
        """DATA; the reply is 354 when the next hop is ready for the message."""
        reply = await self._command("DATA")
        self._doubt([reply])
        return reply

    def _doubt(self, replies: Iterable[HopReply]) -> None:
        """Leave refusals that may be due to earlier transactions to a connection without any."""
        refusal = next((reply for reply in replies if reply.code >= 400), None)
        if refusal is None:
            return
        self.refused = True
        if self.reused:
            raise NextHopError(f"on a used connection: {refusal}", lost=True)

    async def send_message(self, blocks: AsyncIterator[bytes], replies: int) -> list[HopReply]:
        """Send the message, and read the replies: one in SMTP, one per recipient in LMTP."""
        stuffer = DotStuffer()
        self._in_step = False
        try:
            async for block in blocks:
                await self._wire.send(stuffer.feed(block), self._target.timeout)
        except NextHopError:
            if (refusal := self._early_refusal()) is None:
                raise
            return [refusal] * replies
        if (refusal := self._early_refusal()) is not None:
            return [refusal] * replies
        self.dot_sent = True
        await self._wire.send(stuffer.end(), self._target.timeout)
        return await self._final_replies(replies)

    async def send_chunk(
        self, blocks: AsyncIterator[bytes], size: int, replies: int
    ) -> list[HopReply]:
        """The same as `send_message` by BDAT (RFC 3030), in one chunk of `size` octets.

        RuntimeError if the blocks have another size; then the connection is to be aborted.
        """
        head = b"BDAT %d LAST\r\n" % size
        self._in_step = False
        try:
            async for block in blocks:
                size -= len(block)
                if size < 0:
                    break
                self.dot_sent = size == 0
                await self._wire.send(head + block if head else block, self._target.timeout)
                head = b""
        except NextHopError:
            if (refusal := self._early_refusal()) is None:
                raise
            return [refusal] * replies
        if size or head:
            raise RuntimeError("the message does not have the size that was announced")
        return await self._final_replies(replies)

    async def _final_replies(self, count: int) -> list[HopReply]:
        """Read the replies to a message; after the first, a missing one counts as a 451."""
        answers: list[HopReply] = []
        while len(answers) < count:
            try:
                reply = await self._wire.read_reply(self._target.dot_timeout)
                if reply.code < 400 and not reply.positive:
                    raise NextHopError(f"end of data: {reply}", "4.5.0")
            except NextHopError as error:
                if not answers:
                    raise
                lost = HopReply(451, (f"{error.status} {error}",))
                return answers + [lost] * (count - len(answers))
            answers.append(reply)
        self._in_step = not any(answer.closing for answer in answers)
        self._open = False
        self.refused = self.refused or not all(answer.positive for answer in answers)
        return answers

    def _early_refusal(self) -> HopReply | None:
        """What the next hop said before the end of the message: that can only be a refusal."""
        reply = self._wire.take_reply()
        if reply is not None and reply.code < 400:
            # It may have taken what it has.
            self.dot_sent = True
            raise NextHopError("accepts a message before its end", "4.5.0")
        if reply is not None:
            self._doubt([reply])
        return reply

    # --- end --------------------------------------------------------------------------------

    def leave(self) -> None:
        """QUIT, and close without waiting for the reply."""
        if self.usable:
            self._wire.say_goodbye()
        else:
            self._wire.abort()

    def abort(self) -> None:
        """Break off: the next hop must not take the part of a message that it has."""
        self._wire.abort()

    async def wait_closed(self, timeout: float) -> None:
        """Wait until the connection is closed."""
        await self._wire.wait_closed(timeout)

    # --- commands ---------------------------------------------------------------------------

    async def _command(self, command: str) -> HopReply:
        return (await self._batch([command]))[0]

    async def _batch(self, commands: list[str]) -> list[HopReply]:
        """Send commands, together if that is allowed, and read their replies."""
        step = BATCH if "PIPELINING" in self.extensions else 1
        replies: list[HopReply] = []
        self._in_step = False
        for start in range(0, len(commands), step):
            group = commands[start : start + step]
            await self._wire.send_commands(group, self._target.timeout)
            for _ in group:
                replies.append(await self._wire.read_reply(self._target.timeout))
                if (last := replies[-1]).closing:
                    status = "" if last.permanent else last.status
                    raise NextHopError(
                        f"closes: {last}", status or "4.3.2", lost=True, ours=last.permanent
                    )
        self._in_step = True
        return replies


def _challenge(reply: HopReply) -> bytes:
    try:
        return base64.b64decode(reply.lines[-1].strip(), validate=True)
    except ValueError:
        raise NextHopError(f"sends a challenge that is not base64: {reply}", STATUS) from None


def _expect(reply: HopReply, step: str, status: str = "") -> HopReply:
    """The reply, which has to be positive for the connection to be of any use."""
    if not reply.positive:
        own = "" if reply.permanent else reply.status
        problem = f"{step}: {reply}"
        raise NextHopError(problem, status or own or "4.3.2", ours=reply.permanent)
    return reply


async def connect(target: Target) -> Client:
    """A client that has said hello.  Raises NextHopError."""
    try:
        return await _connect(target)
    except TlsError:
        if target.tls != "may":
            raise
    return await _connect(replace(target, tls="off", context=None))


async def _connect(target: Target) -> Client:
    loop = asyncio.get_running_loop()
    try:
        with time_limit(target.timeout):
            if target.path:
                _, wire = await loop.create_unix_connection(HopWire, target.path)
            else:
                source = (target.source, 0) if target.source else None
                _, wire = await loop.create_connection(
                    HopWire, target.host, target.port, local_addr=source
                )
    except (OSError, TimeoutError, UnicodeError) as error:
        raise NextHopError(f"cannot connect: {error or 'no answer'}", "4.4.1") from error
    client = Client(wire, target)
    try:
        await client.greet()
    except BaseException:
        client.abort()
        raise
    return client
