# SPDX-License-Identifier: MIT
"""Session, Transaction, Recipient: one connection, one message, one addressee.

The core creates them and plugins read and change them; nothing here touches the network.
"""

from __future__ import annotations

import base64
import inspect
import itertools
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from qpsmtpd.mail.address import Address, ReversePath
from qpsmtpd.mail.authresult import AuthResults
from qpsmtpd.mail.headers import check_field
from qpsmtpd.mail.ip import Endpoint, IPAddress, parse_ip
from qpsmtpd.mail.message import Message
from qpsmtpd.mail.notes import Noted
from qpsmtpd.mail.tasks import TaskOwner
from qpsmtpd.mail.trail import Trail
from qpsmtpd.mail.verdict import Verdict

log = logging.getLogger(__name__)

_numbers = itertools.count(1)
_START = int(time.time())


#: Whether a client's address has a name that has this address: permerror if it has no name at all,
#: temperror if the DNS did not answer; "" when nothing is known.
Iprev = Literal["", "pass", "fail", "permerror", "temperror"]


class ReverseNames(NamedTuple):
    """What the DNS says about a client's name.

    confirmed: a name of the client's address that has this address itself (FCrDNS).
    claimed: the first name of the address, which its owner chooses freely.
    certain: False if the DNS did not answer, so that there may be names.
    asked: False if nobody has asked the DNS.
    """

    confirmed: str | None = None
    claimed: str | None = None
    certain: bool = True
    asked: bool = True

    @property
    def iprev(self) -> Iprev:
        """Whether address and name agree, as RFC 8601 section 2.7.3 words it."""
        if not self.asked:
            return ""
        if self.confirmed:
            return "pass"
        if not self.certain:
            return "temperror"
        return "fail" if self.claimed else "permerror"


#: Letters of a verb; longer words are none.
_LONGEST_VERB = 12

ReverseLookup = Callable[[], Awaitable[ReverseNames]]


class Channel(Protocol):
    """The client's connection, as far as its session may use it (protocol.py)."""

    async def early_input(self, seconds: float, *, teaser: bool = False) -> bool:
        """See Session, as for what follows."""

    async def tarpit(self, seconds: float) -> bool:
        """Let the client wait; False if it has to go."""


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What was negotiated: version and cipher as OpenSSL names them, and the bits of the key.

    unique: the channel binding tls-unique (RFC 5929); b"" with TLS 1.3, where there is none.
    """

    version: str
    cipher: str
    bits: int = 0
    unique: bytes = field(default=b"", repr=False)


async def _no_name() -> ReverseNames:
    return ReverseNames(asked=False)


class _NoChannel:
    """That of a client that says nothing, and need not wait."""

    async def early_input(self, seconds: float, *, teaser: bool = False) -> bool:
        return False

    async def tarpit(self, seconds: float) -> bool:
        return True


_NO_CHANNEL = _NoChannel()


class Session(TaskOwner):
    """One connection of a client, from accept to close.

    lmtp: the client speaks LMTP (RFC 2033), and gets a reply to the message for each recipient;
      `hello` is "ehlo" after its LHLO, which does the same.
    hosted: a mail system asks about a session of its own (policy service, milter): it decides about
      relaying and recipients, and it keeps the message.
    talked_early: the client has sent something before the end of the greeting.
    early_talk_is_judged: a plugin decides what becomes of clients that do; otherwise they get 554.
    teased: the first line of the greeting has gone out, and the last one has not.
    """

    __slots__ = (
        "_channel",
        "_reverse_lookup",
        "auth_mechanism",
        "auth_results",
        "auth_tried",
        "auth_user",
        "capabilities",
        "client",
        "client_name",
        "client_name_certain",
        "commands",
        "connections_from_client",
        "deferred_rejects",
        "deferred_type",
        "early_talk_is_judged",
        "hello",
        "hello_host",
        "hosted",
        "id",
        "iprev",
        "karma",
        "karma_history",
        "lmtp",
        "local",
        "max_connections_from_client",
        "messages",
        "name_is_known",
        "proxy",
        "relay_client",
        "reverse_name",
        "sends_chunk",
        "started",
        "talked_early",
        "teased",
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
        channel: Channel = _NO_CHANNEL,
    ) -> None:
        self.id = f"{_START:X}.{os.getpid():X}.{next(_numbers):X}"
        self.client, self.local = client, local
        #: What passed the connection on and named client and local (PROXY protocol), or None.
        self.proxy: Endpoint | None = None
        #: The client's name, once `resolve_client_name` has found one: its address has the name,
        #: and the name has its address.
        self.client_name: str | None = None
        #: Whether no other name exists; False if the DNS did not answer.
        self.client_name_certain = True
        #: The first name of the client's address, confirmed or not: do not trust it.
        self.reverse_name: str | None = None
        #: What `resolve_client_name` has found, for Authentication-Results.
        self.iprev: Iprev = ""
        #: Whether `resolve_client_name` need not wait any more.
        self.name_is_known = False
        self._reverse_lookup, self._channel = reverse_lookup, channel
        #: Seconds of the monotonic clock at accept.
        self.started = time.monotonic()
        self.hello: Literal["helo", "ehlo"] | None = None
        self.hello_host = ""
        self.lmtp = self.hosted = False
        #: The client may send mail to any destination.
        self.relay_client = False
        self.tls: TlsInfo | None = None
        self.talked_early = self.early_talk_is_judged = self.teased = False
        #: Whether a chunk of a message follows the command (BDAT), so that input is in order.
        self.sends_chunk = False
        #: The client has said AUTH: whatever it says out of place may be its password.
        self.auth_tried = False
        self.auth_user = self.auth_mechanism = ""
        #: Set by a plugin that knows this client to be good; see `Plugin.immune`.
        self.whitelisted_host = ""
        #: Texts of rejections for the plugin naughty to give later, and the type of the first.
        self.deferred_rejects: list[str] = []
        self.deferred_type = ""
        self.karma = 0
        #: The client's karma from earlier connections; None when nothing is known.
        self.karma_history: int | None = None
        #: Results for Authentication-Results that apply to the whole connection.
        self.auth_results = AuthResults()
        #: The keywords of the EHLO reply; hook_ehlo may add some and remove some.
        self.capabilities: list[str] = []
        self.transaction: Transaction | None = None
        #: How many commands came, transactions were begun, and messages were accepted.
        self.commands = self.transactions = self.messages = 0
        #: Connections this client has open in the daemon, with this one; and how many it may have.
        self.connections_from_client = 1
        self.max_connections_from_client = 0
        #: What plugins and the core said outside of transactions.
        self.trail = Trail()
        self.tasks = None

    @property
    def client_address(self) -> IPAddress:
        """The client's address as an object that networks can be asked about."""
        return parse_ip(self.client.ip)

    @property
    def client_is_local(self) -> bool:
        """Whether the client is this machine (a loopback address)."""
        # Its text is canonical; to ask an IPAddress takes three times as long.
        return self.client.ip.startswith("127.") or self.client.ip == "::1"

    @property
    def has_deferred_rejects(self) -> bool:
        """Whether a plugin has found a reason to reject that is to be given later."""
        return bool(self.deferred_rejects)

    async def resolve_client_name(self) -> str | None:
        """The client's name by reverse lookup, confirmed by a lookup of its addresses.

        None if there is none, or it is not known in time.  The lookup starts with the
        connection; only the first call may wait.
        """
        if not self.name_is_known:
            names = await self._reverse_lookup()
            self.client_name, self.reverse_name, self.client_name_certain, _ = names
            self.iprev, self.name_is_known = names.iprev, names.certain
        return self.client_name

    async def early_input(self, seconds: float, *, teaser: bool = False) -> bool:
        """Wait for the client to send something unasked; False if it kept quiet this long.

        teaser: send a first line of the greeting before, if this is before the greeting.  Whoever
        is refused after that, is told so in reply to its first command.
        """
        return not self.sends_chunk and await self._channel.early_input(seconds, teaser=teaser)

    async def tarpit(self, seconds: float) -> bool:
        """Let the client wait for the reply; False if it has to be told to go (421).

        It waits for less, or not at all, while connections are scarce, when the server stops, and
        if it leaves.  It has to go if its connection is all that is left for somebody else.
        """
        return await self._channel.tarpit(seconds)

    def loggable(self, verb: str, argument: str) -> str:
        """An unknown command as the log may show it: no more than its verb.

        Only the number of octets if it may belong to a login that was refused: if the client has
        tried AUTH, or the line looks like base64.
        """
        plain = verb.isascii() and verb.isalpha() and len(verb) <= _LONGEST_VERB
        if plain and not self.auth_tried and (argument or len(verb) % 4):
            return verb
        return f"({len(verb) + len(argument)} octets)"

    def adjust_karma(self, points: int) -> None:
        """Credit (or with a negative number debit) the client's behaviour."""
        self.karma += points


#: The action of a notice of success (RFC 3464 section 2.3.3).
Success = Literal["relayed", "delivered", "none"]


# Two with the same address are still two.
@dataclass(slots=True, eq=False)
class Recipient(Noted):
    """A recipient of the transaction: RCPT's address and parameters, and plugins' notes.

    success: the notice that is left to us if the client wants one of success (RFC 3461); the plugin
        that hands the message over says so: "none" if whoever takes it sends such notices.
    """

    address: Address
    parameters: dict[str, str | None] = field(default_factory=dict)
    success: Success = "relayed"

    def __str__(self) -> str:
        return self.address.address


class Named(Protocol):
    """Something that has a name: a plugin."""

    name: str


class Tap(NamedTuple):
    """A function of a plugin that gets the blocks of a body."""

    plugin: str
    listen: Callable[[bytes], None]


class Transaction(TaskOwner):
    """One message on its way: from MAIL to the reply after the dot, or to a reset."""

    __slots__ = (
        "_fields_on_top",
        "auth_results",
        "dropped_by",
        "envelope_changeable",
        "for_each",
        "held_for",
        "id",
        "left_out",
        "mail_parameters",
        "message",
        "named",
        "next_hop_id",
        "received_header",
        "recipients",
        "refused_recipients",
        "reverse_path",
        "session",
        "size",
        "started",
        "success_wanted",
        "taps",
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
        #: Whether a notice of success was asked for with some recipient (NOTIFY: RFC 3461).
        self.success_wanted = False
        #: Those that an LMTP client gets a reply for: the recipients before plugins changed them.
        self.named: tuple[Recipient, ...] = ()
        #: What the hook `queue` said of each recipient, if it told them apart; see `Verdict`.
        self.for_each: tuple[Verdict, ...] = ()
        #: The message, once it has been read to its end; None before.
        self.message: Message | None = None
        #: The header section as it came, from `hook_data_headers_end` on, whatever plugins change.
        self.received_header = b""
        #: Bytes of the message.
        self.size = 0
        #: Seconds of the monotonic clock at MAIL.
        self.started = time.monotonic()
        self.whitelisted_sender = False
        #: Results for Authentication-Results that apply to this message.
        self.auth_results = AuthResults()
        #: The id under which the next hop queued the message, set by the queue plugin.
        self.next_hop_id = ""
        #: Whether plugins may change the envelope: from DATA to the handover.
        self.envelope_changeable = False
        #: The plugin that has the message dropped, and why it is to be held; see `drop` and `hold`.
        self.dropped_by = ""
        self.held_for = ""
        #: Who gets the body as it is read; None once it is too late for that.
        self.taps: tuple[Tap, ...] | None = ()
        #: Plugins that are no longer asked, because their tap on the body failed.
        self.left_out: frozenset[str] = frozenset()
        #: What plugins and the core said during this transaction.
        self.trail = Trail()
        self.tasks = None
        # Fields that wait for the message and our own fields; None once those are there.
        self._fields_on_top: tuple[tuple[str, str], ...] | None = ()

    # --- the envelope -----------------------------------------------------------------------

    def open_envelope(self) -> None:
        """The client has named all recipients, and now plugins may change them (for the core)."""
        self.envelope_changeable = True
        if self.session.lmtp:
            self.named = tuple(self.recipients)

    def add_recipient(
        self, address: Address, parameters: dict[str, str | None] | None = None
    ) -> Recipient:
        """Add a recipient, unless it is there already; returns it.

        The hook `rcpt` is not asked about it, so the plugin vouches for it: an address that a
        client has chosen, in a header field or elsewhere, makes an open relay.

        The envelope may change from `hook_data` on, when the client has named its recipients, up
        to `hook_queue_pre`; RuntimeError at any other time.  (In `hook_rcpt`, change `recipient`.)
        ValueError for an address that needs SMTPUTF8, if the client did not say that.
        """
        self._check_change(address)
        for recipient in self.recipients:
            if _same_mailbox(recipient.address, address):
                return recipient
        added = Recipient(address, parameters or {})
        self.recipients.append(added)
        log.info("recipient added to=%r", str(address))
        return added

    def remove_recipient(self, address: Address) -> bool:
        """Remove a recipient, who will not get the message although the client was told 250.

        Returns False if it is not there.  ValueError for the only one: nobody would get the
        message then, so refuse it, or take it in `hook_queue`.  RuntimeError as for
        `add_recipient`.
        """
        self._check_change(None)
        kept = [r for r in self.recipients if not _same_mailbox(r.address, address)]
        if len(kept) == len(self.recipients):
            return False
        if not kept:
            raise ValueError(f"{address} is the only recipient")
        self.recipients[:] = kept
        log.info("recipient removed to=%r", str(address))
        return True

    def replace_reverse_path(self, path: ReversePath) -> None:
        """Hand the message over with another reverse-path; errors as for `add_recipient`.

        Whoever reads `reverse_path` later finds the new one.
        """
        self._check_change(path)
        log.info("reverse-path replaced from=%r by=%r", self.sender, str(path or ""))
        self.reverse_path = path

    def drop(self, plugin: Named, reason: str) -> None:
        """Tell the client that the message was taken, and hand it over to nobody: it is lost.

        Only because the administrator has asked for that.  At any time before `hook_queue`; the
        other hooks are asked, and may still refuse the message.
        """
        log.warning("message will be dropped by=%s reason=%r", plugin.name, reason)
        self.dropped_by = plugin.name

    def hold(self, reason: str) -> None:
        """Have the mail system behind keep the message aside until its administrator decides.

        Only a plugin with `can_hold` does that; any other delivers it.  At any time before
        `hook_queue`.
        """
        log.info("message is to be held reason=%r", reason)
        self.held_for = reason or "unknown"

    def _check_change(self, address: ReversePath) -> None:
        if not self.envelope_changeable:
            raise RuntimeError("the envelope may change only from hook_data to hook_queue_pre")
        if address is not None and not (self.utf8 or address.is_ascii):
            raise ValueError(f"{address} needs SMTPUTF8")

    # --- the message ------------------------------------------------------------------------

    def add_header(self, name: str, value: str) -> None:
        """Put a field on top of the message, above our Received field.

        At any time: until `hook_data_post` it waits, and is not among the fields of the message.
        The one added last is the topmost.  Raises ValueError as `Headers.append` does.
        """
        check_field(name, value)
        if self._fields_on_top is not None:
            self._fields_on_top += ((name, value),)
        elif self.message is not None:
            self.message.headers.prepend(name, value)

    def take_fields_on_top(self) -> tuple[tuple[str, str], ...]:
        """Take the fields that wait for a message which will not come (for a policy service)."""
        fields, self._fields_on_top = self._fields_on_top or (), ()
        return fields

    def put_fields_on_top(self) -> None:
        """Put the fields on top that `add_header` was given so far (for the core)."""
        fields, self._fields_on_top = self._fields_on_top, None
        for name, value in fields or ():
            self.add_header(name, value)

    def tap(self, plugin: Named, listen: Callable[[bytes], None]) -> None:
        """Pass each block of the body to a function while it is read, as DKIM needs it.

        From MAIL to `hook_data_headers_end`, where the header section is known; RuntimeError later.
        The blocks are what will be handed over, in order: without the empty line, dots
        unstuffed, lines ending with CRLF.  A block may end anywhere.

        Nothing else happens while the function runs, so it must be quick: a block holds what
        came from the network at once, some 100 KB.  What it raises is a fault of the plugin, and it
        gets no further block: the message is deferred after its end, or, when the plugin's line
        says `on_fault=skip`, the plugin is asked nothing more about it.
        """
        if self.taps is None:
            raise RuntimeError("the body of the message is being read already")
        if inspect.iscoroutinefunction(listen):
            raise TypeError("a function that taps a body cannot be a coroutine function")
        self.taps += (Tap(plugin.name, listen),)

    @property
    def utf8(self) -> bool:
        """Whether the client said SMTPUTF8 (RFC 6531)."""
        return "SMTPUTF8" in self.mail_parameters

    @property
    def body_type(self) -> str:
        """The BODY parameter of MAIL (RFC 6152, 3030), "" when there was none.

        8BITMIME also when a plugin has given the message a body that needs it, or one of lines in
        place of a BINARYMIME one.
        """
        declared = (self.mail_parameters.get("BODY") or "").upper()
        if (message := self.message) is None:
            return declared
        replaced = declared == "BINARYMIME" and not message.body_as_received
        return "8BITMIME" if message.eight_bit or replaced else declared

    @property
    def binary(self) -> bool:
        """Whether the body may have any octets, and no lines (BINARYMIME: RFC 3030 section 3)."""
        return self.body_type == "BINARYMIME"

    @property
    def sender(self) -> str:
        """The reverse-path as text without brackets, "" for the null one."""
        return self.reverse_path.address if self.reverse_path else ""

    def close(self) -> None:
        """Free the message."""
        if self.message is not None:
            self.message.close()
            self.message = None


def _same_mailbox(one: Address, other: Address) -> bool:
    """Whether mail for both ends up in the same place; case matters in local parts."""
    domains = [(address.domain or "").lower() for address in (one, other)]
    return one.local_part == other.local_part and domains[0] == domains[1]


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


@dataclass(slots=True)
class AuthExchange:
    """A login by a mechanism that a plugin implements, step by step (RFC 4954 section 4).

    response: what the client said last, as it stands on the line: base64, b"=" for an empty initial
        response, b"*" when it gives up; None at the first step if AUTH had no initial response.
    user: who the client is; the plugin says so before it accepts.
    state: what the plugin wants to keep until the next step; None at the first.
    refused: the plugin has refused the client, and its challenge only says why: whatever the client
        answers, even that it gives up, is a failed login.
    """

    mechanism: str
    response: bytes | None = field(default=None, repr=False)
    user: str = ""
    state: Any = field(default=None, repr=False)
    refused: bool = False

    @property
    def data(self) -> bytes:
        """The response, decoded.  Raises ValueError if it is not base64, or there is none."""
        if self.response is None:
            raise ValueError("no response")
        # RFC 4954 section 4: a lone "=" is an empty initial response.
        return b"" if self.response == b"=" else base64.b64decode(self.response, validate=True)


@dataclass(frozen=True, slots=True)
class Challenge:
    """What to ask the client next in an exchange: base64, as it stands after the 334."""

    text: str

    @classmethod
    def of(cls, data: bytes) -> Challenge:
        """The challenge that consists of these octets."""
        return cls(base64.b64encode(data).decode())


class ReceivedInfo(NamedTuple):
    """What goes into the Received field (RFC 5321 section 4.4): for hook_received_line."""

    protocol: str
    tls: str
    auth: str
