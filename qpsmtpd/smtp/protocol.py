# SPDX-License-Identifier: MIT
"""SmtpProtocol: the wire.  The only module that knows aiosmtpd.

Theory of operation.  An aiosmtpd SMTP is an asyncio protocol whose coroutine `_handle_client` is
the session.  We keep that shape and replace what is inside: ARCHITECTURE.md, Decisions, says what
was measured.  Bytes that arrive are kept in one buffer; the session's coroutine takes lines or
blocks out of it, and the transport is paused while the buffer is full, so that neither an endless
command line nor an endless message grows the process.  Replies are collected and sent when the
coroutine waits for more input (RFC 2920 section 3.2).

A client that goes away cancels nothing: the coroutine learns of it at its next read, so a handover
that has begun is finished.  deadlines.py says how long we wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
from typing import Any, Protocol, cast

from aiosmtpd.smtp import SMTP

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.mail.ip import Endpoint, canonical_ip, parse_ip
from qpsmtpd.mail.session import ReverseLookup, Session, TlsInfo
from qpsmtpd.mail.spoolmemory import SpoolMemory
from qpsmtpd.metrics.catalogue import TLS_FAILURES, TLS_SESSIONS
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.smtp.connection import (
    ClientGoneError,
    ClientTimeoutError,
    Connection,
    LineTooLongError,
    ShutdownError,
)
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.smtp.deadlines import NEVER, Deadlines, Watch
from qpsmtpd.smtp.otherprotocols import BINARY
from qpsmtpd.smtp.reply import Reply
from qpsmtpd.smtp.tarpit import Tarpit

log = logging.getLogger(__name__)

#: Bytes that may wait while nobody reads them; beyond that, TCP pauses the client.
HIGH_WATER = 64 * 1024
#: At most about this many octets of replies are collected; then the other connections have their
#: turn.
MOST_OUTPUT = 4096
_CR = 0x0D
#: Seconds for a TLS handshake.
TLS_TIMEOUT = 60.0
#: Seconds that a client which reads nothing may delay the end of its connection.
LINGER = 10.0
#: Seconds and octets of input that we throw away after the last reply to a client that did not say
#: QUIT: if there is unread input when we close, the kernel resets the connection, and a client that
#: is still sending may never see the reply.
INPUT_LINGER = 2.0
MOST_LINGERING = 1024 * 1024
#: The same in seconds while the server is stopping, when somebody waits for the end.
LAST_INPUT_LINGER = 0.2
#: Seconds that a silent client may delay the end of the server; new clients wait meanwhile.
DRAIN_PATIENCE = 10.0


class Host(Protocol):
    """What a connection needs from the server that accepted it (server.py)."""

    @property
    def snapshot(self) -> Snapshot:
        """The configuration for new connections."""

    @property
    def memory(self) -> SpoolMemory:
        """What the messages of all connections have in memory."""

    @property
    def tarpit(self) -> Tarpit:
        """The clients that are made to wait."""

    @property
    def watch(self) -> Watch:
        """What looks at the deadlines of all connections."""

    def admit(self, protocol: SmtpProtocol, ip: str) -> int | Reply:
        """Register a connection.  Returns how many its client has open now, or the refusal.

        A client that is exempt from limits has 1.
        """

    def admit_as(self, protocol: SmtpProtocol, ip: str) -> int | Reply:
        """Register a connection anew, as that of another client; returns the same as `admit`."""

    def forget(self, protocol: SmtpProtocol) -> None:
        """The connection is over."""

    def reverse_lookup(self, ip: str) -> ReverseLookup:
        """Begin to look up the client's name; returns the function that waits for it."""


class SmtpProtocol(SMTP):
    """One connection on the wire; it is the Wire of its Connection."""

    def __init__(
        self,
        host: Host,
        loop: asyncio.AbstractEventLoop,
        *,
        implicit_tls: bool = False,
        client: Endpoint | None = None,
        local: Endpoint | None = None,
        lmtp: bool = False,
    ) -> None:
        # SMTP.__init__ is not called: it inspects all methods of the class for every connection.
        self._host = host
        self._loop = loop
        self._implicit_tls = implicit_tls
        self._client = client
        self._local = local
        self._lmtp = lmtp
        self.transport: asyncio.Transport | None = None
        self.connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None
        self.pending_input = b""
        self._read = 0  # bytes of it that have been read, if not all have
        self._out = b""
        self._waiter: asyncio.Future[None] | None = None
        self._early: asyncio.Future[None] | None = None
        self._pause: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reading_paused = False
        #: Whether something may keep us from waiting for input: see `_may_wait`.
        self._hindered = False
        self._ended = False
        self._overdue = False
        self._lost = False
        self._finished = False
        self._reading_message = False
        self._flushing = False
        self._handshaking = False
        self._deadlines = Deadlines(host.watch)

    # --- asyncio calls these ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected: admit it and begin the session."""
        self.transport = cast("asyncio.Transport", transport)
        if self._implicit_tls:
            # The client's first bytes belong to TLS, which is set up in the session's coroutine.
            self.transport.pause_reading()
        client = self._client or endpoint(transport.get_extra_info("peername"))
        local = self._local or _local_endpoint(transport.get_extra_info("sockname"))
        if client is None or local is None:
            # Reset before we saw it: what it sent could still be read, but not who sent it.
            self._lost = True
            self.transport.abort()
            return
        open_connections = self._host.admit(self, client.ip)
        if isinstance(open_connections, Reply):
            self._turn_away(open_connections)
            return
        snapshot = self._host.snapshot
        session = self._new_session(
            client, local, open_connections, self._host.reverse_lookup(client.ip)
        )
        self.connection = Connection(session, snapshot, self, memory=self._host.memory)
        pace = snapshot.pace
        self._deadlines.start(
            self._on_deadline,
            command=pace.command,
            data=pace.data,
            session=snapshot.settings.session_timeout,
            message=snapshot.settings.data_deadline,
            min_rate=snapshot.settings.min_rate,
        )
        self.task = self._loop.create_task(self._handle_client())

    def _new_session(
        self, client: Endpoint, local: Endpoint, open_connections: int, lookup: ReverseLookup
    ) -> Session:
        session = Session(client, local, reverse_lookup=lookup, channel=self)
        session.lmtp = self._lmtp
        session.connections_from_client = open_connections
        session.max_connections_from_client = self._host.snapshot.settings.max_from_ip
        return session

    def _turn_away(self, reply: Reply) -> None:
        assert self.transport is not None
        if not self._implicit_tls:
            self.transport.write(reply.octets)
        self._lost = True
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self.pending_input:
            self.pending_input = self.pending_input[self._read :] + data
            self._read = 0
        else:
            self.pending_input = data
        waiter = self._waiter
        if waiter is None:
            self._wake()
            if len(self.pending_input) >= HIGH_WATER and not self._reading_paused:
                self._reading_paused = self._hindered = True
                assert self.transport is not None
                self.transport.pause_reading()
        else:
            self._waiter = None
            try:
                waiter.set_result(None)
            except asyncio.InvalidStateError:
                # Its task has been cancelled just now.
                log.debug("input for a session that ends")

    def eof_received(self) -> bool:
        """The client will send no more; it may still read our reply, but not over TLS.

        TLS is there as soon as the handshake ends, before the session hears of it.
        """
        self._ended = self._hindered = True
        self._wake()
        self.end_pause()
        if self.connection is None or self._handshaking:
            return False
        return self.connection.session.tls is None

    def connection_lost(self, _error: Exception | None) -> None:
        """The connection is closed, by either side."""
        self._lost = self._ended = self._hindered = True
        self._deadlines.stop()
        self._wake()
        self.end_pause()
        self.resume_writing()
        self._forget_if_over()

    def pause_writing(self) -> None:
        """The client is slow to read."""
        if self._writable is None and not self._lost:
            self._writable = self._loop.create_future()
            self._hindered = True

    def resume_writing(self) -> None:
        """The client has read enough."""
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # --- the session's coroutine ------------------------------------------------------------

    async def _handle_client(self) -> None:
        assert self.connection is not None
        session = self.connection.session
        try:
            if self._implicit_tls:
                session.tls = await self._start_with_tls(self.connection.snapshot.tls_context)
            await converse(self.connection)
        except ClientGoneError:
            pass
        finally:
            try:
                self._close()
            finally:
                self._finished = True
                self._forget_if_over()

    def _forget_if_over(self) -> None:
        """Tell the server once the last reply is on its way as well: it may be about to exit."""
        if self._finished and self._lost and self.connection is not None:
            self._host.forget(self)
            # Without cycles everything is freed at once: the connection knows us as its wire, the
            # session as its ears, and both the task, by its context, and timers know the session.
            self.connection = None
            self.task = None
            # Timers that were cancelled stay for a while; the buffers of TLS (256 KB) need not.
            self.transport = None

    @property
    def _ip(self) -> str:
        assert self.connection is not None
        return self.connection.session.client.ip

    async def _start_with_tls(self, context: ssl.SSLContext | None) -> TlsInfo:
        if context is None:
            log.error(
                "no plugin has a certificate for the port that begins with TLS ip=%s", self._ip
            )
            raise ClientGoneError
        return await self.start_tls(context)

    def _close(self) -> None:
        if self.transport is None or self._lost:
            return
        unsent = self.transport.get_write_buffer_size()
        if self._is_sending():
            self._finish_reading(self.transport, LINGER if unsent else self._input_linger)
            return
        self.transport.close()
        if unsent or (self.connection is not None and self.connection.session.tls):
            # TLS waits for the client's close_notify.
            self._deadlines.stop_after(LINGER, self.transport.abort)
        else:
            self._deadlines.stop()

    def _is_sending(self) -> bool:
        """Whether the client may be sending still, so that closing might lose our last reply."""
        connection = self.connection
        if connection is None or self._ended or connection.session.tls is not None:
            return False
        if self.transport is None or self.transport.is_closing():
            return False
        return bool(self.pending_input) or not connection.said_goodbye

    @property
    def _input_linger(self) -> float:
        draining = self.connection is not None and self.connection.draining
        return LAST_INPUT_LINGER if draining else INPUT_LINGER

    def _finish_reading(self, transport: asyncio.Transport, seconds: float) -> None:
        """Say that nothing more will come, and read until the client closes or a limit."""
        self._drop()
        transport.set_protocol(_Leftovers(self, transport))
        if transport.can_write_eof():
            # asyncio lets the error through if the client has reset the connection just now.
            with contextlib.suppress(OSError):
                transport.write_eof()
        if self._reading_paused:
            transport.resume_reading()
        self._deadlines.stop_after(seconds, transport.abort)

    def drain(self) -> None:
        """The server is stopping: end the connection as soon as no transaction is under way."""
        if self.connection is None or self._finished:
            return
        self.connection.draining = True
        self.end_pause()
        if (
            self._waiter is not None
            and not self._reading_message
            and self.connection.session.transaction is None
        ):
            self._wake(ShutdownError())
        else:
            self._deadlines.shorten(DRAIN_PATIENCE)

    def keep_pace(self) -> None:
        """The grade of stress has changed, and with it how long the client may take."""
        if self.connection is not None and not (self._finished or self.connection.draining):
            pace = self.connection.snapshot.pace
            self._deadlines.allow(pace.command, pace.data)

    def cut(self) -> None:
        """End the connection now; a message that is not handed over yet stays with the client."""
        if self.task is not None:
            self.task.cancel()
        if self.transport is not None:
            self.transport.abort()

    # --- Wire -------------------------------------------------------------------------------

    async def read_line(self, limit: int, *, answer: bool = False) -> bytes:
        """The next line without CRLF; one that ends in a bare LF keeps it, to be refused."""
        deadlines = self._deadlines
        if self._reading_message:
            self._reading_message = False
            deadlines.end_message()
        if self.pending_input:
            if len(self._out) >= MOST_OUTPUT:
                await self.flush()
                await asyncio.sleep(0)
            return await self._read_pieces(limit, False, answer)
        # For the whole line: whoever sends it octet by octet gets no more time.
        deadlines.due = self._loop.time() + deadlines.command
        await (self._next_input() or self._input_after_flush())
        # Mostly it comes alone, and in one piece; this spares half of the work.
        block = self.pending_input
        end = block.find(b"\n", 0, limit + 2)
        if end > 0 and end + 1 == len(block):
            self.pending_input = b""
            return block[:-2] if block[end - 1] == _CR else block
        return await self._read_pieces(limit, True, answer)

    async def _read_pieces(self, limit: int, waited: bool, answer: bool) -> bytes:
        """The next line, however it comes."""
        deadlines = self._deadlines
        skipped, searched, end = False, 0, -1
        while (
            not self.pending_input
            or (end := self.pending_input.find(b"\n", self._read + searched)) < 0
        ):
            if self.pending_input:
                searched = len(self.pending_input) - self._read
                if not (skipped or answer) and self.pending_input[self._read] in BINARY:
                    # This will never become a command of SMTP: it is looked at now.
                    line = self.pending_input[self._read :]
                    self._drop()
                    return line
                if searched > limit + 1:
                    skipped, searched = True, 0
                    self._drop()
            if not waited:
                waited = True
                deadlines.due = self._loop.time() + deadlines.command
            await (self._next_input() or self._input_after_flush())
        buffer, start = self.pending_input, self._read
        if end + 1 == len(buffer):
            self._drop()
        else:
            self._read = end + 1
        if skipped or end - start > limit + 1:
            raise LineTooLongError
        if end > start and buffer[end - 1] == _CR:
            return buffer[start : end - 1]
        return buffer[start : end + 1]

    async def read_block(self) -> bytes:
        """Whatever has arrived, at least one byte."""
        deadlines = self._deadlines
        deadlines.idle = deadlines.data
        self._reading_message = True
        if deadlines.message_end == NEVER:
            deadlines.begin_message()
        while not self.pending_input:
            deadlines.due = self._loop.time() + deadlines.data
            await (self._next_input() or self._input_after_flush())
        block = self.pending_input[self._read :] if self._read else self.pending_input
        self._drop()
        deadlines.allow_for(len(block))
        return block

    async def read_octets(self, most: int) -> bytes:
        """What has arrived of a chunk, one byte to `most`; what follows stays."""
        if len(self.pending_input) - self._read <= most:
            block = await self.read_block()
            if len(block) > most:
                self.unread(block[most:])
                block = block[:most]
            return block
        start = self._read
        self._read = start + most
        self._deadlines.allow_for(most)
        return self.pending_input[start : self._read]

    @property
    def message_deadline(self) -> float:
        """When the message that is being read has to be complete."""
        return self._deadlines.message_end

    def resume_message(self, deadline: float) -> None:
        """Go on with a message, of which `message_deadline` was this; 0 for a new one."""
        self._reading_message = True
        if not deadline:
            self._deadlines.begin_message()
            return
        self._deadlines.message_end = deadline
        if self._loop.time() >= deadline:
            raise ClientTimeoutError(self._deadlines.exceeded)

    def unread(self, data: bytes) -> None:
        """Put back what was read but not used."""
        self.pending_input = data + self.pending_input[self._read :]
        self._read = 0

    def _drop(self) -> None:
        """Discard all input."""
        self.pending_input = b""
        self._read = 0

    def write(self, data: bytes) -> None:
        """Collect bytes to send; they go out at the next read or flush."""
        self._out += data

    async def flush(self) -> None:
        """Send what was collected, and wait while the client is slow to take it."""
        self._send()
        while self._writable is not None:
            self._deadlines.extend(self._deadlines.idle)
            self._flushing = True
            await self._writable
            self._flushing = False
        if self._lost:
            raise ClientGoneError

    def _send(self) -> None:
        output, self._out = self._out, b""
        if output and not self._lost:
            assert self.transport is not None
            self.transport.write(output)

    def count_as(self, ip: str) -> int | Reply:
        """Count the connection as one of this client's; how many it has open, or the refusal."""
        return self._host.admit_as(self, ip)

    def reverse_lookup(self, ip: str) -> ReverseLookup:
        """Begin to look up a client's name; returns the function that waits for it."""
        return self._host.reverse_lookup(ip)

    async def early_input(self, seconds: float, *, teaser: bool = False) -> bool:
        """Wait for input; False if none came or the client went away.

        teaser: send the first line of the greeting before, unless that has been sent.
        """
        if teaser:
            self._tease()
        if not self.pending_input and not self._ended:
            self._early = self._loop.create_future()
            silence = self._loop.call_later(seconds, self._wake)
            try:
                await self._early
            finally:
                silence.cancel()
                self._early = None
        return bool(self.pending_input)

    def _tease(self) -> None:
        assert self.connection is not None
        session = self.connection.session
        if session.commands or session.teased or self._is_of_proxy(session):
            return
        session.teased = True
        greeting = self.connection.snapshot.greetings[session.lmtp]
        self.write(greeting.octets.replace(b"220 ", b"220-", 1))
        self._send()

    def _is_of_proxy(self, session: Session) -> bool:
        """Whether a proxy asks for itself: HAProxy's smtpchk takes two lines for a failure."""
        assert self.connection is not None
        return parse_ip(session.client.ip) in self.connection.snapshot.settings.proxies

    async def tarpit(self, seconds: float) -> bool:
        """Let the client wait, unless connections are scarce; False if it has to go.

        Raises nothing: whoever reads or writes next learns that the client has left.
        """
        tarpit = self._host.tarpit
        if not tarpit.enter(self):
            return True
        self._send()
        try:
            await self._wait_out(seconds)
        finally:
            stays = tarpit.leave(self)
        return stays

    async def pause(self, seconds: float) -> None:
        """Send what was collected, and let the client wait, whatever it sends meanwhile."""
        await self.flush()
        await self._wait_out(seconds)
        # One that has only half-closed could still read, but cannot be told from one that has left.
        if self._ended:
            raise ClientGoneError
        if self.connection is not None and self.connection.draining:
            raise ShutdownError

    async def _wait_out(self, seconds: float) -> None:
        """Wait for so long, or until the client leaves or the server stops."""
        if self._ended or (self.connection is not None and self.connection.draining):
            return
        self._pause = self._loop.create_future()
        timer = self._loop.call_later(seconds, self.end_pause)
        try:
            await self._pause
        finally:
            timer.cancel()
            self._pause = None

    def end_pause(self) -> None:
        """The client need not wait any longer."""
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)

    async def start_tls(self, context: ssl.SSLContext) -> TlsInfo:
        """Negotiate TLS; what was collected is sent first."""
        assert self.transport is not None
        # From here on every byte from the client belongs to the handshake.
        self.transport.pause_reading()
        self._send()
        handshake = self._loop.create_task(
            self._loop.start_tls(
                self.transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=TLS_TIMEOUT,
            )
        )
        if self.pending_input:
            # To be called when the handshake has been set up, and before anything more is read.
            self._loop.call_soon(self._loop.call_soon, self._give_to_tls)
        self._deadlines.extend(TLS_TIMEOUT)
        self._handshaking = True
        try:
            transport = await handshake
        except (OSError, ssl.SSLError) as error:
            self._lost_in_handshake(str(error) or type(error).__name__)
            raise ClientGoneError(str(error)) from error
        except asyncio.CancelledError:
            self._lost_in_handshake("the server is stopping")
            raise
        finally:
            self._handshaking = False
        info = None if transport is None else _tls_info(transport)
        if transport is None or info is None or self._lost:
            self._lost_in_handshake("the client has gone")
            raise ClientGoneError
        self.transport = transport
        self._reading_paused = False
        FIGURES.count(TLS_SESSIONS, info.version)
        return info

    def _lost_in_handshake(self, reason: str) -> None:
        """The loop's start_tls does not tell us when the connection is lost meanwhile."""
        assert self.transport is not None
        log.info("TLS handshake failed ip=%s reason=%r", self._ip, reason)
        FIGURES.count(TLS_FAILURES)
        self.transport.abort()
        self._loop.call_soon(self.connection_lost, None)

    def _give_to_tls(self) -> None:
        """Pass on what came before reading was paused: uvloop reads after connection_made."""
        data = self.pending_input[self._read :]
        self._drop()
        assert self.transport is not None
        receiver = cast("asyncio.BufferedProtocol", self.transport.get_protocol())
        while data and not self.transport.is_closing():
            room = memoryview(receiver.get_buffer(len(data)))
            piece, data = data[: len(room)], data[len(room) :]
            room[: len(piece)] = piece
            receiver.buffer_updated(len(piece))

    # --- waiting ----------------------------------------------------------------------------

    def _next_input(self) -> asyncio.Future[None] | None:
        """Send what was collected.  Returns what to await until there is input or its end.

        None when the client is too slow to take what we sent: then `_input_after_flush` waits.
        Not a coroutine: it runs five times per message, and one would cost as much as its work.
        """
        if output := self._out:
            # As `_send` does.
            self._out = b""
            if self.transport is not None and not self._lost:
                self.transport.write(output)
        if self._hindered and not self._may_wait():
            return None
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _may_wait(self) -> bool:
        """Whether there may be input; False while the client is too slow to take what we sent.

        Raises ClientGoneError and ClientTimeoutError.
        """
        if self._writable is not None:
            return False
        if self._ended:
            raise ClientGoneError
        if self._overdue:
            raise ClientTimeoutError(self._deadlines.exceeded)
        if self._reading_paused:
            self._reading_paused = False
            assert self.transport is not None
            self.transport.resume_reading()
        self._hindered = False
        return True

    async def _input_after_flush(self) -> None:
        before = len(self.pending_input)
        await self.flush()
        # Nobody was told of what came meanwhile.
        if len(self.pending_input) == before and (waiter := self._next_input()) is not None:
            await waiter

    def _wake(self, error: Exception | None = None) -> None:
        waiter = self._waiter or self._early
        self._waiter = None
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    def _on_deadline(self) -> None:
        """The client has kept us waiting too long."""
        if self._flushing or self._handshaking:
            assert self.transport is not None
            self.transport.abort()
        elif self._waiter is not None:
            self._wake(ClientTimeoutError(self._deadlines.exceeded))
        elif self._deadlines.session_is_over:
            # A client that never pauses is hung up on before the next read.
            self._overdue = self._hindered = True


class _Leftovers(asyncio.Protocol):
    """Throws away what a client sends after the last reply."""

    def __init__(self, session: SmtpProtocol, transport: asyncio.Transport) -> None:
        self._session = session
        self._transport = transport
        self._room = MOST_LINGERING

    def data_received(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._session.connection_lost(error)


def endpoint(name: Any) -> Endpoint | None:
    """The Endpoint for the name of a socket; IPv4-mapped addresses become IPv4.

    None without a name: the connection is gone.  A Unix socket is on this machine.
    """
    if name is None:
        return None
    if not isinstance(name, tuple):
        return Endpoint("127.0.0.1")
    # The kernel writes IPv4 addresses in canonical form.
    ip = name[0] if len(name) == 2 else canonical_ip(name[0])
    return Endpoint(ip, int(name[1]))


#: Nearly all connections end at the same few addresses of ours.
_local_endpoint = functools.lru_cache(maxsize=64)(endpoint)


def _tls_info(transport: asyncio.BaseTransport) -> TlsInfo | None:
    """What was negotiated; None if nothing was (uvloop, on a connection that was aborted)."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None or tls.version() is None:
        return None
    name, _, bits = tls.cipher() or ("", "", 0)
    return TlsInfo(tls.version(), name, bits, _tls_unique(tls))


def _tls_unique(tls: ssl.SSLObject) -> bytes:
    """The channel binding; none with TLS 1.3 (RFC 8446 appendix C.5), whatever OpenSSL says."""
    known = tls.version() in ("TLSv1", "TLSv1.1", "TLSv1.2")
    return (tls.get_channel_binding("tls-unique") or b"") if known else b""
