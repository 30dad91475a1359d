# SPDX-License-Identifier: MIT
"""Link: a connection to a milter after the negotiation, one command at a time.

A command that the milter does not want to hear of, or does not answer, counts as answered by
"continue".  Macros travel before each command, whether the milter hears the command or not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Self

from qpsmtpd.milter import packets
from qpsmtpd.milter.macros import USUAL, Scene
from qpsmtpd.milter.negotiation import TELLING, Agreement, NegotiationError, Step, agree, offer
from qpsmtpd.milter.packets import (
    Macros,
    Packet,
    Progress,
)
from qpsmtpd.milter.wire import MilterError, Wire
from qpsmtpd.plugin.place import Place


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How to talk to a milter.

    place: where it is.  version: the newest version of the protocol to offer.
    connect_timeout, timeout, content_timeout: seconds for connecting, for each command, and for a
        whole message; a milter that reports progress gets the last one anew.
    """

    place: Place
    version: int = 6
    connect_timeout: float = 30.0
    timeout: float = 30.0
    content_timeout: float = 100.0


CONTINUE = packets.Continue()

_VERDICTS = (
    packets.Accept,
    packets.Reject,
    packets.Tempfail,
    packets.Discard,
    packets.ReplyCode,
    packets.Shutdown,
)

#: What a milter says to a command, "continue" or a verdict; or that no more of it is wanted.
Answer = (
    packets.Continue
    | packets.Accept
    | packets.Reject
    | packets.Tempfail
    | packets.Discard
    | packets.ReplyCode
    | packets.Shutdown
    | packets.Skip
)

#: What a milter may ask for at the end of a message.
Change = (
    packets.AddHeader
    | packets.InsertHeader
    | packets.ChangeHeader
    | packets.AddRecipient
    | packets.AddRecipientWith
    | packets.DeleteRecipient
    | packets.ChangeSender
    | packets.ReplaceBody
    | packets.Quarantine
)


class Link:
    """Its methods raise MilterError; the link is of no use after that."""

    def __init__(self, wire: Wire, manner: Manner, agreement: Agreement) -> None:
        self._wire = wire
        self._manner = manner
        self.agreement = agreement
        #: Whether another client has used it before.
        self.used = False
        #: Whether another client may follow: libmilter ignores QUIT_NC (and then does not answer)
        #: unless the last it has said was "continue" to the end of a message.
        self.reusable = False

    @classmethod
    async def open(cls, manner: Manner) -> Self:
        """Connect and negotiate."""
        wire = await Wire.connect(manner.place, manner.connect_timeout, manner.timeout)
        try:
            return cls(wire, manner, await _negotiate(wire, manner))
        except BaseException:
            wire.abort()
            raise

    @property
    def manner(self) -> Manner:
        """How the milter is talked to."""
        return self._manner

    @property
    def exact(self) -> bool:
        """Whether values of header fields travel with the space that follows the colon."""
        return bool(self.agreement.steps & Step.LEADING_SPACE)

    async def tell(self, scene: Scene, command: Packet) -> Answer:
        """Tell the milter something, and wait for its answer."""
        kind = type(command)
        self.reusable = False
        said = self._macros(scene, command)
        if self.agreement.hears(kind):
            said.append(command)
        if said:
            await self._wire.send(*said)
        if not (self.agreement.hears(kind) and self.agreement.answers(kind)):
            return CONTINUE
        while isinstance(packet := await self._wire.receive(), Progress):
            pass
        return self._answer(packet)

    async def tell_unanswered(self, commands: Sequence[Packet]) -> None:
        """Tell the milter what it hears without macros, and does not answer."""
        self.reusable = False
        await self._wire.send(*commands)

    async def end_message(self, scene: Scene) -> AsyncIterator[Answer | Change | Progress]:
        """Tell the milter that the message is complete: changes, and last its answer."""
        command = packets.EndOfMessage()
        await self._wire.send(*self._macros(scene, command), command)
        while True:
            # The caller limits the time: it may take longer than a command.
            packet = await self._wire.receive(self._manner.content_timeout)
            if isinstance(packet, (Progress, Change)):
                yield packet
            else:
                answer = self._answer(packet)
                self.reusable = answer == CONTINUE
                yield answer
                return

    async def abort_message(self) -> None:
        """Have the milter forget the message; it does not answer."""
        self.reusable = False
        await self._wire.send(packets.Abort())

    async def is_quiet(self) -> bool:
        """Whether the connection can be used for another client."""
        return await self._wire.is_quiet()

    async def release(self) -> None:
        """The client has left; the next one may follow on this connection."""
        await self._wire.send(packets.QuitNewClient())
        self.used = True

    def leave(self) -> None:
        """The client has left: close the connection."""
        self._wire.close(packets.Quit())

    def abort(self) -> None:
        """Close at once."""
        self._wire.abort()

    def _macros(self, scene: Scene, command: Packet) -> list[Packet]:
        stage = TELLING[type(command)].stage
        if stage is None:
            return []
        values = scene.values(self.agreement.macros.get(stage, USUAL[stage]))
        return [Macros(command.letter, values)] if values else []

    def _answer(self, packet: Packet) -> Answer:
        if isinstance(packet, (packets.Continue, *_VERDICTS)):
            return packet
        if isinstance(packet, packets.Skip) and self.agreement.steps & Step.SKIP:
            return packet
        if isinstance(packet, packets.ConnectionFailed):
            raise MilterError("says that it cannot do its work")
        raise MilterError(f"says {type(packet).__name__} out of turn")


async def _negotiate(wire: Wire, manner: Manner) -> Agreement:
    offered = offer(manner.version)
    await wire.send(offered)
    answer = await wire.receive()
    if not isinstance(answer, packets.Negotiate):
        raise MilterError(f"does not negotiate, but says {type(answer).__name__}")
    try:
        return agree(offered, answer)
    except NegotiationError as error:
        raise MilterError(str(error)) from None
