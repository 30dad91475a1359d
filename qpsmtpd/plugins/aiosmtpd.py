# SPDX-License-Identifier: MIT
"""aiosmtpd: run a handler written for aiosmtpd in the chain.

    aiosmtpd MODULE:CLASS [OPTION ...] [ARGUMENT ...]
    aiosmtpd aiosmtpd.handlers:Mailbox /var/spool/archive
    aiosmtpd site.policy:Policy filter limit=20

CLASS is a handler as https://aiosmtpd.readthedocs.io/ describes them. MODULE is a file in one of
the directories of `plugin_dirs` (site.policy is site/policy.py there), which is read again at every
reload and can import what is installed; or it is itself installed. Put the line before `rcpt_ok`.

What follows the options goes to the handler. A class with `from_cli` gets the words as the command
aiosmtpd would pass them; the constructor of any other class gets them as arguments, NAME=VALUE by
name. They are text, or of the declared type of the parameter (int, float, bool, Path). After a word
`--`, all words are for the handler.

Each handler has a thread with an event loop of its own, as with aiosmtpd's Controller. So it may
block, as aiosmtpd's own Mailbox, Message, Debugging and Proxy do: only the sessions that wait for
it are held up. Hooks need not be coroutines, but slow ones should be: a handler never runs two
pieces of code at once. A hook that takes longer than `hook_timeout` is given up, and its session
gets a new server, session and envelope object.

These are the hooks, and what a 2xx from each means. A 4xx or 5xx refuses, with the handler's code
and text; MISSING means no opinion; 421 and 521 close the connection.

- handle_HELO, handle_EHLO (with 4 or 5 arguments): no opinion, so that other plugins are asked. The
  reply begins with our greeting; keywords may be added and taken away. `session.host_name` must be
  set, and may be set to another name; if it is not, the client has to say HELO again.
- handle_MAIL: accepted, unless a plugin further down refuses. `envelope.mail_from` must be set, and
  may be another address. The parameters of MAIL stay, whatever becomes of `mail_options`; what is
  added there is added.
- handle_RCPT: no opinion. The plugins further down, such as `rcpt_ok`, decide about the recipient:
  most handlers accept any domain, which would make an open relay. With the option
  `accept_recipients` the handler decides. It must append to `envelope.rcpt_tos`, and may append
  another address; with `accept_recipients`, several. If it appends none the client gets 451, as in
  aiosmtpd the recipient would be lost after a 250.
- handle_DATA: the message is delivered, and no other plugin is asked to do so. It has our Received
  field, and is in memory as a whole. With the option `filter` it is called before the handover
  (hook data_post), where 2xx means no opinion, and what it changes in `envelope.content`,
  `mail_from` and `rcpt_tos` is handed over.
- handle_RSET, handle_NOOP, handle_VRFY, handle_QUIT: the reply.
- handle_AUTH, auth_MECHANISM and authenticators: the client is logged in and may relay. A 2xx
  does not suffice: `session.authenticated` must be True, or a mechanism must have returned success.
  A mechanism that the handler has is left to it alone; LOGIN and PLAIN are aiosmtpd's if there is
  an authenticator or handle_AUTH. The setting `tls_before_auth` applies.
- handle_STARTTLS: called with the first command after TLS began. False refuses all that follows.
- handle_PROXY: called when a proxy of `proxy_networks` has passed the connection on. False closes
  it. As in aiosmtpd, `session.peer` is then the proxy, and `session.proxy_data` has the client (as
  in a header of version 1); a handler without this hook sees the client in `session.peer`.
- handle_exception: its status is the answer to a fault, if it is a 4xx or 5xx.

Everything else is a fault of the handler: an exception, None, no status, a 2xx after a fault. The
client gets 451 4.3.0, and the log says why. A message is never accepted without a 2xx from
handle_DATA; so a handler without it (aiosmtpd's Sink) accepts none, where aiosmtpd would throw them
away. aiosmtpd's Proxy says 250 even if its next hop took nothing, or not for everybody; here that
is a 451. For everyday use `queue/smtp-forward` is better.

`server` is an aiosmtpd.smtp.SMTP, and its documented attributes and methods work, within limits.
`transport` knows the addresses and can be closed. `push` adds lines to the reply. Nothing can be
read except with `challenge_auth`. `tls_context` is None: TLS belongs to the plugin tls. The methods
that do the daemon's work (smtp_MAIL, connection_made and the like) raise an error that says so.

With `server=MODULE:CLASS`, a subclass of aiosmtpd.smtp.SMTP, the class answers the commands that it
adds (smtp_PING), and HELP, except HELP about a command of ours; its auth_ methods, _create_session
and _create_envelope are used. A class that changes a command of aiosmtpd's is an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from qpsmtpd.api import (
    AuthExchange,
    Challenge,
    ConfigError,
    Note,
    Plugin,
    Recipient,
    ReversePath,
    Session,
    Transaction,
    Verdict,
    Verification,
    deny,
    opt,
)
from qpsmtpd.handlers import decisions, loading
from qpsmtpd.handlers.facts import EnvelopeView, options_of, view_of
from qpsmtpd.handlers.handlerserver import HandlerAnswer, HandlerServer, Setup
from qpsmtpd.handlers.runner import Runner

T = TypeVar("T")

#: More than any message has: handlers get it as a whole.
WHOLE = 1 << 62
#: The answer of a handler that was not asked.
NO_ANSWER = HandlerAnswer(None, None, None, (), (), False, "", False)


@dataclass(frozen=True, kw_only=True)
class AiosmtpdOptions:
    """Options of aiosmtpd."""

    handler: str = opt(positional=True, doc="The handler, as MODULE:CLASS.")
    filter_: bool = opt(
        False, flag=True, doc="handle_DATA does not deliver: it filters messages before that."
    )
    accept_recipients: bool = opt(
        False, flag=True, doc="A 2xx from handle_RCPT accepts the recipient, in any domain."
    )
    decode_data: bool = opt(False, flag=True, doc="envelope.content is text, not bytes.")
    authenticator: str = opt(
        "",
        doc="MODULE:NAME of a function (server, session, envelope, mechanism, auth_data), or "
        "of a class whose instances can be called like that. It decides about LOGIN and PLAIN.",
    )
    auth_callback: str = opt(
        "", doc="MODULE:NAME of a function (mechanism, login, password), the older form of that."
    )
    auth_required: bool = opt(
        False, flag=True, doc="MAIL is refused until the client has logged in."
    )
    server: str = opt(
        "", doc="MODULE:CLASS of a subclass of aiosmtpd.smtp.SMTP with more commands."
    )
    arguments: str = opt("", rest=True, doc="The arguments of the handler.")

    def words(self) -> list[str]:
        """The words for the handler."""
        words = self.arguments.split()
        return words[1:] if words[:1] == ["--"] else words

    def check(self) -> Iterable[str]:
        if self.authenticator and self.auth_callback:
            yield "give authenticator or auth_callback, not both"


class Aiosmtpd(Plugin[AiosmtpdOptions]):
    """Asks a handler in its own thread, and acts on what it says."""

    may_accept_recipients = True

    async def start(self) -> None:
        self._server_note = Note[HandlerServer](f"{self.name}.server")
        self._exchange_note = Note[AuthExchange](f"{self.name}.exchange")
        self._hooks: frozenset[str] = frozenset()
        self._commands: frozenset[str] = frozenset()
        self._mechanisms: tuple[str, ...] = ()
        self._ehlo_replaces = False
        self._runner: Runner | None = None
        cls = loading.find_class(self.options.handler, self.services.plugin_dirs)
        loading.arguments_for(cls, self.options.words())
        self._setup = self._set_up(cls)
        for name in loading.unknown_hooks(cls, self._setup.server_class):
            self.log.warning(
                "%s.%s is not a hook of aiosmtpd, and is never called", cls.__name__, name
            )
        if not self.services.check_only:
            await self._begin(cls)

    def _set_up(self, cls: type[Any]) -> Setup:
        directories, options = self.services.plugin_dirs, self.options
        more: dict[str, Any] = {}
        if options.server:
            more["server_class"] = loading.find_server(options.server, directories)
        if options.authenticator:
            more["authenticator"] = loading.find_judge(options.authenticator, directories, 5)
        if options.auth_callback:
            more["auth_callback"] = loading.find_judge(options.auth_callback, directories, 3)
        return Setup(
            handler=cls,
            hostname=self.services.me,
            data_size_limit=self.services.databytes or None,
            decode_data=options.decode_data,
            auth_required=options.auth_required,
            **more,
        )

    async def _begin(self, cls: type[Any]) -> None:
        """Start the thread, and make the handler and a server in it, to see what they offer."""
        # aiosmtpd warns about an attribute of its own at every login.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        self._runner = Runner(self.name)
        try:
            handler = await self._runner.run(_over_there(loading.make, cls, self.options.words()))
            self._setup = replace(self._setup, handler=handler)
            server = await self._runner.run(self._new_server())
        except BaseException:
            await self._runner.stop()
            raise
        self._hooks = server.hooks
        self._mechanisms = tuple(server.mechanisms)
        self._ehlo_replaces = server.ehlo_replaces
        self._commands = loading.own_commands(self._setup.server_class)

    async def _new_server(self) -> HandlerServer:
        try:
            return self._setup.new_server(asyncio.get_running_loop())
        except Exception as error:
            raise ConfigError("", f"aiosmtpd cannot use {self.options.handler}: {error}") from error

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.stop()

    def sasl_mechanisms(self) -> Sequence[str]:
        return self._mechanisms

    # --- connection --------------------------------------------------------------------------

    async def hook_connect(self, session: Session) -> Verdict | None:
        if not self._hooks & {"PROXY", "STARTTLS"}:
            return None
        view = view_of(session)
        admitted = await self._run(session, lambda server: server.admit(view))
        return None if admitted else deny("Connection refused")

    async def hook_helo(self, session: Session, host: str) -> Verdict | None:
        verdict, answer = await self._ask(session, "HELO", host)
        if verdict is None or not verdict.accepted:
            return verdict
        decisions.after_hello(session, answer)
        return None

    async def hook_ehlo(self, session: Session, host: str) -> Verdict | None:
        planned = [f"250-{line}" for line in (self.services.me, *session.capabilities)]
        verdict, answer = await self._ask(session, "EHLO", host, [*planned, "250 HELP"])
        if verdict is None or not verdict.accepted:
            return verdict
        decisions.after_hello(session, answer)
        decisions.after_ehlo(session, verdict, replaces=self._ehlo_replaces)
        return None

    async def hook_disconnect(self, session: Session) -> None:
        server = session.notes.pop(self._server_note)
        begun = session.notes.pop(self._exchange_note)
        if server is None or self._runner is None:
            return
        if begun is None:
            server.end()
        else:
            self._runner.begin(_over_there(server.end))

    # --- authentication ----------------------------------------------------------------------

    async def hook_auth_exchange(
        self, session: Session, exchange: AuthExchange
    ) -> Challenge | Verdict | None:
        if exchange.mechanism not in self._mechanisms:
            return None
        said = (exchange.response or b"").decode("utf-8", "surrogateescape")
        if session.notes.get(self._exchange_note) is exchange:
            answer = await self._run(session, lambda server: server.go_on(said))
        else:
            session.notes[self._exchange_note] = exchange
            view, name = view_of(session), exchange.mechanism
            answer = await self._run(
                session, lambda server: server.begin_exchange(view, name, said)
            )
        if isinstance(answer, str):
            return Challenge(answer)
        return decisions.after_auth(exchange, answer)

    # --- envelope ----------------------------------------------------------------------------

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        if not self._asks("MAIL"):
            return None
        shown = _shown(tx)
        options = list(shown.mail_options)
        verdict, answer = await self._ask(tx.session, "MAIL", shown.mail_from, options)
        if verdict is None or not verdict.accepted:
            return verdict
        return decisions.after_mail(tx, shown, verdict, answer)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if not self._asks("RCPT"):
            return None
        shown, accepting = _shown(tx), self.options.accept_recipients
        options = list(options_of(recipient.parameters))
        verdict, answer = await self._ask(tx.session, "RCPT", str(recipient), options)
        if verdict is None or not verdict.accepted:
            return verdict
        decisions.after_rcpt(tx, recipient, shown, answer, several=accepting)
        return verdict if accepting else None

    # --- message -----------------------------------------------------------------------------

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if not self.options.filter_:
            return None
        shown = _shown(tx)
        verdict, answer = await self._deliver(tx)
        if verdict is None or not verdict.accepted:
            return verdict
        await decisions.after_filter(tx, shown, answer)
        return None

    async def knows_recipient(
        self, recipient: Recipient, sender: ReversePath
    ) -> Verification | None:
        delivers = "DATA" in self._hooks and not self.options.filter_
        return await super().knows_recipient(recipient, sender) if delivers else None

    def would_take(self, tx: Transaction) -> bool:
        return "DATA" in self._hooks and not self.options.filter_

    async def hook_queue(self, tx: Transaction) -> Verdict | None:
        if self.options.filter_:
            return None
        verdict, _ = await self._deliver(tx)
        return verdict

    async def _deliver(self, tx: Transaction) -> tuple[Verdict | None, HandlerAnswer]:
        if "DATA" not in self._hooks:
            return None, NO_ANSWER
        assert tx.message is not None
        message = await tx.message.read(WHOLE)
        view = view_of(tx.session)
        answer = await self._run(tx.session, lambda server: server.deliver(view, message))
        return decisions.decide("handle_DATA", answer), answer

    # --- other commands ----------------------------------------------------------------------

    async def hook_vrfy(self, session: Session, argument: str) -> Verdict | None:
        address = argument.removeprefix("<").removesuffix(">")
        return await self._reply(session, "VRFY", address)

    async def hook_noop(self, session: Session, argument: str) -> Verdict | None:
        return await self._reply(session, "NOOP", argument or None)

    async def hook_rset(self, session: Session) -> Verdict | None:
        return await self._reply(session, "RSET")

    async def hook_quit(self, session: Session) -> Verdict | None:
        return await self._reply(session, "QUIT")

    async def hook_help(self, session: Session, topic: str) -> Verdict | None:
        if not self._commands or topic.upper() not in {"", *self._commands}:
            return None
        return await self._reply_by_server(session, "HELP", topic)

    async def hook_unrecognized_command(
        self, session: Session, verb: str, argument: str
    ) -> Verdict | None:
        if verb.upper() not in self._commands:
            return None
        return await self._reply_by_server(session, verb.upper(), argument)

    # --- the way to the handler --------------------------------------------------------------

    async def _reply(self, session: Session, command: str, *arguments: object) -> Verdict | None:
        verdict, _ = await self._ask(session, command, *arguments)
        return verdict

    async def _reply_by_server(self, session: Session, verb: str, argument: str) -> Verdict | None:
        view = view_of(session)
        answer = await self._run(session, lambda server: server.run_command(view, verb, argument))
        return decisions.decide(f"smtp_{verb}", answer)

    def _asks(self, command: str) -> bool:
        """Whether there is anything to call: a hook, or what may refuse TLS or require AUTH."""
        hooks = self._hooks
        if command in hooks or "STARTTLS" in hooks:
            return True
        return self.options.auth_required and command == "MAIL"

    async def _ask(
        self, session: Session, command: str, *arguments: object
    ) -> tuple[Verdict | None, HandlerAnswer]:
        """What the handler's hook of a command says and leaves; None without such a hook."""
        if not self._asks(command):
            return None, NO_ANSWER
        view = view_of(session)
        answer = await self._run(session, lambda server: server.ask(view, command, *arguments))
        return decisions.decide(f"handle_{command}", answer), answer

    async def _run(
        self, session: Session, step: Callable[[HandlerServer], Coroutine[Any, Any, T]]
    ) -> T:
        """Take a step of the session's server, in the thread of the handler."""
        assert self._runner is not None
        server = session.notes.get(self._server_note)
        if server is None:
            server = await self._runner.run(self._new_server())
            session.notes[self._server_note] = server
        try:
            return await self._runner.run(step(server))
        except asyncio.CancelledError:
            # Given up, but maybe still running: it must not affect what comes next.
            session.notes.pop(self._server_note)
            raise


async def _over_there(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in the thread in which this coroutine runs."""
    return function(*arguments)


def _shown(tx: Transaction) -> EnvelopeView:
    shown = view_of(tx.session).envelope
    assert shown is not None
    return shown
