# SPDX-License-Identifier: MIT
"""Session, Transaction, Recipient: one connection, one message, one addressee.

The core creates them and plugins read and change them; nothing here touches the network.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from qpsmtpd.mail.address import Address, ReversePath
from qpsmtpd.mail.ip import Endpoint, IPAddress, parse_ip
from qpsmtpd.mail.message import Message
from qpsmtpd.mail.notes import Notes
from qpsmtpd.mail.tasks import TaskOwner
from qpsmtpd.mail.trail import Trail

_numbers = itertools.count(1)
_START = int(time.time())

ReverseLookup = Callable[[], Awaitable[str | None]]
EarlyInput = Callable[[float], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What was negotiated: protocol version and cipher as OpenSSL names them."""

    version: str
    cipher: str


async def _no_name() -> str | None:
    return None


async def _no_early_input(_seconds: float) -> bool:
    return False


class Session(TaskOwner):
    """One connection of a client, from accept to close."""

    __slots__ = (
        "_early_input",
        "_reverse_lookup",
        "auth_mechanism",
        "auth_results",
        "auth_user",
        "capabilities",
        "client",
        "client_name",
        "commands",
        "connections_from_client",
        "deferred_rejects",
        "deferred_type",
        "hello",
        "hello_host",
        "id",
        "karma",
        "karma_history",
        "local",
        "max_connections_from_client",
        "messages",
        "notes",
        "proxy",
        "relay_client",
        "started",
        "tls",
        "trail",
        "transaction",
        "transactions",
        "whitelisted_host",
    )

    def __init__(
        self,
        client: Endpoint,
        local: Endpoint,
        *,
        reverse_lookup: ReverseLookup = _no_name,
        early_input: EarlyInput = _no_early_input,
    ) -> None:
        self.id = f"{_START:X}.{os.getpid():X}.{next(_numbers):X}"
        self.client = client
        self.local = local
        #: Who passed the connection on and named client and local (PROXY protocol), or None.
        self.proxy: Endpoint | None = None
        #: The client's name by reverse look-up, once `resolve_client_name` has found one.
        self.client_name: str | None = None
        self._reverse_lookup = reverse_lookup
        self._early_input = early_input
        #: Seconds of the monotonic clock at accept.
        self.started = time.monotonic()
        self.hello: Literal["helo", "ehlo"] | None = None
        self.hello_host = ""
        #: The client may send mail to any destination.
        self.relay_client = False
        self.tls: TlsInfo | None = None
        self.auth_user = ""
        self.auth_mechanism = ""
        #: Set by a plugin that knows this client as good; see `Plugin.immune`.
        self.whitelisted_host = ""
        #: Texts of rejections that plugin naughty is to speak later, and the type of the first.
        self.deferred_rejects: list[str] = []
        self.deferred_type = ""
        self.karma = 0
        #: The client's karma of earlier connections; None when nothing is known.
        self.karma_history: int | None = None
        #: Parts of Authentication-Results that hold for the whole connection.
        self.auth_results: list[str] = []
        #: Further EHLO lines that plugins announce.
        self.capabilities: list[str] = []
        self.notes = Notes()
        self.transaction: Transaction | None = None
        self.commands = 0
        #: Transactions begun.
        self.transactions = 0
        #: Messages accepted.
        self.messages = 0
        #: Connections this client has open in the daemon, with this one; and how many it may.
        self.connections_from_client = 1
        self.max_connections_from_client = 0
        #: What plugins and the core said outside of transactions.
        self.trail = Trail()
        super().__init__()

    @property
    def client_address(self) -> IPAddress:
        """The client's address as an object that networks can be asked about."""
        return parse_ip(self.client.ip)

    @property
    def client_is_local(self) -> bool:
        """Whether the client is this machine (a loopback address)."""
        return self.client_address.is_loopback

    @property
    def has_deferred_rejects(self) -> bool:
        """Whether a plugin has found a reason to reject that is to be spoken later."""
        return bool(self.deferred_rejects)

    async def resolve_client_name(self) -> str | None:
        """The client's name by reverse look-up (unverified), None when there is none.

        The look-up starts with the connection; only the first call may wait.
        """
        if self.client_name is None:
            self.client_name = await self._reverse_lookup()
        return self.client_name

    async def early_input(self, seconds: float) -> bool:
        """Wait until the client has sent something unasked; False when it kept quiet so long."""
        return await self._early_input(seconds)

    def adjust_karma(self, points: int) -> None:
        """Credit (or with a negative number debit) the client's behaviour."""
        self.karma += points


@dataclass(slots=True)
class Recipient:
    """A recipient of the transaction: RCPT's address and parameters, and plugins' notes."""

    address: Address
    parameters: dict[str, str | None] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)

    def __str__(self) -> str:
        return self.address.address


class Transaction(TaskOwner):
    """One message on its way: from MAIL to the reply after the dot, or to a reset."""

    __slots__ = (
        "auth_results",
        "id",
        "mail_parameters",
        "message",
        "next_hop_id",
        "notes",
        "recipients",
        "refused_recipients",
        "reverse_path",
        "session",
        "size",
        "started",
        "trail",
        "whitelisted_sender",
    )

    def __init__(
        self,
        session: Session,
        reverse_path: ReversePath,
        parameters: dict[str, str | None] | None = None,
    ) -> None:
        self.session = session
        session.transactions += 1
        self.id = f"{session.id}.{session.transactions}"
        #: The envelope sender; None is the null reverse-path of bounces.
        self.reverse_path = reverse_path
        #: Parameters of MAIL, names in upper case; None as the value of one without "=".
        self.mail_parameters = parameters or {}
        #: The recipients accepted so far.
        self.recipients: list[Recipient] = []
        self.refused_recipients = 0
        #: The message, once it was read to its end; None before.
        self.message: Message | None = None
        #: Bytes of the message.
        self.size = 0
        #: Seconds of the monotonic clock at MAIL.
        self.started = time.monotonic()
        self.notes = Notes()
        self.whitelisted_sender = False
        #: Parts of Authentication-Results that hold for this message.
        self.auth_results: list[str] = []
        #: The id under which the next hop queued the message, set by the queue plugin.
        self.next_hop_id = ""
        #: What plugins and the core said during this transaction.
        self.trail = Trail()
        super().__init__()

    @property
    def utf8(self) -> bool:
        """Whether the client said SMTPUTF8 (RFC 6531)."""
        return "SMTPUTF8" in self.mail_parameters

    @property
    def body_type(self) -> str:
        """The BODY parameter of MAIL (RFC 6152), "" when there was none."""
        return (self.mail_parameters.get("BODY") or "").upper()

    @property
    def sender(self) -> str:
        """The reverse-path as text without brackets, "" for the null one."""
        return self.reverse_path.address if self.reverse_path else ""

    def close(self) -> None:
        """Free the message."""
        if self.message is not None:
            self.message.close()
            self.message = None


@dataclass(frozen=True, slots=True)
class AuthAttempt:
    """What a client offered to authenticate (RFC 4954).

    password: clear text (PLAIN, LOGIN), None with CRAM-MD5.
    digest, challenge: the client's keyed MD5 in hex and our challenge (CRAM-MD5), else "" and b"".
    """

    mechanism: str
    user: str
    password: str | None = field(default=None, repr=False)
    digest: str = field(default="", repr=False)
    challenge: bytes = b""


class ReceivedInfo(NamedTuple):
    """What goes into the Received field (RFC 5321 section 4.4): for hook_received_line."""

    protocol: str
    tls: str
    auth: str
