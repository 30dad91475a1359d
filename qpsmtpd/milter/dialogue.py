# SPDX-License-Identifier: MIT
"""Dialogue: all that one milter is told about one client, in the order in which it happens.

The milter knows one message at a time.  Which one it has been told of is remembered: when that is
not the one that goes on (a second MAIL or a HELO was refused, so that the first transaction goes
on; or the connection to the milter is a new one), it is told again, from MAIL on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from qpsmtpd.mail.session import Recipient, Session, Transaction
from qpsmtpd.mail.verdict import Verdict
from qpsmtpd.milter import packets
from qpsmtpd.milter.content import body_chunks, visible_fields
from qpsmtpd.milter.edits import Edits
from qpsmtpd.milter.fields import header_packet
from qpsmtpd.milter.link import CONTINUE, Answer, Change, Link
from qpsmtpd.milter.links import Links
from qpsmtpd.milter.macros import Scene, Server, octets
from qpsmtpd.milter.negotiation import Step
from qpsmtpd.milter.packets import (
    Packet,
    ReplaceBody,
)
from qpsmtpd.milter.wire import MilterError

Replies = AsyncIterator[Answer | Change | packets.Progress]


class Dialogue:
    """Its methods raise MilterError; the dialogue is of no use after that, except for `abort`."""

    def __init__(self, link: Link, links: Links, server: Server, session: Session) -> None:
        self._link = link
        self._links = links
        self._server = server
        self._session = session
        #: The transaction in the midst of which the milter is.
        self._tx: Transaction | None = None
        # By identity, as one may be named twice.
        self._told: dict[int, Recipient] = {}
        self._data_told = False

    @classmethod
    async def begin(cls, links: Links, server: Server, session: Session) -> tuple[Dialogue, Answer]:
        """Tell a milter of a client, and of the name that it gave if it has."""
        link = await links.take()
        while True:
            dialogue = cls(link, links, server, session)
            try:
                return dialogue, await dialogue._introduce()
            except MilterError:
                link.abort()
                if not link.used:
                    raise
            except BaseException:
                link.abort()
                raise
            link = await links.fresh()

    async def _introduce(self) -> Answer:
        await self._session.resolve_client_name()
        session = self._session
        family = b"6" if ":" in session.client.ip else b"4"
        address = session.client.ip.encode()
        # Postfix says "unknown" only in macros.
        name = octets(session.client_name or session.client.literal)
        answer = await self._tell(packets.Connect(name, family, session.client.port, address))
        if answer == CONTINUE and session.hello is not None:
            answer = await self.hello(session.hello_host)
        return answer

    # --- commands ---------------------------------------------------------------------------

    async def hello(self, host: str) -> Answer:
        """HELO or EHLO."""
        await self.forget(self._tx)
        return await self._tell(packets.Helo(octets(host)))

    async def mail(self, tx: Transaction) -> Answer:
        """MAIL."""
        await self.forget(self._tx)
        self._tx, self._told, self._data_told = tx, {}, False
        path = "<>" if tx.reverse_path is None else tx.reverse_path.path
        return self._note(await self._tell(packets.Mail(_words(path, tx.mail_parameters))))

    async def rcpt(self, tx: Transaction, recipient: Recipient) -> Answer:
        """RCPT.  A refusal concerns only the recipient."""
        answer = await self._resume(tx)
        return answer if answer != CONTINUE else await self._rcpt(recipient)

    async def refused(self, tx: Transaction, recipient: Recipient, verdict: Verdict) -> None:
        """RCPT that others have refused, if the milter wants to hear of it; nothing follows."""
        if self._tx is tx and self._link.agreement.steps & Step.REFUSED_RECIPIENTS:
            words = _words(recipient.address.path, recipient.parameters)
            scene = replace(self._scene(recipient), refusal=verdict)
            await self._link.tell(scene, packets.Rcpt(words))

    async def data(self, tx: Transaction) -> Answer:
        """DATA."""
        answer = await self._resume(tx)
        if answer == CONTINUE:
            self._data_told = True
            answer = self._note(await self._tell(packets.Data()))
        return answer

    async def unknown(self, line: str) -> Answer:
        """A command that is not one of SMTP."""
        return await self._tell(packets.Unknown(octets(line)))

    async def message(self, tx: Transaction, *, apply: bool) -> tuple[Answer, Edits]:
        """Header section, body and end; the answer, and what the milter asks for beside it.

        A new body is in place already when this returns, if it is to apply.
        """
        assert tx.message is not None
        edits = Edits(tx, self._link.exact)
        seconds = self._link.manner.content_timeout
        try:
            async with asyncio.timeout(seconds) as limit:
                answer = await self.data(tx) if not self._data_for(tx) else CONTINUE
                if answer == CONTINUE:
                    answer = await self._content(tx)
                if answer == CONTINUE:
                    replies = self._in_time(self._link.end_message(self._scene()), limit, seconds)
                    answer = await _Ending(tx, edits, apply=apply).read(replies)
        except TimeoutError:
            raise MilterError(f"takes longer than {seconds:g} s for a message") from None
        self._tx = None
        return answer, edits

    # --- ends -------------------------------------------------------------------------------

    async def forget(self, tx: Transaction | None) -> None:
        """The transaction ends; if the milter is in the midst of it, it is told."""
        if tx is not None and tx is self._tx:
            self._tx = None
            await self._link.abort_message()

    async def end(self) -> None:
        """The client has left."""
        await self.forget(self._tx)
        await self._links.give_back(self._link)

    def leave(self) -> None:
        """The milter wants to know no more of this client: close the connection."""
        self._link.leave()

    def abort(self) -> None:
        """Close the connection at once."""
        self._link.abort()

    # --- parts ------------------------------------------------------------------------------

    async def _resume(self, tx: Transaction) -> Answer:
        """Tell the milter again of a transaction that it does not know, or has forgotten."""
        if self._tx is not tx:
            answer = await self.mail(tx)
            if answer != CONTINUE:
                return answer
        for recipient in tx.recipients:
            if id(recipient) not in self._told:
                answer = await self._rcpt(recipient)
                if answer != CONTINUE:
                    return answer
        return CONTINUE

    async def _rcpt(self, recipient: Recipient) -> Answer:
        self._told[id(recipient)] = recipient
        words = _words(recipient.address.path, recipient.parameters)
        answer = await self._tell(packets.Rcpt(words), recipient)
        if isinstance(answer, (packets.Accept, packets.Discard)):
            self._tx = None
        return answer

    def _data_for(self, tx: Transaction) -> bool:
        return self._tx is tx and self._data_told

    async def _content(self, tx: Transaction) -> Answer:
        assert tx.message is not None
        answer = await self._headers(tx)
        if answer == CONTINUE:
            answer = self._note(await self._tell(packets.EndOfHeaders()))
        if answer == CONTINUE:
            bodies = (packets.Body(chunk) async for chunk in body_chunks(tx.message))
            answer = await self._series(packets.Body, bodies)
        return answer

    async def _headers(self, tx: Transaction) -> Answer:
        exact = self._link.exact
        headers = [header_packet(field, exact=exact) for field in visible_fields(tx)]
        agreement = self._link.agreement
        if agreement.hears(packets.Header) and not agreement.answers(packets.Header):
            # All at once, as nothing comes back.
            await self._link.tell_unanswered(headers)
            return CONTINUE
        return await self._series(packets.Header, _each(headers))

    async def _series(self, kind: type[Packet], series: AsyncIterator[Packet]) -> Answer:
        """Packets of a kind, until the milter has seen enough of them."""
        if not self._link.agreement.hears(kind):
            return CONTINUE
        async for packet in series:
            answer = await self._tell(packet)
            if isinstance(answer, packets.Skip):
                break
            if answer != CONTINUE:
                return self._note(answer)
        return CONTINUE

    async def _tell(self, command: Packet, recipient: Recipient | None = None) -> Answer:
        answer = await self._link.tell(self._scene(recipient), command)
        if isinstance(answer, packets.Skip) and not isinstance(
            command, (packets.Header, packets.Body)
        ):
            raise MilterError(f"skips {type(command).__name__}")
        return answer

    def _scene(self, recipient: Recipient | None = None) -> Scene:
        return Scene(self._server, self._session, self._tx, recipient)

    def _note(self, answer: Answer) -> Answer:
        """With any answer but "continue", the message is over for the milter."""
        if answer != CONTINUE:
            self._tx = None
        return answer

    @staticmethod
    async def _in_time(replies: Replies, limit: asyncio.Timeout, seconds: float) -> Replies:
        """Give a milter that reports progress its time anew."""
        async for reply in replies:
            if isinstance(reply, packets.Progress):
                limit.reschedule(asyncio.get_running_loop().time() + seconds)
            yield reply


class _Ending:
    """What a milter says at the end of a message.

    The chunks of a new body are stored as they come.  The old one is given up only after the
    milter's last word, and after everything else that it asks for has been found possible.
    """

    def __init__(self, tx: Transaction, edits: Edits, *, apply: bool) -> None:
        self._tx = tx
        self._edits = edits
        self._apply = apply
        self._answer: Answer | None = None

    async def read(self, replies: Replies) -> Answer:
        message = self._tx.message
        assert message is not None
        async for reply in replies:
            if not isinstance(reply, ReplaceBody) or not self._apply:
                self._take(reply)
                continue
            try:
                await message.replace_body(self._new_body(reply.chunk, replies))
            except ValueError as error:
                raise MilterError(f"sends a body that cannot be: {error}") from None
            message.headers.drop_text()
            self._edits.body = True
        if self._answer is None:
            raise MilterError("gives no answer")
        return self._answer

    def _take(self, reply: Answer | Change | packets.Progress) -> None:
        if isinstance(reply, Change):
            if not isinstance(reply, ReplaceBody):
                self._edits.add(reply)
        elif not isinstance(reply, packets.Progress):
            self._answer = reply

    async def _new_body(self, first: bytes, replies: Replies) -> AsyncIterator[bytes]:
        """The chunks, with CRLF at the end of each line."""
        lines = _LineEnds()
        yield lines.feed(first)
        async for reply in replies:
            if isinstance(reply, ReplaceBody):
                yield lines.feed(reply.chunk)
            else:
                self._take(reply)
        yield lines.end()


class _LineEnds:
    """Makes CRLF of every LF, and of the end of a last line that has none."""

    def __init__(self) -> None:
        self._last = b"\n"

    def feed(self, chunk: bytes) -> bytes:
        if not chunk:
            return b""
        after_cr, self._last = self._last == b"\r", chunk[-1:]
        fixed = chunk.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return fixed[1:] if after_cr and chunk.startswith(b"\n") else fixed

    def end(self) -> bytes:
        return b"" if self._last == b"\n" else b"\r\n"


async def _each(series: Iterable[Packet]) -> AsyncIterator[Packet]:
    for packet in series:
        yield packet


def _words(path: str, parameters: dict[str, str | None]) -> tuple[bytes, ...]:
    """The argument of MAIL or RCPT as the client gave it."""
    pairs = (name if value is None else f"{name}={value}" for name, value in parameters.items())
    return tuple(map(octets, (path, *pairs)))
