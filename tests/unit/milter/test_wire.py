# SPDX-License-Identifier: MIT
"""A connection to a milter that is gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from qpsmtpd.milter import packets
from qpsmtpd.milter.wire import MilterError, Wire
from qpsmtpd.plugin.place import Place
from tests.unit.client import PATIENCE, on_both_loops


@contextlib.asynccontextmanager
async def reset() -> AsyncIterator[Wire]:
    """A connection that the milter has broken off, as is known already."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        wire = await Wire.connect(Place(*listener.getsockname()), PATIENCE, PATIENCE)
        accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        with pytest.raises(MilterError, match="broke off"):
            await wire.receive()
        yield wire
        wire.abort()


@on_both_loops
async def test_what_is_gone_cannot_be_told_anything() -> None:
    async with reset() as wire:
        with pytest.raises(MilterError, match="broke off"):
            await wire.send(packets.Abort())


@on_both_loops
async def test_what_is_gone_can_be_closed() -> None:
    async with reset() as wire:
        wire.close(packets.Quit())
