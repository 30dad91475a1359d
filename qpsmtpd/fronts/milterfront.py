# SPDX-License-Identifier: MIT
"""The milter front: the chain, for Postfix and Sendmail (protocol 6, down to 2).

A mail system connects for each of its sessions, tells what happens, and asks.  Of the message it
gets one answer, at the end, when plugins have seen all of it; so header fields and body need no
answers.  What no plugin has a hook for it need not tell at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from qpsmtpd.fronts.headeredits import header_edits
from qpsmtpd.fronts.hosting import FrontConnection, FrontError
from qpsmtpd.fronts.visit import Client, Parameters, Visit
from qpsmtpd.mail.address import Address, PathError, ReversePath, parse_forward_path
from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.ip import Endpoint, canonical_ip
from qpsmtpd.mail.session import TlsInfo, Transaction
from qpsmtpd.milter import packets
from qpsmtpd.milter.codec import MAX_DATA, BadPacketError, Splitter, encode, read_command
from qpsmtpd.milter.fields import field_of
from qpsmtpd.milter.negotiation import (
    TELLING,
    Action,
    Agreement,
    NegotiationError,
    Stage,
    Step,
    settle,
)
from qpsmtpd.milter.packets import Packet
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: Seconds that a mail system may be silent: it waits for its client.  libmilter's default.
PATIENCE = 7210.0
#: Seconds that it may take from the first octet of a packet to the last.
PACKET_SECONDS = 300.0
#: Seconds after which it is told that a message is still being worked on.
PROGRESS = 30.0
#: Header fields of one message, and octets of all of them, that are kept: more than the limits of
#: any configuration.
_MOST_FIELDS = 20_000
_LARGEST_HEADER = 4 << 20
_MOST_MACROS = 1000

#: What we want to know of each stage, where it can be chosen.
MACROS = {
    Stage.CONNECT: (
        *("j", "{daemon_addr}", "{daemon_port}", "{if_addr}", "{if_port}"),
        *("{client_name}", "{client_ptr}", "{client_resolve}"),
    ),
    Stage.HELO: ("{tls_version}", "{cipher}", "{cipher_bits}"),
    Stage.MAIL: (
        *("i", "{auth_authen}", "{auth_type}", "{tls_version}", "{cipher}", "{cipher_bits}"),
    ),
    Stage.END_OF_MESSAGE: ("i",),
}

#: Hooks that are asked about the body.
_ABOUT_BODY = frozenset({"data_headers_end", "data_post_headers", "data_post", "queue_pre", "sign"})
_OPENING = frozenset({"pre_connection", "connect"})

_Handler = Callable[["MilterFront", Any], Awaitable[None]]
_Edits = tuple[list[Packet], Action]


async def speak_milter(connection: FrontConnection) -> None:
    """The conversation on one connection.  Raises FrontError, OSError and TimeoutError."""
    front = MilterFront(connection)
    try:
        await front.run()
    except (BadPacketError, NegotiationError) as error:
        raise FrontError(str(error)) from error
    finally:
        await front.end_visit()


class MilterFront:
    """One connection of a mail system, and the client that it is about."""

    def __init__(self, connection: FrontConnection) -> None:
        self._connection = connection
        self._splitter = Splitter()
        self._answers: list[bytes] = []
        self._agreed: Agreement | None = None
        self._exact = False
        self._mute: frozenset[type[Packet]] = frozenset()
        self._macros: dict[str, str] = {}
        self._visit: Visit | None = None
        self._ended = False
        self._header: list[bytes] = []
        self._header_size = 0
        self._begun = self._in_body = False
        self._refusal: Reply | None = None
        self._sender: ReversePath = None
        self._accepted: list[tuple[str, Address | None]] = []

    async def run(self) -> None:
        """Take packets, and answer them, until either side ends it."""
        while not self._ended:
            answers = b"".join(self._answers)
            self._answers.clear()
            patience = PACKET_SECONDS if self._splitter.waiting else PATIENCE
            data = await self._connection.exchange(answers, patience)
            if not data:
                return
            self._splitter.feed(data)
            while not self._ended and (octets := self._splitter.next()) is not None:
                await self._take(read_command(*octets))

    async def end_visit(self) -> None:
        """The client has left."""
        visit, self._visit = self._visit, None
        self._connection.busy = False
        self._forget_message()
        if visit is not None:
            await self._connection.leave(visit)

    async def _take(self, packet: Packet) -> None:
        if self._agreed is None and not isinstance(packet, packets.Negotiate):
            raise FrontError("does not begin with a negotiation")
        handler = _HANDLERS[type(packet)]
        try:
            await handler(self, packet)
        except (FrontError, BadPacketError, NegotiationError):
            raise
        except Exception:
            # A fault of ours: the mail system defers, everything else goes on.
            log.exception("fault in the milter front")
            await self._abort(packet)
            if type(packet) in TELLING and type(packet) not in self._mute:
                self._say(packets.Tempfail())

    # --- the connection -------------------------------------------------------------------------

    async def _negotiate(self, packet: packets.Negotiate) -> None:
        answer, agreed = settle(packet, self._left_out(), MACROS)
        self._agreed, self._exact = agreed, Step.LEADING_SPACE in agreed.steps
        self._mute = frozenset(kind for kind in TELLING if not agreed.answers(kind))
        self._say(answer)

    def _left_out(self) -> Step:
        """Steps that we need not hear of or answer, and how we want to hear of the others."""
        hooks = self._connection.host.snapshot.chain.hooks
        steps = Step.MUTE_HEADERS | Step.MUTE_END_OF_HEADERS | Step.MUTE_BODY | Step.LEADING_SPACE
        if "data" not in hooks:
            steps |= Step.NO_DATA
        if "unrecognized_command" not in hooks:
            steps |= Step.NO_UNKNOWN
        if not hooks & _OPENING:
            steps |= Step.MUTE_CONNECT
        if not hooks & _ABOUT_BODY:
            steps |= Step.NO_BODY
        return steps

    async def _remember(self, packet: packets.Macros) -> None:
        if len(self._macros) + len(packet.values) > _MOST_MACROS:
            raise FrontError("too many macros")
        for name, value in packet.values:
            self._macros[name.decode("latin-1").strip("{}")] = value.decode("utf-8", "replace")

    async def _connect(self, packet: packets.Connect) -> None:
        if self._visit is not None:
            raise FrontError("another client before the end of the first")
        self._visit = visit = self._connection.visit(self._client(packet))
        self._connection.busy = True
        self._tell(packets.Connect, await visit.connect())

    def _client(self, packet: packets.Connect) -> Client:
        macros = self._macros
        if packet.family in (b"4", b"6"):
            address = Endpoint(_ip(packet.address.decode("latin-1")), packet.port)
        else:
            address = Endpoint("127.0.0.1")
        ip = macros.get("daemon_addr") or macros.get("if_addr") or "127.0.0.1"
        port = macros.get("daemon_port") or macros.get("if_port") or "25"
        local = Endpoint(_ip(ip), int(port) if port.isascii() and port.isdigit() else 0)
        name = macros.get("client_name") or packet.name.decode("utf-8", "replace")
        confirmed = macros.get("client_resolve", "OK") == "OK"
        return Client(
            address,
            local,
            _known(name) if confirmed else "",
            _known(macros.get("client_ptr") or name),
        )

    async def _helo(self, packet: packets.Helo) -> None:
        visit = self._present
        self._note_facts(visit)
        # Nobody tells which of the two it was.
        host = packet.name.decode("utf-8", "surrogateescape")
        self._tell(packets.Helo, await visit.hello("ehlo", host))

    def _note_facts(self, visit: Visit) -> None:
        """What macros say about TLS and a login."""
        macros = self._macros
        if version := macros.get("tls_version"):
            bits = macros.get("cipher_bits", "")
            number = int(bits) if bits.isascii() and bits.isdigit() and len(bits) < 6 else 0
            visit.secured(TlsInfo(version, macros.get("cipher", ""), number))
        visit.logged_in(macros.get("auth_authen", ""), macros.get("auth_type", ""))

    async def _unknown(self, packet: packets.Unknown) -> None:
        line = packet.line.decode("utf-8", "surrogateescape")
        self._tell(packets.Unknown, await self._present.unknown(line))

    async def _quit(self, _packet: Packet) -> None:
        await self.end_visit()
        self._ended = True

    async def _quit_new_client(self, _packet: Packet) -> None:
        await self.end_visit()
        self._macros.clear()
        self._ended = self._connection.draining

    # --- the envelope ---------------------------------------------------------------------------

    async def _mail(self, packet: packets.Mail) -> None:
        visit = self._present
        self._forget_message()
        self._note_facts(visit)
        reply = await visit.mail(*_words(packet.words))
        if reply is None:
            self._sender = self._running.reverse_path
        self._tell(packets.Mail, reply)

    async def _rcpt(self, packet: packets.Rcpt) -> None:
        visit, _ = self._present, self._running
        path, parameters = _words(packet.words)
        reply = await visit.rcpt(path, parameters)
        if reply is None:
            self._accepted.append((path, _address(visit.qualified(path))))
        self._tell(packets.Rcpt, reply)

    async def _data(self, _packet: packets.Data) -> None:
        self._tell(packets.Data, await self._begin_message())

    async def _begin_message(self) -> Reply | None:
        """The envelope is complete; whether or not we were told."""
        transaction = self._running
        if self._begun:
            return None
        self._begun = True
        if queue_id := self._macros.get("i"):
            transaction.next_hop_id = queue_id
        return await self._present.data()

    # --- the message ----------------------------------------------------------------------------

    async def _take_field(self, packet: packets.Header) -> None:
        field = field_of(packet, exact=self._exact)
        self._header.append(field)
        self._header_size += len(field)
        if len(self._header) > _MOST_FIELDS or self._header_size > _LARGEST_HEADER:
            raise FrontError("a header section without end")
        self._tell(packets.Header, None)

    async def _end_header(self, _packet: packets.EndOfHeaders) -> None:
        self._refusal = await self._begin_message()
        self._in_body = True
        header = b"".join(self._header)
        self._header.clear()
        await self._present.take(header + b"\r\n")
        self._tell(packets.EndOfHeaders, None)

    async def _take_body(self, packet: packets.Body) -> None:
        self._check_in_body()
        if packet.chunk:
            await self._present.take(packet.chunk)
        self._tell(packets.Body, None)

    async def _end_message(self, packet: packets.EndOfMessage) -> None:
        visit, transaction = self._present, self._running
        self._check_in_body()
        if queue_id := self._macros.get("i"):
            transaction.next_hop_id = queue_id
        if packet.chunk:
            await visit.take(packet.chunk)
        timer = _Progress(self._connection)
        try:
            reply = self._refusal or await visit.decide()
        finally:
            timer.cancel()
        if reply is None:
            await self._pass(transaction)
        else:
            self._tell(packets.EndOfMessage, reply)
        self._forget_message()
        await visit.reset()

    async def _pass(self, transaction: Transaction) -> None:
        """The message is good: say what is to be changed, and that it may go on."""
        assert self._agreed is not None
        if transaction.dropped_by:
            self._say(packets.Discard())
            return
        edits, actions = await self._edits(transaction)
        if missing := actions & ~self._agreed.actions:
            log.error("the mail system does not let us change the message: %s", missing)
            self._say(packets.Tempfail())
            return
        for edit in edits:
            self._say(edit)
        self._say(packets.Continue())

    async def _edits(self, transaction: Transaction) -> _Edits:
        """What plugins have changed, and what we have to be allowed for that."""
        assert transaction.message is not None
        message, actions = transaction.message, Action(0)
        before = Headers.parse(transaction.received_header).fields()
        edits: list[Packet] = list(
            header_edits(before, message.headers.fields(), exact=self._exact)
        )
        if any(isinstance(edit, packets.AddHeader) for edit in edits):
            actions |= Action.ADD_HEADERS
        if any(not isinstance(edit, packets.AddHeader) for edit in edits):
            actions |= Action.CHANGE_HEADERS
        for changes, action in (
            (self._sender_changes(transaction), Action.CHANGE_SENDER),
            (self._deleted(transaction), Action.DELETE_RECIPIENTS),
            (self._added(transaction), Action.ADD_RECIPIENTS),
        ):
            found = list(changes)
            edits += found
            actions |= action if found else Action(0)
        if not message.body_as_received:
            actions |= Action.CHANGE_BODY
            async for block in message.stream_body():
                for start in range(0, len(block), MAX_DATA):
                    edits.append(packets.ReplaceBody(block[start : start + MAX_DATA]))
        if transaction.held_for:
            actions |= Action.QUARANTINE
            edits.append(packets.Quarantine(_octets(transaction.held_for)))
        return edits, actions

    def _sender_changes(self, transaction: Transaction) -> Iterator[Packet]:
        if transaction.reverse_path != self._sender:
            yield packets.ChangeSender(_octets(f"<{transaction.sender}>"))

    def _deleted(self, transaction: Transaction) -> Iterator[Packet]:
        left = {recipient.address for recipient in transaction.recipients}
        for path, address in self._accepted:
            if address not in left:
                yield packets.DeleteRecipient(_octets(path))

    def _added(self, transaction: Transaction) -> Iterator[Packet]:
        there = {address for _, address in self._accepted}
        for recipient in transaction.recipients:
            if recipient.address not in there:
                yield packets.AddRecipient(_octets(recipient.address.path))

    async def _abort(self, _packet: Packet) -> None:
        self._forget_message()
        if self._visit is not None:
            await self._visit.reset()

    def _forget_message(self) -> None:
        self._header.clear()
        self._accepted.clear()
        self._header_size, self._refusal = 0, None
        self._begun = self._in_body = False

    # --- answers --------------------------------------------------------------------------------

    @property
    def _present(self) -> Visit:
        if self._visit is None:
            raise FrontError("a command before a client")
        return self._visit

    @property
    def _running(self) -> Transaction:
        transaction = self._present.transaction
        if transaction is None:
            raise FrontError("a part of a message without its beginning")
        return transaction

    def _check_in_body(self) -> None:
        if not self._in_body:
            raise FrontError("a body without a header section")

    def _tell(self, kind: type[Packet], reply: Reply | None) -> None:
        """Answer one command, unless it is one that needs no answer."""
        if kind not in self._mute:
            self._say(packets.Continue() if reply is None else _refusal(reply))

    def _say(self, packet: Packet) -> None:
        self._answers.append(encode(packet))


class _Progress:
    """Tells the mail system now and then that a message is still being worked on."""

    def __init__(self, connection: FrontConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PROGRESS, self._say)

    def _say(self) -> None:
        self._connection.say(encode(packets.Progress()))
        self._timer = self._loop.call_later(PROGRESS, self._say)

    def cancel(self) -> None:
        """The answer is there."""
        self._timer.cancel()


def _refusal(reply: Reply) -> Packet:
    """A reply for the mail system to pass on; "%" starts a format there, so it is doubled."""
    text = reply.octets.removesuffix(b"\r\n").replace(b"%", b"%%")
    return packets.ReplyCode(text)


def _words(words: tuple[bytes, ...]) -> tuple[str, Parameters]:
    """The path and the parameters of MAIL or RCPT."""
    if not words:
        raise FrontError("a command without an address")
    path, *others = (word.decode("utf-8", "surrogateescape") for word in words)
    parameters: Parameters = {}
    for word in others:
        name, equals, value = word.partition("=")
        parameters[name.upper()] = value if equals else None
    return path, parameters


def _address(path: str) -> Address | None:
    """The recipient as the mail system has it; None if only a plugin can read it."""
    try:
        return parse_forward_path(path, utf8=True)
    except PathError:
        return None


def _ip(text: str) -> str:
    try:
        return canonical_ip(text.removeprefix("IPv6:"))
    except ValueError:
        raise FrontError(f"{text!r} is not an address") from None


def _known(name: str) -> str:
    """The name of a client; "" for what mail systems write if there is none."""
    return "" if name.startswith("[") or name.lower() == "unknown" else name


def _octets(text: str) -> bytes:
    return text.replace("\0", "?").encode("utf-8", "surrogateescape")


_HANDLERS: dict[type[Packet], _Handler] = {
    packets.Negotiate: MilterFront._negotiate,
    packets.Macros: MilterFront._remember,
    packets.Connect: MilterFront._connect,
    packets.Helo: MilterFront._helo,
    packets.Mail: MilterFront._mail,
    packets.Rcpt: MilterFront._rcpt,
    packets.Data: MilterFront._data,
    packets.Header: MilterFront._take_field,
    packets.EndOfHeaders: MilterFront._end_header,
    packets.Body: MilterFront._take_body,
    packets.EndOfMessage: MilterFront._end_message,
    packets.Unknown: MilterFront._unknown,
    packets.Abort: MilterFront._abort,
    packets.Quit: MilterFront._quit,
    packets.QuitNewClient: MilterFront._quit_new_client,
}
