# SPDX-License-Identifier: MIT
"""HopWire: the bytes between us and one next hop.  Every wait ends; every buffer has a limit.

What the next hop sends is collected as it arrives, so that a pipelining next hop never waits for us
while we wait for it; sending stops while the next hop does not read (back-pressure).  Each octet of
a reply is looked at once, in whatever pieces it comes.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import re
import ssl
from typing import cast

from qpsmtpd.nexthop.hopreply import HopReply, NextHopError
from qpsmtpd.plugin.timelimit import time_limit

#: Bytes of one reply, and of all replies that have not been read.
MAX_REPLY = 16384
MAX_UNREAD = 262144
#: Bytes given to the transport at once.
CHUNK = 262144

_line = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?").fullmatch
_has_control = re.compile(rb"[\x00-\x1f\x7f]").search


class HopWire(asyncio.Protocol):
    """One connection.  Its methods raise NextHopError."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        # Octets at the beginning of the buffer that are known to have no end of line.
        self._searched = 0
        # The lines of a reply whose last line is still to come: their code, texts, and octets.
        self._code = b""
        self._lines: list[str] = []
        self._size = 0
        # What waits for a change of what is known here, or for the next hop to take data.
        self._waiter: asyncio.Future[None] | None = None
        self._writable = True
        self._closed: asyncio.Future[None] = loop.create_future()
        self._problem = ""

    # --- what the event loop calls ----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of it: uvloop's transports are not derived from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._wake()
        if len(self._buffer) > MAX_UNREAD:
            self._problem = "sends endless replies"
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._problem = self._problem or f"connection lost{f': {exc}' if exc else ''}"
        self._writable = True
        self._wake()
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- state ------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Whether the connection is open and the next hop has sent nothing unexpected."""
        return not self._unread and not self._problem and not self._transport.is_closing()

    @property
    def _unread(self) -> bool:
        """Whether the next hop has sent something that nobody has read."""
        return bool(self._buffer or self._lines)

    @property
    def encrypted(self) -> bool:
        """Whether TLS is in use."""
        return self._transport.get_extra_info("ssl_object") is not None

    @property
    def private(self) -> bool:
        """Whether nobody can listen: there is TLS, or the next hop is on this machine."""
        peer = self._transport.get_extra_info("peername")
        if self.encrypted or not isinstance(peer, tuple):
            return True
        return ipaddress.ip_address(str(peer[0]).partition("%")[0]).is_loopback

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate of the next hop, in hexadecimal; "" without one."""
        tls = self._transport.get_extra_info("ssl_object")
        certificate = tls and tls.getpeercert(binary_form=True)
        return hashlib.sha256(certificate).hexdigest() if certificate else ""

    # --- sending ----------------------------------------------------------------------------

    async def send_commands(self, commands: list[str], timeout: float) -> None:
        """Send commands, in one go.  Nothing may be unread, or replies would be mixed up."""
        if self._unread:
            raise NextHopError("sends replies to no command", "4.5.0", lost=True)
        lines = [command.encode() for command in commands]
        if any(map(_has_control, lines)):
            raise ValueError("control character in a command")
        await self.send(b"".join(line + b"\r\n" for line in lines), timeout)

    async def send(self, data: bytes | memoryview, timeout: float) -> None:
        """Send bytes; waits at most `timeout` for the next hop to take each chunk."""
        for start in range(0, len(data), CHUNK):
            if self._problem or self._transport.is_closing():
                raise NextHopError(self._problem or "connection closed", lost=True)
            self._transport.write(data[start : start + CHUNK])
            if not self._writable:
                deadline = self._loop.time() + timeout
                while not self._writable:
                    await self._change(deadline, "does not take data")

    # --- receiving --------------------------------------------------------------------------

    def take_reply(self) -> HopReply | None:
        """The next reply if all of it has arrived, else None."""
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            if (reply := self._add_line(line.rstrip(b"\r"))) is not None:
                return reply
        self._searched = len(self._buffer)
        if self._size + self._searched > MAX_REPLY:
            raise NextHopError("reply too long", "4.5.0")
        return None

    def _add_line(self, line: bytes) -> HopReply | None:
        """Add a line to the reply; returns the reply when it was the last one."""
        self._size += len(line)
        if self._size > MAX_REPLY:
            raise NextHopError("reply too long", "4.5.0")
        match = _line(line)
        if match is None or match[1] != (self._code or match[1]):
            raise NextHopError("reply is not an SMTP reply", "4.5.0")
        code, goes_on, octets = match.groups()
        text = (octets or b"").decode("utf-8", "replace")
        if goes_on == b"-":
            self._code = code
            self._lines.append(text)
            return None
        reply = HopReply(int(code), (*self._lines, text))
        self._size = 0
        if self._lines:
            self._code, self._lines = b"", []
        return reply

    async def read_reply(self, timeout: float) -> HopReply:
        """The next reply; waits for it at most `timeout` seconds in all."""
        deadline = self._loop.time() + timeout
        while (reply := self.take_reply()) is None:
            if self._problem:
                raise NextHopError(self._problem, lost=True)
            await self._change(deadline, "does not reply")
        return reply

    async def _change(self, deadline: float, problem: str) -> None:
        """Wait until the next hop has sent something, or takes data again."""
        self._waiter = self._loop.create_future()
        try:
            with time_limit(deadline - self._loop.time()):
                await self._waiter
        except TimeoutError:
            raise NextHopError(problem, lost=True) from None

    # --- TLS and the end --------------------------------------------------------------------

    async def start_tls(self, context: ssl.SSLContext, host: str, timeout: float) -> None:
        """Start TLS.  Clear text after the reply to STARTTLS is an attack, and refused."""
        if not self.quiet:
            raise NextHopError("sends clear text after STARTTLS", "4.7.5")
        loop = asyncio.get_running_loop()
        try:
            with time_limit(timeout):
                transport = await loop.start_tls(
                    self._transport, self, context, server_hostname=host
                )
        except (OSError, TimeoutError) as error:
            self._transport.abort()
            raise TlsError(f"TLS failed: {error or 'no answer'}", "4.7.5", ours=True) from error
        if transport is None:
            raise TlsError("TLS failed: connection lost", "4.7.5")
        self._transport = transport

    def say_goodbye(self) -> None:
        """Send QUIT and close; the reply is not waited for."""
        self._transport.write(b"QUIT\r\n")
        self._transport.close()

    def abort(self) -> None:
        """Close at once, discarding what is still to be sent."""
        self._transport.abort()

    async def wait_closed(self, timeout: float) -> None:
        """Wait for the end of the connection; abort it if that takes too long."""
        await asyncio.wait([self._closed], timeout=timeout)
        if not self._closed.done():
            self.abort()


class TlsError(NextHopError):
    """The TLS handshake failed, or the certificate is not valid."""
