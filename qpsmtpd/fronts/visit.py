# SPDX-License-Identifier: MIT
"""Visit: one client of a mail system, taken through the chain step by step.

The steps are those of the commands of SMTP, by the same code (smtp/); what is missing is the wire,
and what the mail system decides itself: whether parameters are offered, commands come in order, and
clients may relay.  Every step returns the refusal, or None.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.logs.records import bind
from qpsmtpd.mail.address import Address, PathError, parse_forward_path, parse_reverse_path
from qpsmtpd.mail.domain import is_domain
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import (
    Recipient,
    ReverseLookup,
    ReverseNames,
    Session,
    TlsInfo,
    Transaction,
)
from qpsmtpd.mail.spoolmemory import SpoolMemory
from qpsmtpd.plugin.base import ParsedPath
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.chunkreader import ChunkReader
from qpsmtpd.smtp.commands import ehlo, helo, vrfy
from qpsmtpd.smtp.connection import ClientGoneError, Connection
from qpsmtpd.smtp.datareader import whole_text
from qpsmtpd.smtp.envelope import (
    MAIL_PARSERS,
    RCPT_PARSERS,
    ask_parsers,
    begin_transaction,
    decide_recipient,
    size_fault,
)
from qpsmtpd.smtp.introduction import OPENING
from qpsmtpd.smtp.receiver import Receiver
from qpsmtpd.smtp.replies import reply_to
from qpsmtpd.smtp.reply import Reply
from qpsmtpd.smtp.transfer import ask, conclude, decide, take_whole

Parameters = dict[str, str | None]

#: Octets of a message that are collected before they go to the spool: most have fewer.
_COLLECTED = 64 * 1024


@dataclass(frozen=True, slots=True)
class Client:
    """Whom the mail system talks to.

    name: confirmed by the DNS, as the mail system has found; "" if it has found none.
    claimed: the name of the client's address, confirmed or not; "" if it is not known.
    """

    address: Endpoint
    local: Endpoint
    name: str = ""
    claimed: str = ""


class _NoWire:
    """The wire of a session whose client somebody else talks to: nothing comes, nothing goes."""

    message_deadline = 0.0
    pending_input = b""

    def count_as(self, ip: str) -> NoReturn:
        raise ClientGoneError

    def reverse_lookup(self, ip: str) -> NoReturn:
        raise ClientGoneError

    async def early_input(self, seconds: float, *, teaser: bool = False) -> bool:
        return False

    async def tarpit(self, seconds: float) -> bool:
        return True

    async def read_line(self, limit: int, *, answer: bool = False) -> NoReturn:
        raise ClientGoneError

    async def read_block(self) -> NoReturn:
        raise ClientGoneError

    async def read_octets(self, most: int) -> NoReturn:
        raise ClientGoneError

    def resume_message(self, deadline: float) -> None:
        """There is no hurry."""

    def unread(self, data: bytes) -> None:
        """Nothing was read."""

    def write(self, data: bytes) -> None:
        """Nobody listens."""

    async def flush(self) -> None:
        """There is nothing to send."""

    async def pause(self, seconds: float) -> None:
        """The client does not wait for us."""

    async def start_tls(self, context: ssl.SSLContext) -> NoReturn:
        raise ClientGoneError


_NO_WIRE = _NoWire()


class Visit:
    """One client.  After a refusal that would have closed its connection, all else has the same."""

    def __init__(
        self,
        snapshot: Snapshot,
        memory: SpoolMemory,
        client: Client,
        look_up: ReverseLookup,
    ) -> None:
        """`look_up` asks the DNS for the client's name, should the mail system not have it."""
        session = Session(client.address, client.local, reverse_lookup=_names_of(client) or look_up)
        session.hosted = True
        self.session = session
        self.snapshot = snapshot
        self._connection = Connection(session, snapshot, _NO_WIRE, memory=memory)
        self._last_word: Reply | None = None
        self._incoming: _Incoming | None = None

    # --- what is known of the session ---------------------------------------------------------

    def secured(self, tls: TlsInfo | None) -> None:
        """The connection of the client has TLS, or none."""
        self.session.tls = tls

    def logged_in(self, user: str, mechanism: str) -> None:
        """The mail system has checked a login: its users may relay."""
        if user and user != self.session.auth_user:
            self.session.auth_user, self.session.auth_mechanism = user, mechanism
            self.session.relay_client = True
            self.session.deferred_rejects.clear()

    @property
    def transaction(self) -> Transaction | None:
        """The message that is under way."""
        return self.session.transaction

    def qualified(self, path: str) -> str:
        """A path with a domain: without one, mail systems take it for an address of their own."""
        if "@" in path or path.lower() in ("<>", "<postmaster>") or not path.endswith(">"):
            return path
        return f"{path[:-1]}@{self.snapshot.services.me}>"

    # --- steps --------------------------------------------------------------------------------

    async def connect(self) -> Reply | None:
        """The client has connected."""
        bind(self.session)
        connection = self._connection
        for hook in OPENING:
            answer = await connection.run(hook, self.session)
            if (reply := connection.refusal(answer, self.session.client.ip)) is not None:
                self._last_word = reply
                return reply
        return None

    async def hello(self, kind: Literal["helo", "ehlo"], host: str) -> Reply | None:
        """The client has said who it is."""
        command = ehlo if kind == "ehlo" else helo
        return self._last_word or self._heard(await command(self._connection, host))

    async def mail(self, path: str, parameters: Parameters) -> Reply | None:
        """A message begins.  `path` has its brackets."""
        self._forget_what_came()
        if self._last_word is not None:
            return self._last_word
        connection = self._connection
        if self.session.hello is None:
            # Whether a name is needed is up to the mail system.
            self.session.hello = "helo"
        parsed: ParsedPath | Reply = ParsedPath(path, parameters)
        if connection.snapshot.chain.hooks & MAIL_PARSERS:
            argument = _argument("FROM", path, parameters)
            parsed = await ask_parsers(connection, "mail", argument, parsed)
        if isinstance(parsed, Reply):
            return self._heard(parsed)
        size = parsed.parameters.get("SIZE")
        if size and (fault := size_fault(size, connection.snapshot.largest_message)):
            return connection.refuse("mail", fault)
        try:
            sender = parse_reverse_path(self.qualified(parsed.path), utf8=True)
        except PathError:
            return connection.refuse("mail", replies.BAD_SENDER)
        transaction = Transaction(self.session, sender, parsed.parameters)
        return self._heard(await begin_transaction(connection, transaction))

    async def rcpt(self, path: str, parameters: Parameters) -> Reply | None:
        """A recipient; without a refusal it is the last one of the transaction."""
        if self._last_word is not None:
            return self._last_word
        connection, transaction = self._connection, self._running
        parsed: ParsedPath | Reply = ParsedPath(path, parameters)
        if connection.snapshot.chain.hooks & RCPT_PARSERS:
            argument = _argument("TO", path, parameters)
            parsed = await ask_parsers(connection, "rcpt", argument, parsed)
        if isinstance(parsed, Reply):
            return self._heard(parsed)
        try:
            address = parse_forward_path(self.qualified(parsed.path), utf8=True)
        except PathError:
            return connection.refuse("rcpt", replies.BAD_RECIPIENT)
        if len(transaction.recipients) >= connection.snapshot.settings.max_recipients:
            return connection.refuse("rcpt", replies.TOO_MANY_RECIPIENTS)
        recipient = Recipient(address, parsed.parameters)
        return self._heard(await decide_recipient(connection, transaction, recipient))

    async def data(self) -> Reply | None:
        """The client wants to send the message; from here on plugins may change the envelope."""
        if self._last_word is not None:
            return self._last_word
        connection, transaction = self._connection, self._running
        transaction.envelope_changeable = connection.deciding = True
        if "data" not in self.snapshot.chain.hooks:
            return None
        reply = await ask(connection, transaction, "data")
        return None if reply is None else self._heard(conclude(connection, transaction, reply))

    async def take(self, octets: bytes) -> None:
        """Octets of the message: lines that end with CRLF, no dots doubled."""
        if self._incoming is None:
            self._incoming = _Incoming(self._connection, self._running)
        await self._incoming.take(octets)

    async def decide(self) -> Reply | None:
        """The message is complete: what becomes of it.  It stays until `reset`."""
        transaction, incoming = self._running, self._incoming
        if self._last_word is not None:
            return self._last_word
        assert incoming is not None, "a decision on a message of which nothing has come"
        self._incoming, self._connection.deciding = None, True
        reply = await incoming.finish()
        if reply is None:
            reply = await decide(self._connection, transaction)
        return self._heard(conclude(self._connection, transaction, reply))

    async def announced(self, size: int) -> Reply | None:
        """The message is complete, and only its size is known."""
        fault = size_fault(str(size), self.snapshot.largest_message)
        if self._last_word is None and fault is not None:
            return self._connection.refuse("data", fault)
        return self._last_word

    async def verify(self, address: str) -> Reply | None:
        """The client has said VRFY."""
        return self._last_word or self._heard(await vrfy(self._connection, address))

    async def unknown(self, line: str) -> Reply | None:
        """The client has said something that is not a command."""
        if self._last_word is not None:
            return self._last_word
        verb, _, argument = line.partition(" ")
        connection = self._connection
        answer = await connection.run(
            "unrecognized_command", self.session, verb.lower(), argument.strip()
        )
        return None if answer is None else self._heard(reply_to(answer))

    async def reset(self) -> None:
        """The message is over, however it ended."""
        self._forget_what_came()
        await self._connection.reset_transaction()

    async def close(self) -> None:
        """The client has left."""
        await self.reset()
        await self._connection.end_session()

    # --- parts --------------------------------------------------------------------------------

    @property
    def _running(self) -> Transaction:
        transaction = self.session.transaction
        assert transaction is not None, "a step of a message without a message"
        return transaction

    def _forget_what_came(self) -> None:
        if self._incoming is not None:
            self._incoming.close()
            self._incoming = None
        self._connection.deciding = False

    def _heard(self, reply: Reply) -> Reply | None:
        """A reply as the result of a step."""
        if reply.positive:
            return None
        if reply.disconnect:
            self._last_word = reply
        return reply


@dataclass(slots=True)
class _Incoming:
    """A message while it comes: small ones at once, others by way of the reader of chunks."""

    connection: Connection
    transaction: Transaction
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0
    _way: tuple[ChunkReader, Receiver] | None = None
    _refusal: Reply | None = None

    async def take(self, octets: bytes) -> None:
        """Take more of it."""
        self._parts.append(octets)
        self._size += len(octets)
        if self._size > _COLLECTED:
            await self._feed()

    async def finish(self) -> Reply | None:
        """Make it the message of the transaction.  The refusal when it cannot be taken."""
        if self._way is None:
            text = b"".join(self._parts)
            if take_whole(self.connection, self.transaction, text, whole_text):
                return None
        await self._feed()
        assert self._way is not None
        reader, receiver = self._way
        try:
            reader.finish()
            return self._refusal or await receiver.settle() or await receiver.finish()
        finally:
            receiver.close()

    def close(self) -> None:
        """Forget it."""
        if self._way is not None:
            self._way[1].close()

    async def _feed(self) -> None:
        text, self._size = b"".join(self._parts), 0
        self._parts.clear()
        if self._way is None:
            self._way = self._begun()
        reader, receiver = self._way
        if self._refusal is None:
            reader.feed(text)
            self._refusal = await receiver.settle()

    def _begun(self) -> tuple[ChunkReader, Receiver]:
        snapshot, transaction = self.connection.snapshot, self.transaction
        spool = snapshot.new_spool(self.connection.memory)
        tolerant = snapshot.settings.barelf == "tolerant"
        reader = ChunkReader(
            spool, snapshot.data_limits, tolerant=tolerant, binary=transaction.binary
        )
        return reader, Receiver(self.connection, transaction, reader, spool)


def bracketed(address: str) -> str:
    """An address that came without brackets and quotes, as a path."""
    local, at, domain = address.rpartition("@")
    if not at or not is_domain(domain):
        return f"<{address}>"
    return Address(local, domain).path


def _names_of(client: Client) -> ReverseLookup | None:
    """What the mail system knows about the client's name; None if the DNS is to be asked."""
    if not client.name:
        return None
    names = ReverseNames(client.name, client.claimed or client.name)

    async def known() -> ReverseNames:
        return names

    return known


def _argument(keyword: str, path: str, parameters: Parameters) -> str:
    """The argument of MAIL or RCPT, as plugins parse it."""
    words = (name if value is None else f"{name}={value}" for name, value in parameters.items())
    return " ".join((f"{keyword}:{path}", *words))
