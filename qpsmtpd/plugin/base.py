# SPDX-License-Identifier: MIT
"""Plugin: the base class whose `hook_*` methods are the hooks.

The signature and the docstring of a hook method are its manual.  A hook returns None for "no
opinion"; the first plugin of the chain that returns something ends the hook.  A fault (an
exception, a timeout) is never a pass: the client gets 451 for the transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import ssl
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, get_args

from qpsmtpd.lists.hosts import HostList
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.logs.lines import write_line
from qpsmtpd.logs.records import PLUGIN_LOGGERS
from qpsmtpd.mail.address import ReversePath
from qpsmtpd.mail.session import (
    AuthAttempt,
    AuthExchange,
    Challenge,
    ReceivedInfo,
    Recipient,
    Session,
    Transaction,
)
from qpsmtpd.mail.trail import Answer, Outcome
from qpsmtpd.mail.verdict import Decision, Verdict
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.options import NoOptions, opt
from qpsmtpd.plugin.services import Services
from qpsmtpd.plugin.system import System
from qpsmtpd.plugin.verification import KNOWN, Verification, unsure

O = TypeVar("O")  # noqa: E741 (the options class of a plugin)

RejectMode = Literal["0", "1", "naughty"]

#: What becomes of the verdicts of a plugin: they count; they are only recorded; or a refusal
#: becomes a header field of the message.
Mode = Literal["enforce", "shadow", "tag"]

RejectKind = Literal[
    "perm", "hard", "temp", "soft", "disconnect", "perm_disconnect", "temp_disconnect"
]
RejectType = Literal["", RejectKind]

#: What each stands for, and whether it ends the session.
_REJECT_TYPES: dict[str, tuple[Decision, bool]] = {
    "perm": (Decision.DENY, False),
    "hard": (Decision.DENY, False),
    "temp": (Decision.DEFER, False),
    "soft": (Decision.DEFER, False),
    "disconnect": (Decision.DENY, True),
    "perm_disconnect": (Decision.DENY, True),
    "temp_disconnect": (Decision.DEFER, True),
}


@dataclass(frozen=True, kw_only=True)
class RejectOptions:
    """Options of plugins that reject; subclass it for a plugin's own options."""

    reject: RejectMode = opt(
        "1", doc="1 rejects; 0 only logs; naughty leaves the rejection to the plugin naughty."
    )
    reject_type: RejectType = opt(
        "",
        doc="How to reject: perm (5xx), temp (4xx), disconnect or temp_disconnect. "
        "Without it the plugin's own choice.",
    )


@dataclass(frozen=True, slots=True)
class HookResult:
    """What `hook_deny` and `hook_ok` get: which plugin said what in which hook.

    recipient: the one that a hook of RCPT was asked about, else None.
    """

    plugin: str
    hook: str
    verdict: Verdict | None
    recipient: Recipient | None = None


class ParsedPath(NamedTuple):
    """What `hook_mail_parse` and `hook_rcpt_parse` return: the path with its brackets, and the
    ESMTP parameters (names in upper case)."""

    path: str
    parameters: dict[str, str | None]


class Plugin(Generic[O]):
    """Subclass it with your options (`class X(Plugin[Options])`), and override the hooks you need.

    Every overridden hook is called for every session: there is nothing to register.  A class may
    declare about itself:

    files: the configuration files that it reads, with a sentence about the contents of each; a
      constant database is NAME.cdb.  Files that an option names are not among them.
    after: the plugins that must be above it if both are in the chain; `auth/*` is a pattern.
    needs: the plugins without which it cannot do its work.
    accepts_recipients: that it accepts our own recipients, so that plugins below are not asked
      about them.
    speaks_rejections: that it issues the rejections that others left to it (`reject naughty`).
    takes_every_recipient: that it delivers to whatever recipient it gets, so that nothing that it
      has taken ever bounces.
    verifies_recipients: that its `hook_verify_recipient`, if it has one, refuses recipients that do
      not exist, and is not about something else.
    can_hold: that it delivers to a mail system which keeps messages aside (`Transaction.hold`).
    passes_on: that it hands messages over with what only the mail system behind can do, and has
      offered: BINARYMIME, DELIVERBY, MT-PRIORITY, FUTURERELEASE.  Others that deliver are not asked
      to take such messages.
    watches_wire: that it watches how the client speaks, which cannot be seen where a mail system
      asks us about its client (policy service, milter).
    remedy: what an administrator can do when the plugin has refused mail that is good, besides its
      files and its option `reject`; for `qpsmtpd explain`.
    warning: what check-config says about every line with it, for instance that it loses mail.
    """

    #: The options class of the plugin (a frozen dataclass made with `opt`), from Plugin[Options].
    Options: ClassVar[type[Any]] = NoOptions

    #: What becomes of the plugin's verdicts; the argument `mode` of its line.
    mode: Mode = "enforce"

    files: ClassVar[Mapping[str, str]] = {}
    after: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    accepts_recipients: ClassVar[bool] = False
    speaks_rejections: ClassVar[bool] = False
    takes_every_recipient: ClassVar[bool] = False
    verifies_recipients: ClassVar[bool] = True
    can_hold: ClassVar[bool] = False
    passes_on: ClassVar[bool] = False
    watches_wire: ClassVar[bool] = False
    warning: ClassVar[str] = ""
    remedy: ClassVar[str] = ""

    #: How many connections of a client beyond max_from_ip this plugin decides about; if there are
    #: more, the daemon turns the client away before any hook.
    beyond_max_from_ip: ClassVar[int] = 0

    #: Servers of our own, as far as `start` has found out: the limits per client and network
    #: (max_from_ip, max_from_network) do not concern them.
    own_clients: HostList | None = None

    def __init__(self, name: str, options: O, services: Services) -> None:
        """`name` is the plugin's name in the chain, e.g. "dnsbl" or "dnsbl:1"."""
        self.name = name
        self.options = options
        self.services = services
        self.log = logging.getLogger(PLUGIN_LOGGERS + name.replace("/", "."))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Options" in vars(cls):
            return
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and argument not in (Any, NoneType):
                    cls.Options = argument

    @classmethod
    def hooks(cls) -> list[str]:
        """The names of the hooks that the plugin has, without the prefix, in the usual order."""
        return [
            method.removeprefix("hook_")
            for method in HOOK_METHODS
            if getattr(cls, method) is not getattr(Plugin, method)
        ]

    # --- life cycle -------------------------------------------------------------------------

    async def start(self) -> None:
        """Read configuration files and prepare; called once per worker and configuration.

        Raises ConfigError if the configuration cannot work: the daemon then refuses to start, or
        keeps the old configuration.  Does not connect anywhere.
        """

    async def stop(self) -> None:
        """Close what `start` and the hooks opened; no hook runs any more."""

    @property
    def log_level(self) -> int:
        """The lowest level of records that `hook_logging` wants: that of its option `loglevel`."""
        level = getattr(self.options, "loglevel", None)
        return level if isinstance(level, LogLevel) else logging.DEBUG

    def tls_context(self) -> ssl.SSLContext | None:
        """The server context for STARTTLS and implicit TLS, from the plugin that has one."""
        return None

    def sasl_mechanisms(self) -> Sequence[str]:
        """The AUTH mechanisms that `hook_auth_exchange` implements; asked once, after `start`.

        Such a mechanism replaces the daemon's own with the same name.
        """
        return ()

    def unusable_mechanisms(self) -> Collection[str]:
        """The AUTH mechanisms that it has hooks for, but could log nobody in by.

        Asked once, after `start`.  One that no plugin can use is not offered.
        """
        return ()

    def examine(self, system: System) -> AsyncIterator[Finding] | Iterator[Finding]:
        """Yield what `qpsmtpd doctor` is to say about what the plugin needs from this machine.

        A generator, plain or async.  The plugin has its options and services, but has not started:
        `start` may be what fails.  This runs as the daemon's user, in a process of its own, and
        must not change anything.
        """
        return iter(())

    async def knows_recipient(
        self, recipient: Recipient, sender: ReversePath
    ) -> Verification | None:
        """Whether the mail system that `hook_queue` hands over to has this recipient.

        Only plugins with that hook are asked, in their order.  None means that the plugin does not
        take this recipient's messages, and the next one is asked.  `sender` is the reverse-path for
        the question, usually the null one.  "unknown" refuses the recipient, so say it only when
        that is certain, and not about policy, which depends on sender and client.
        """
        return KNOWN if self.takes_every_recipient else unsure("cannot be asked")

    def largest_message(self) -> int:
        """How many octets a message may have for the mail system that `hook_queue` hands over to.

        It is announced to clients (RFC 1870), who then need not send what would be refused.  0 if
        there is no limit, or if it is not known (yet).
        """
        return 0

    def would_take(self, tx: Transaction) -> bool:
        """Whether `hook_queue` has an opinion about the message, if nothing goes wrong.

        `qpsmtpd try` asks this in place of that hook.
        """
        return True

    @classmethod
    def may_accept_recipients(cls, options: Any) -> bool:
        """Whether `hook_rcpt` can accept anybody, with these options of a line.

        Of local plugins that have the hook, check-config assumes it.
        """
        return cls.accepts_recipients

    @classmethod
    def can_deliver(cls, options: Any) -> bool:
        """Whether `hook_queue` can hand a message over, with these options of a line."""
        return "queue" in cls.hooks()

    @classmethod
    def can_be_asked(cls) -> bool:
        """Whether `knows_recipient` is there to ask somebody."""
        return cls.knows_recipient is not Plugin.knows_recipient

    @cached_property
    def fingerprint(self) -> str:
        """Its name and options as a short text that changes when they do."""
        return hashlib.blake2s(f"{self.name} {self.options!r}".encode(), digest_size=8).hexdigest()

    # --- helpers ----------------------------------------------------------------------------

    def immune(self, session: Session) -> bool:
        """Whether the client is exempt: it may relay, or it or the sender is on an allowlist."""
        transaction = session.transaction
        return bool(
            session.relay_client
            or session.whitelisted_host
            or (transaction is not None and transaction.whitelisted_sender)
        )

    def log_about(self, session: Session, text: str, *values: Any) -> None:
        """As `self.log.info`, in a fraction of the time, for what is said of many clients.

        The values must not change any more: the text is composed a little later.
        """
        write_line(self.log, session, text, *values, plugin=self.name)

    def reject(
        self,
        session: Session,
        text: str,
        *,
        status: str = "",
        default: RejectType = "",
        reason: str = "",
    ) -> Verdict | None:
        """Reject the way the options `reject` and `reject_type` say (get_reject in Perl).

        Returns the verdict; or None, if rejecting is off or left to the plugin naughty.  `default`
        is used if there is no reject_type; without either it is perm, or what the plugin naughty
        decides if the rejection is left to it.  `reason` is only for the log.
        """
        options = self.options
        if not isinstance(options, RejectOptions):
            raise TypeError(f"{self.name}: its options are not RejectOptions")
        tolerated = options.reject == "0"
        said = " tolerated=yes" if tolerated else ""
        self.log_about(session, "fail%s reason=%r", said, reason or text or status)
        verdict = rejection(options.reject_type or default, text, status, reason)
        if tolerated:
            self._record(session, verdict, "tolerated")
            return None
        if options.reject == "naughty" and self.mode == "enforce":
            self._record(session, verdict, "naughty")
            session.deferred_rejects.append(text)
            session.deferred_type = session.deferred_type or options.reject_type or default
            return None
        return verdict

    def _record(self, session: Session, verdict: Verdict, outcome: Outcome) -> None:
        """Add to the trail what the chain does not see."""
        trail = (session.transaction or session).trail
        trail.add(Answer(self.name, trail.hook, verdict, outcome))

    # --- configuration hooks ----------------------------------------------------------------

    def hook_logging(self, record: logging.LogRecord) -> None:
        """Write one log record somewhere.  Only for plugins in the file `logging`.

        It gets what reaches `log_level`.  Once any such plugin is loaded, only these plugins write
        to stderr.  Must not wait.
        """

    async def hook_config(self, name: str) -> Sequence[str] | None:
        """Supply the lines of a configuration file in place of the file.

        Called for what plugins read after this one has started.
        """

    async def hook_user_config(self, recipient: Recipient, name: str) -> Sequence[str] | None:
        """Supply the lines of a configuration file for one user; called before hook_config."""

    # --- connection -------------------------------------------------------------------------

    async def hook_post_fork(self) -> None:
        """A worker is ready to take connections."""

    async def hook_pre_connection(self, session: Session) -> Verdict | None:
        """A client has connected; only its address is known.  A refusal closes: 550 or 451."""

    async def hook_connect(self, session: Session) -> Verdict | None:
        """Before the greeting.  A refusal is sent in its place and closes: 550 or 450."""

    async def hook_helo_parse(self, session: Session, argument: str) -> str | Verdict | None:
        """Parse the argument of HELO: return the host name, or refuse (501)."""

    async def hook_ehlo_parse(self, session: Session, argument: str) -> str | Verdict | None:
        """Parse the argument of EHLO: return the host name, or refuse (501)."""

    async def hook_helo(self, session: Session, host: str) -> Verdict | None:
        """HELO.  Refused with 550 or 450; the client may try again."""

    async def hook_ehlo(self, session: Session, host: str) -> Verdict | None:
        """EHLO.  Refused with 550 or 450; `session.capabilities` takes further keywords."""

    # --- authentication ---------------------------------------------------------------------

    async def hook_auth_parse(
        self, session: Session, argument: str
    ) -> tuple[str, str] | Verdict | None:
        """Parse the argument of AUTH: return mechanism and initial response, or refuse (501)."""

    async def hook_auth(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        """Check a login by any mechanism, after the hook of that mechanism.  OK is 235.

        All refusals become one reply, after a pause, except temporary ones and those with a code
        that is about the mechanism (534, for instance).
        """

    async def hook_auth_plain(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        """Check a login by PLAIN.  OK is 235; a refusal, or no opinion, is 535."""

    async def hook_auth_login(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        """Check a login by LOGIN.  OK is 235; a refusal, or no opinion, is 535."""

    async def hook_auth_cram_md5(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        """Check a login by CRAM-MD5.  OK is 235; a refusal, or no opinion, is 535."""

    async def hook_auth_exchange(
        self, session: Session, exchange: AuthExchange
    ) -> Challenge | Verdict | None:
        """One step of a mechanism of `sasl_mechanisms`: ask the client something, or decide.

        Called again with the client's answer after each Challenge.  OK is 235 and needs
        `exchange.user`; a refusal, or no opinion, is 535.  A client that gives up is never
        logged in, whatever the hook says.
        """

    # --- envelope ---------------------------------------------------------------------------

    async def hook_mail_parse(self, session: Session, argument: str) -> ParsedPath | Verdict | None:
        """Parse the argument of MAIL, from "FROM:" on, or refuse (501)."""

    async def hook_mail_pre(
        self, session: Session, path: str, parameters: dict[str, str | None]
    ) -> str | None:
        """Replace the text of the reverse-path before it is parsed."""

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        """MAIL.  Refused with 550 or 450 (421 when disconnecting softly)."""

    async def hook_rcpt_parse(self, session: Session, argument: str) -> ParsedPath | Verdict | None:
        """Parse the argument of RCPT, from "TO:" on, or refuse (501)."""

    async def hook_rcpt_pre(
        self, session: Session, path: str, parameters: dict[str, str | None]
    ) -> str | None:
        """Replace the text of the recipient before it is parsed."""

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        """RCPT.  Only an explicit accept takes the recipient; no opinion is 450."""

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        """RCPT, after `hook_rcpt` has accepted the recipient, wherever the plugin's line is.

        For questions whether the recipient exists.  Refused with 550 or 450; an accept only means
        that the plugins below are not asked.
        """

    # --- message ----------------------------------------------------------------------------

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        """DATA, before 354.  Refused with 554 or 451.

        From here to `hook_queue_pre`, plugins may add and remove recipients and replace the
        reverse-path (`tx.add_recipient` and related methods).
        """

    async def hook_data_headers_end(self, tx: Transaction) -> Verdict | None:
        """The header section is complete (`tx.message` has it), and the client is still sending.

        The last moment for `tx.tap`, to get the body as it is read.  Only a refusal that
        disconnects has an effect: 554 or 421 at once.
        """

    async def hook_data_post_headers(self, tx: Transaction) -> Verdict | None:
        """The message is complete; our own header fields have not been added yet.

        For what belongs in Authentication-Results (`tx.auth_results`), and for reading what others
        have said there.  Refused with 552 or 452.
        """

    async def hook_received_line(self, tx: Transaction, info: ReceivedInfo) -> str | None:
        """Supply the value of our Received field."""

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        """The message is complete, with our header fields on top.  Refused with 552 or 452."""

    async def hook_queue_pre(self, tx: Transaction) -> Verdict | None:
        """Before the handover.  Refused with 552 or 452."""

    async def hook_sign(self, tx: Transaction) -> Verdict | None:
        """Put a signature on top of the message: nothing that was there before changes any more.

        All fields are as they will be handed over, tags included.  Not for other changes: they
        would break the signatures of others.  Refused with 552 or 452.
        """

    async def hook_queue(self, tx: Transaction) -> Verdict | None:
        """Hand the message over.  Accept means the next hop has taken responsibility for it.

        Not interrupted when the client goes away.  Refused with 552 or 452; no opinion is 451.  A
        plugin that has certainly not handed the message over returns `unless_another(defer(...))`:
        a queue plugin further down may then take it.

        Where recipients fare differently, `replace(verdict, for_each=...)` has a verdict for each,
        for clients that speak LMTP (`tx.session.lmtp`).  `recipient.success` says whether whoever
        takes the message sends notices of success.
        """

    async def hook_queue_post(self, tx: Transaction) -> Verdict | None:
        """After the handover has succeeded, before the reply.  The result is only logged."""

    # --- other commands ---------------------------------------------------------------------

    async def hook_vrfy(self, session: Session, argument: str) -> Verdict | None:
        """VRFY.  OK is 250, a refusal 554, no opinion 252."""

    async def hook_noop(self, session: Session, argument: str) -> Verdict | None:
        """NOOP.  A refusal is 500."""

    async def hook_rset(self, session: Session) -> Verdict | None:
        """RSET.  The session is shown without its transaction.

        A refusal is 500, and the transaction goes on.
        """

    async def hook_help(self, session: Session, topic: str) -> Verdict | None:
        """HELP.  The text of OK is the help (214); a refusal is 500."""

    async def hook_quit(self, session: Session) -> Verdict | None:
        """QUIT.  The text of OK replaces ours (221)."""

    async def hook_unrecognized_command(
        self, session: Session, verb: str, argument: str
    ) -> Verdict | None:
        """An unknown verb.  OK is 250; a refusal 500, or 521 when disconnecting.

        Lines of other protocols come here as well, and end the connection unless a plugin accepts
        them.  The line may be a password: see `Session.loggable`.
        """

    # --- ends -------------------------------------------------------------------------------

    async def hook_reset_transaction(self, tx: Transaction) -> None:
        """The transaction ends: handed over, refused, RSET, a new MAIL, or the client has left."""

    async def hook_disconnect(self, session: Session) -> None:
        """The session ends; the client may be gone already."""

    async def hook_post_connection(self, session: Session) -> None:
        """The connection is closed."""

    async def hook_deny(self, session: Session, result: HookResult) -> None:
        """Some plugin refused something, or the core a login (as the plugin "core")."""

    async def hook_ok(self, session: Session, result: HookResult) -> None:
        """Some plugin accepted something, or had no opinion."""


#: All hooks in the order of the Perl version, by the name of their method.
HOOK_METHODS: tuple[str, ...] = tuple(name for name in vars(Plugin) if name.startswith("hook_"))


def rejection(kind: RejectType, text: str, status: str = "", reason: str = "") -> Verdict:
    """The verdict that a reject_type stands for; "" is perm."""
    decision, disconnect = _REJECT_TYPES[kind or "perm"]
    return Verdict(decision, text, fit_status(status, decision), disconnect, reason=reason)


def fit_status(status: str, decision: Decision) -> str:
    """The status with the class that fits the decision: x.7.1 is 5.7.1 or 4.7.1."""
    if not status:
        return ""
    if decision is Decision.ACCEPT:
        return "2" + status[1:]
    return ("5" if decision is Decision.DENY else "4") + status[1:]


def password_matches(attempt: AuthAttempt, password: str) -> bool:
    """Whether the client knew the password (validate_password in Perl), in constant time."""
    secret = password.encode()
    if attempt.password is not None:
        return hmac.compare_digest(attempt.password.encode(), secret)
    expected = hmac.new(secret, attempt.challenge, hashlib.md5).hexdigest()
    return hmac.compare_digest(attempt.digest.lower().encode(), expected.encode())
