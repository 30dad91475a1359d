# SPDX-License-Identifier: MIT
"""A Wire without a network, and connections on it: for tests of what is above the wire."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from qpsmtpd.api import (
    Clock,
    NoOptions,
    Plugin,
    Recipient,
    Store,
    TlsInfo,
    Transaction,
    Verdict,
    accept,
)
from qpsmtpd.config.settings import Settings
from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.mail.session import ReverseLookup, ReverseNames, Session
from qpsmtpd.plugin.chain import Chain, ChainedPlugin
from qpsmtpd.smtp.connection import ClientGoneError, Connection, LineTooLongError
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.smtp.reply import Reply
from qpsmtpd.testing import a_session, services

#: A hook without `self`.
Hook = Callable[..., Awaitable[Any]]

#: The commands up to the 354, all in one piece.
ENVELOPE = b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<user@example.test>\r\n"
MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n.\r\n"


class FakeWire:
    """Plays a script: bytes arrive, exceptions are raised where a read comes to them.

    At the end of the script the client is gone.  `writes` has what went out, a piece a flush.
    """

    def __init__(self, *script: bytes | Exception) -> None:
        self._script = list(script)
        self._buffer = b""
        self._collected = b""
        self.message_deadline = 0.0
        self.writes: list[bytes] = []
        self.gone = False
        self.tls: ssl.SSLContext | None = None
        self.pauses: list[float] = []

    async def read_line(self, limit: int, *, answer: bool = False) -> bytes:
        while b"\n" not in self._buffer:
            await self._more()
        line, _, self._buffer = self._buffer.partition(b"\n")
        if len(line) > limit + 1:
            raise LineTooLongError
        return line[:-1] if line.endswith(b"\r") else line + b"\n"

    async def read_block(self) -> bytes:
        if not self._buffer:
            await self._more()
        block, self._buffer = self._buffer, b""
        return block

    async def read_octets(self, most: int) -> bytes:
        block = await self.read_block()
        self.unread(block[most:])
        return block[:most]

    def resume_message(self, deadline: float) -> None:
        self.message_deadline = deadline

    async def _more(self) -> None:
        await self.flush()
        event = self._script.pop(0) if self._script else ClientGoneError()
        if isinstance(event, Exception):
            self.gone = isinstance(event, ClientGoneError)
            raise event
        self._buffer += event

    def unread(self, data: bytes) -> None:
        self._buffer = data + self._buffer

    def write(self, data: bytes) -> None:
        self._collected += data

    async def flush(self) -> None:
        if self.gone:
            raise ClientGoneError
        if self._collected:
            self.writes.append(self._collected)
            self._collected = b""

    @property
    def pending_input(self) -> bytes:
        return self._buffer

    def count_as(self, ip: str) -> int | Reply:
        return 1

    def reverse_lookup(self, ip: str) -> ReverseLookup:
        async def lookup() -> ReverseNames:
            return ReverseNames(asked=False)

        return lookup

    async def early_input(self, seconds: float, *, teaser: bool = False) -> bool:
        return bool(self.pending_input)

    async def tarpit(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return True

    async def pause(self, seconds: float) -> None:
        await self.flush()
        self.pauses.append(seconds)

    async def start_tls(self, context: ssl.SSLContext) -> TlsInfo:
        await self.flush()
        self.tls = context
        return TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")

    @property
    def replies(self) -> list[str]:
        """The replies that went out, the lines of each joined with a line feed."""
        replies: list[str] = []
        goes_on = False
        for line in b"".join(self.writes).decode("ascii").splitlines():
            if goes_on:
                replies[-1] += "\n" + line
            else:
                replies.append(line)
            goes_on = line[3:4] == "-"
        return replies

    @property
    def codes(self) -> list[int]:
        """The codes of the replies that went out."""
        return [int(reply[:3]) for reply in self.replies]


def a_plugin_with(name: str = "test", /, **hooks: Hook) -> Plugin[NoOptions]:
    """A plugin with these hooks: `mail=hook` for hook_mail."""
    members = {f"hook_{hook}": staticmethod(function) for hook, function in hooks.items()}
    cls: type[Plugin[NoOptions]] = type("Test", (Plugin,), members)
    return cls(name, NoOptions(), services())


def always(value: Any) -> Hook:
    """A hook that always says this."""

    async def hook(*_args: Any) -> Any:
        return value

    return hook


def fails(*_args: Any) -> Awaitable[Any]:
    """A hook that fails, with a text that no client may ever see."""
    raise RuntimeError("a secret of the plugin")


class Catcher(Plugin[NoOptions]):
    """Takes every recipient, and keeps every message."""

    def __init__(self) -> None:
        super().__init__("catcher", NoOptions(), services())
        self.messages: list[bytes] = []
        self.resets = 0

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return accept()

    async def hook_queue(self, tx: Transaction) -> Verdict | None:
        assert tx.message is not None
        self.messages.append(await tx.message.read(1 << 30))
        return accept("Caught")

    async def hook_reset_transaction(self, tx: Transaction) -> None:
        self.resets += 1


def a_snapshot(
    *plugins: Plugin[Any] | ChainedPlugin,
    tls: ssl.SSLContext | None = None,
    auth: tuple[str, ...] = (),
    exchanges: tuple[str, ...] = (),
    clock: Clock | None = None,
    store: Store | None = None,
    **settings: Any,
) -> Snapshot:
    """A configuration of these plugins and settings."""
    chained = [p if isinstance(p, ChainedPlugin) else ChainedPlugin(p) for p in plugins]
    lent = services(clock=clock, store=store)
    settings.setdefault("spool_dir", lent.spool_dir)
    # Scripts come in one piece, for brevity.
    settings.setdefault("forbid_unauth_pipelining", False)
    spoken = frozenset(exchanges)
    chain = Chain(chained)
    return Snapshot(Settings(**settings), lent, chain, (), tls, auth, (), (), (), spoken)


def a_connection(
    wire: FakeWire,
    *plugins: Plugin[Any] | ChainedPlugin,
    session: Session | None = None,
    **more: Any,
) -> Connection:
    """A connection of a client that has said nothing yet."""
    return Connection(session or a_session(), a_snapshot(*plugins, **more), wire)


async def talk(
    *script: bytes | Exception, plugins: tuple[Plugin[Any] | ChainedPlugin, ...] = (), **more: Any
) -> FakeWire:
    """A whole conversation; returns its wire."""
    wire = FakeWire(*script)
    await converse(a_connection(wire, *plugins, **more))
    return wire
