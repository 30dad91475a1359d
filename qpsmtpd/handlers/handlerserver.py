# SPDX-License-Identifier: MIT
"""HandlerServer: the `server` of a handler, a real aiosmtpd SMTP without a connection.

It is made by aiosmtpd's own `__init__`, once per session, and lives in the thread of the handler.
These run as in aiosmtpd: `push`, `challenge_auth`, `check_helo_needed`, `check_auth_needed`,
`smtp_AUTH` with `auth_PLAIN`, `auth_LOGIN` and the authenticators, `smtp_HELP`, and the commands
that a subclass adds.  What stands for the connection, or for the core's part of a command, is not
run here, and says so.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from aiosmtpd.smtp import MISSING, SMTP, LoginPassword

from qpsmtpd.handlers.facts import EnvelopeView, SessionView
from qpsmtpd.handlers.standins import AskedClient, ClosableTransport, PushedLines, proxy_data
from qpsmtpd.handlers.statuses import HandlerError, read_status

log = logging.getLogger(__name__)

#: aiosmtpd's methods that stand for the connection or for the core's part of a command.
NOT_HERE = (
    *("connection_made", "connection_lost", "data_received", "eof_received", "_handle_client"),
    *("smtp_MAIL", "smtp_RCPT", "smtp_DATA", "smtp_RSET", "smtp_QUIT", "smtp_STARTTLS"),
    *("smtp_HELO", "smtp_EHLO"),
)

_INSECURE = "554 5.7.0 Command refused due to lack of security"
#: How many envelopes a session keeps while a command that would end their transaction is refused.
_MOST_SET_ASIDE = 100
#: The mechanisms that aiosmtpd implements itself.
_BUILT_IN = ("LOGIN", "PLAIN")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all servers of a handler are made with."""

    handler: Any
    server_class: type[SMTP] = SMTP
    hostname: str = ""
    data_size_limit: int | None = None
    decode_data: bool = False
    auth_required: bool = False
    authenticator: Callable[..., Any] | None = None
    auth_callback: Callable[..., Any] | None = None

    @property
    def logs_in(self) -> bool:
        """Whether anybody would judge a login by one of aiosmtpd's own mechanisms."""
        judges = (
            self.authenticator,
            self.auth_callback,
            getattr(self.handler, "handle_AUTH", None),
        )
        return any(judge is not None for judge in judges)

    def new_server(self, loop: asyncio.AbstractEventLoop) -> HandlerServer:
        """A server for one session.  Raises what aiosmtpd raises when it cannot use the handler."""
        return self._class(self, loop)

    @functools.cached_property
    def _class(self) -> type[HandlerServer]:
        if self.server_class is SMTP:
            return HandlerServer
        return type(self.server_class.__name__, (HandlerServer, self.server_class), {})


@dataclass(frozen=True, slots=True)
class HandlerAnswer:
    """The outcome of a hook: what it said, and how it left session and envelope.

    said: what it pushed, and what it returned; None when it has no opinion (MISSING).
    content: the message, if the handler changed it.
    closes: it closed the transport.
    """

    said: tuple[object, ...] | None
    host_name: object
    mail_from: object
    mail_options: tuple[object, ...]
    rcpt_tos: tuple[object, ...]
    authenticated: bool
    user: str
    closes: bool
    content: object = None


class HandlerServer(SMTP):  # type: ignore[misc, unused-ignore]
    """A server as a handler sees it.  Every public coroutine that takes a view is one step."""

    #: Attributes of aiosmtpd's SMTP, whose types do not matter here.
    _reader: Any
    _writer: Any
    session: Any
    envelope: Any
    transport: Any
    #: The id of the transaction that the envelope is about, and the message that was put there.
    _shown: str
    _content: object
    #: The envelopes of transactions that may come back, by their ids.
    _set_aside: OrderedDict[str, Any]

    def __init__(self, setup: Setup, loop: asyncio.AbstractEventLoop) -> None:
        # aiosmtpd has one for all servers, and clears it in every __init__.
        self.command_size_limits = collections.defaultdict(lambda: self.command_size_limit)
        super().__init__(
            setup.handler,
            data_size_limit=setup.data_size_limit,
            enable_SMTPUTF8=True,
            decode_data=setup.decode_data,
            hostname=setup.hostname,
            ident="qpsmtpd",
            # The setting tls_before_auth decides; aiosmtpd would warn about every session.
            auth_require_tls=False,
            auth_exclude_mechanism=() if setup.logs_in else _not_of(setup),
            authenticator=setup.authenticator,
            auth_callback=setup.auth_callback,
            loop=loop,
        )
        self._auth_required = setup.auth_required
        self.pushed: list[bytes] = []
        self._client = AskedClient()
        self._reader, self._writer = self._client, PushedLines(self.pushed)
        self.session = self._create_session()
        self.transport = ClosableTransport()
        self._tls_refused = False
        self._fresh = True
        self._exchange: asyncio.Task[HandlerAnswer] | None = None
        self._given_up: bytes | None = None  # the reply to a client that gave up
        self._set_aside = OrderedDict()
        self._begin_envelope()

    # --- steps -------------------------------------------------------------------------------

    async def admit(self, view: SessionView) -> bool:
        """Call handle_PROXY if a proxy passed the connection on; whether it may go on."""
        await self._adopt(view, "PROXY")
        if view.proxy is None or "PROXY" not in self._handle_hooks:
            return True
        admitted = await self._call_handler_hook("PROXY", self.session.proxy_data)
        return admitted is not MISSING and bool(admitted)

    async def ask(self, view: SessionView, command: str, *arguments: object) -> HandlerAnswer:
        """Call the handler's hook of this command."""
        return await self._step(view, command, functools.partial(self._asked, command, *arguments))

    async def deliver(self, view: SessionView, message: bytes) -> HandlerAnswer:
        """Call handle_DATA with this message."""
        try:
            return await self._step(view, "DATA", functools.partial(self._delivered, message))
        finally:
            # As aiosmtpd does; it also lets go of the message.
            self._begin_envelope()
            self._set_aside.clear()

    async def run_command(self, view: SessionView, verb: str, argument: str) -> HandlerAnswer:
        """Run the method `smtp_VERB` of the server's class."""
        method = self._smtp_methods[verb]
        return await self._step(view, verb, functools.partial(_pushing, method, argument or None))

    async def begin_exchange(
        self, view: SessionView, mechanism: str, initial: str
    ) -> str | HandlerAnswer:
        """Run AUTH up to its first challenge, which is returned, or to its end."""
        self.end_exchange()
        self._given_up = None
        self._client.may_be_asked = True
        argument = f"{self.mechanisms[mechanism]} {initial}".rstrip()
        work = self._step(view, "AUTH", functools.partial(_pushing, self.smtp_AUTH, argument))
        self._exchange = asyncio.get_running_loop().create_task(work)
        return await self._next_challenge(self._exchange)

    async def go_on(self, response: str) -> str | HandlerAnswer:
        """Tell AUTH what the client answered; the next challenge, or the end."""
        if self._exchange is None:
            raise HandlerError("has no login under way")
        self._client.say(response.encode("utf-8", "surrogateescape") + b"\r\n")
        return await self._next_challenge(self._exchange)

    def end_exchange(self) -> None:
        """Forget the exchange that is under way, if there is one."""
        if self._exchange is not None:
            self._exchange.cancel()
            self._exchange = None
            self._client = self._reader = AskedClient()

    def end(self) -> None:
        """The session is over: let go of what leads back here, which takes a garbage collection.

        A handler may have kept the server; session and envelope stay as they are.
        """
        self.end_exchange()
        self._smtp_methods, self._auth_methods = {}, {}
        self.command_size_limits = {}
        self._client_connected_cb = self._stream_reader_wr = None

    @property
    def hooks(self) -> frozenset[str]:
        """The commands that the handler has a hook for."""
        return frozenset(self._handle_hooks)

    @property
    def ehlo_replaces(self) -> bool:
        """Whether handle_EHLO is given the lines of the reply, and returns others."""
        return bool(self._ehlo_hook_ver == "new")

    @property
    def mechanisms(self) -> Mapping[str, str]:
        """The mechanisms of AUTH in capitals, and how aiosmtpd spells them."""
        return {name.upper(): name for name in self._auth_methods}

    # --- what all steps share ----------------------------------------------------------------

    async def _step(
        self, view: SessionView, command: str, call: Callable[[], Awaitable[object]]
    ) -> HandlerAnswer:
        self.pushed.clear()
        try:
            await self._adopt(view, command)
            status = _INSECURE if self._tls_refused and command != "QUIT" else await call()
        except ConnectionResetError:
            # aiosmtpd takes it for the client's going away, and asks nobody about it.
            raise
        except Exception as error:
            status = await self._status_of_fault(error)
        return self._answer(status if command == "EHLO" or not _is_list(status) else None)

    def _begin_envelope(self) -> None:
        cast("Any", super())._set_rset_state()
        self._shown = ""
        self._content = None

    async def _asked(self, command: str, *arguments: object) -> object:
        if command in ("MAIL", "RCPT", "VRFY") and await self.check_auth_needed(command):
            return _PUSHED
        return await self._call_handler_hook(command, *arguments)

    async def _delivered(self, message: bytes) -> object:
        envelope = self.envelope
        shown: str | bytes = message
        if self._decode_data:
            shown = message.decode("utf-8", "surrogateescape")
        envelope.content, envelope.original_content = shown, message
        self._content = shown
        return await self._call_handler_hook("DATA")

    async def _call_handler_hook(self, command: str, *args: Any) -> Any:
        """As aiosmtpd does it, but a hook need not be a coroutine: nobody else waits for it."""
        hook = self._handle_hooks.get(command)
        if hook is None:
            return MISSING
        if command == "EHLO" and not self.ehlo_replaces:
            args = args[:1]
        status = hook(self, self.session, self.envelope, *args)
        return await status if inspect.isawaitable(status) else status

    async def _status_of_fault(self, error: Exception) -> object:
        """What the handler says about a fault of its own; raises the fault if it says nothing."""
        self.pushed.clear()
        if not hasattr(self.event_handler, "handle_exception"):
            raise error
        try:
            status = await self.handle_exception(error)
            code = read_status([status]).code
        except Exception:
            log.exception("fault in handle_exception")
            raise error from None
        if code < 400:
            log.error("handle_exception said %r, not a 4xx or 5xx status", status)
            raise error
        log.error("fault that handle_exception answers with %r", status, exc_info=error)
        return status

    async def handle_exception(self, error: Exception) -> Any:
        """Ask the handler, whose method is a coroutine (as in the code) or not (as documented)."""
        status = self.event_handler.handle_exception(error)
        return await status if inspect.isawaitable(status) else status

    def _answer(self, status: object) -> HandlerAnswer:
        said: tuple[object, ...] = tuple(self.pushed)
        if status is not MISSING and status is not _PUSHED:
            said += tuple(cast("Any", status)) if _is_list(status) else (status,)
        session, envelope = self.session, self.envelope
        changed = envelope.content if envelope.content is not self._content else None
        return HandlerAnswer(
            said=None if status is MISSING and not said else said,
            host_name=session.host_name,
            mail_from=envelope.mail_from,
            mail_options=tuple(envelope.mail_options),
            rcpt_tos=tuple(envelope.rcpt_tos),
            authenticated=session.authenticated is True or session._login_data is not None,
            user=_user_of(session),
            closes=self.transport.is_closing(),
            content=changed,
        )

    # --- ours → theirs -----------------------------------------------------------------------

    async def _adopt(self, view: SessionView, command: str) -> None:
        """Bring session, envelope and transport up to date."""
        started_tls = view.ssl is not None and self.session.ssl is None and not self._fresh
        if started_tls:
            # RFC 3207 section 4.2, and as aiosmtpd does it: what was before TLS is forgotten.
            self.session = self._create_session()
            self._shown = ""
            self._set_aside.clear()
        self._fresh = False
        session = self.session
        session.ssl = None if view.ssl is None else dict(view.ssl)
        # A hook of HELO or EHLO says itself that the name is good.
        by_hook = command in ("HELO", "EHLO") and command in self._handle_hooks
        session.host_name = None if by_hook else view.host_name
        session.extended_smtp = view.extended_smtp
        self.transport.info = {"peername": view.peer, "sockname": view.local, **(view.ssl or {})}
        if view.user and not session.authenticated:
            session.authenticated = True
            user = view.user.encode("utf-8", "surrogateescape")
            session.auth_data, session._login_data = LoginPassword(user, b""), user
        await self._adopt_addresses(view)
        self._adopt_envelope(view.envelope, command)
        if started_tls:
            await self._tell_of_tls()

    async def _adopt_addresses(self, view: SessionView) -> None:
        session = self.session
        if view.proxy is None:
            session.peer = view.peer
            return
        if session.proxy_data is None:
            session.proxy_data = await proxy_data(view.peer, view.local)
        # A handler with a hook for proxies expects the client in proxy_data only, as in aiosmtpd.
        session.peer = view.proxy if "PROXY" in self._handle_hooks else view.peer

    def _adopt_envelope(self, shown: EnvelopeView | None, command: str) -> None:
        # A hook of MAIL sets mail_from and mail_options itself.
        by_hook = command == "MAIL" and command in self._handle_hooks
        if self._shown != (shown.id if shown else ""):
            self._set_envelope_aside()
            self._begin_envelope()
            if shown is not None:
                self._show(shown, by_hook=by_hook)
        if shown is None:
            return
        envelope = self.envelope
        envelope.smtp_utf8 = shown.smtp_utf8
        if not by_hook:
            envelope.mail_from = shown.mail_from
        if envelope.rcpt_tos != list(shown.rcpt_tos):
            envelope.rcpt_tos = list(shown.rcpt_tos)
        if "RCPT" not in self._handle_hooks:
            envelope.rcpt_options = list(shown.rcpt_options)

    def _show(self, shown: EnvelopeView, *, by_hook: bool) -> None:
        """Take the envelope of this transaction up again, or begin to fill a new one."""
        self._shown = shown.id
        earlier = self._set_aside.pop(shown.id, None)
        if earlier is not None:
            self.envelope = earlier
        elif not by_hook:
            self.envelope.mail_options.extend(shown.mail_options)

    def _set_envelope_aside(self) -> None:
        """Keep the envelope, with what the handler has put there.

        A second MAIL, an EHLO or an RSET is asked about before it ends the transaction; if it is
        refused, the transaction goes on (RFC 5321 section 4.1.4).
        """
        if not self._shown:
            return
        self._set_aside[self._shown] = self.envelope
        if len(self._set_aside) > _MOST_SET_ASIDE:
            self._set_aside.popitem(last=False)

    async def _tell_of_tls(self) -> None:
        """Call handle_STARTTLS; unless it says yes, everything is refused from here on."""
        if "STARTTLS" in self._handle_hooks:
            self._tls_refused = True
            self._tls_refused = not await self._call_handler_hook("STARTTLS")

    # --- the exchange of AUTH ----------------------------------------------------------------

    async def _next_challenge(self, exchange: asyncio.Task[HandlerAnswer]) -> str | HandlerAnswer:
        waits = asyncio.get_running_loop().create_task(self._client.waited_for())
        try:
            await asyncio.wait((exchange, waits), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.end_exchange()
            raise
        finally:
            waits.cancel()
        if self._given_up is not None:
            return self._end_given_up(exchange, self._given_up)
        if exchange.done():
            self.end_exchange()
            return exchange.result()
        return self._challenge()

    def _challenge(self) -> str:
        pushed = tuple(self.pushed)
        self.pushed.clear()
        if len(pushed) != 1 or not pushed[0].startswith(b"334 "):
            self.end_exchange()
            raise HandlerError(f"waits for the client, having said {pushed!r}, not a 334")
        return pushed[0][4:].decode("ascii", "replace")

    async def challenge_auth(self, *arguments: Any, **more: Any) -> Any:
        """As in aiosmtpd; but a client that has given up stays so, whatever the handler does."""
        response = await super().challenge_auth(*arguments, **more)
        if response is MISSING and self._given_up is None:
            self._given_up = self.pushed[-1]
        return response

    def _end_given_up(self, exchange: asyncio.Task[HandlerAnswer], refusal: bytes) -> HandlerAnswer:
        if exchange.done() and not exchange.cancelled():
            exchange.exception()  # of a handler that does not expect MISSING: no fault of ours
        self.end_exchange()
        return replace(self._answer(MISSING), said=(refusal,), authenticated=False)

    # --- for handlers ------------------------------------------------------------------------

    async def push(self, status: Any) -> None:
        """As in aiosmtpd; but it may repeat what a client said, whatever that is."""
        if isinstance(status, str):
            status = status.encode("utf-8", "surrogateescape")
        await super().push(status)

    @property
    def authenticated(self) -> bool:
        """Whether the client has logged in."""
        return bool(self.session.authenticated)

    @property
    def login_data(self) -> Any:
        """What the older way of authentication knows about the client."""
        return self.session._login_data


#: A step said all that it has to say by pushing it.
_PUSHED = object()


async def _pushing(method: Callable[..., Coroutine[Any, Any, Any]], argument: str | None) -> object:
    await method(argument)
    return _PUSHED


def _not_of(setup: Setup) -> tuple[str, ...]:
    """aiosmtpd's mechanisms that would refuse everybody: neither handler nor server has them."""
    return tuple(
        name
        for name in _BUILT_IN
        if not hasattr(setup.handler, f"auth_{name}")
        and getattr(setup.server_class, f"auth_{name}") is getattr(SMTP, f"auth_{name}")
    )


def _is_list(status: object) -> bool:
    return isinstance(status, list | tuple)


def _user_of(session: Any) -> str:
    """Who the client is: the login of auth_data, or auth_data, or that of the older way."""
    data = session.auth_data
    for user in (getattr(data, "login", None), data, session._login_data):
        if isinstance(user, bytes):
            user = user.decode("utf-8", "replace")
        if isinstance(user, str) and user:
            return user
    return "unknown"


def _not_here(name: str) -> Callable[..., Any]:
    original: Callable[..., Any] = getattr(SMTP, name)

    @functools.wraps(original)
    def refuse(*_args: object, **_kwargs: object) -> Any:
        raise NotImplementedError(
            f"server.{name}: the conversation with the client is qpsmtpd's; a handler replies with "
            "what its hooks return, and with push in a hook"
        )

    return refuse


for _name in NOT_HERE:
    setattr(HandlerServer, _name, _not_here(_name))
