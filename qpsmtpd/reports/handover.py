# SPDX-License-Identifier: MIT
"""Handing a report to the mail system: an SMTP server, or a program such as sendmail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Protocol

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail.address import Address
from qpsmtpd.nexthop import Client, HopReply, NextHopError, Pool, smtp_target
from qpsmtpd.nexthop.program import ProgramError, feed, once
from qpsmtpd.nexthop.target import tls_context

#: Seconds for each step.
TIMEOUT = 60.0

#: Seconds that a connection without a message is kept.
IDLE = 5.0


class HandOverError(QpsmtpdError):
    """The mail system has not taken a message, or it is unknown whether it has."""


class HandOver(Protocol):
    """A way to the mail system."""

    async def send(self, sender: Address, recipient: Address, message: bytes) -> None:
        """Hand over a message with CRLF.  Raises HandOverError; else it was taken."""

    async def close(self) -> None:
        """Close what is open."""


def hand_over_by(place: str, hello: str) -> HandOver:
    """The way that an administrator has chosen: HOST:PORT, or the path of a program."""
    if place.startswith("/"):
        return ProgramHandOver(place)
    target = smtp_target(place, hello=hello, timeout=TIMEOUT)
    target = replace(target, tls="may", context=tls_context("may", None))
    return SmtpHandOver(Pool(target, size=1, idle=IDLE))


class SmtpHandOver:
    """An SMTP server, with TLS where it offers that."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def send(self, sender: Address, recipient: Address, message: bytes) -> None:
        """One transaction.  A refusal for good is an error as well: it may be about us."""

        async def work(client: Client) -> None:
            mail = f"MAIL FROM:{sender.path}"
            if "SIZE" in client.extensions:
                mail += f" SIZE={len(message)}"
            envelope = await client.begin(mail, [f"RCPT TO:{recipient.path}"], data=False)
            _expect(envelope.mail, "MAIL")
            _expect(envelope.recipients[0], "RCPT")
            answer = await client.start_data()
            if answer.code != 354:
                raise NextHopError(f"DATA: {answer}")
            [reply] = await client.send_message(_blocks(message), 1)
            _expect(reply, "message")

        try:
            await self._pool.run(work)
        except NextHopError as error:
            raise HandOverError(f"{self._pool}: {error}") from error

    async def close(self) -> None:
        """Leave the server."""
        await self._pool.close()


class ProgramHandOver:
    """A program that takes a message, and its recipients from the header section (-t)."""

    def __init__(self, program: str) -> None:
        self._program = program

    async def send(self, sender: Address, recipient: Address, message: bytes) -> None:
        """Run it once; the recipient is in the field To."""
        words = (self._program, "-oi", "-f", sender.address, "-t")
        text = message.replace(b"\r\n", b"\n")
        try:
            finished = await feed(words, {0: once(text)}, timeout=TIMEOUT)
        except ProgramError as error:
            raise HandOverError(str(error)) from error
        if finished.status:
            why = " ".join(finished.output.split())
            raise HandOverError(f"{self._program}: exit status {finished.status}: {why}")

    async def close(self) -> None:
        """Nothing is open."""


def _expect(reply: HopReply, step: str) -> None:
    if not reply.positive:
        raise NextHopError(f"{step}: {reply}")


async def _blocks(message: bytes) -> AsyncIterator[bytes]:
    yield message
