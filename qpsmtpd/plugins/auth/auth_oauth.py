# SPDX-License-Identifier: MIT
"""auth/auth_oauth: let users in with tokens of OAuth 2.0, which an authorization server checks.

    auth/auth_oauth URL client_id ID secret_file FILE

    auth/auth_oauth https://login.example.org/realms/mail/protocol/openid-connect/token/introspect
        client_id=qpsmtpd secret_file=oauth_secret scope=mail claim=email

(on one line). The user's program gets a token from the authorization server (Keycloak and the
like), and says it in place of a password: OAUTHBEARER (RFC 7628), and XOAUTH2 as well with the
option `xoauth2`. The plugin asks the server's introspection endpoint (RFC 7662) at URL, as the
client `client_id` with the secret in `secret_file`. Both mechanisms are offered under TLS only,
whatever tls_before_auth says.

A token lets in the user it names (`claim`), if it is active, has not expired, has all of `scope`,
and, with `audience`, is for that. If the user's program names a user as well, it has to be the
same. A server gives tokens for other purposes too: name a scope or an audience that mail alone has.
With `domain`, names without a domain are completed.

What the server said is remembered for `cache`: a token that it has withdrawn meanwhile still lets
in. If it is down, does not answer within `timeout`, or talks nonsense, the answer is 454 4.7.0, and
the client tries again later; while it is known to be down, nobody waits for it. Everything else is
a failed login: the program is told why (invalid_token, insufficient_scope, invalid_request), and
`configuration`, a URL, where a user gets a token. No token is logged.

This is new: the Perl version had no such plugin.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import (
    AuthExchange,
    Breaker,
    Challenge,
    Domain,
    Finding,
    Plugin,
    Seconds,
    Session,
    System,
    Verdict,
    accept,
    address_key,
    opt,
)
from qpsmtpd.logins import (
    WRONG,
    LoginOptions,
    ScannerError,
    ScannerWire,
    check_back_end,
    connected,
    context_of,
    password_of,
    temporary,
    within,
)
from qpsmtpd.logins.bearer import (
    OAUTHBEARER,
    XOAUTH2,
    Bearer,
    Problem,
    parse_bearer,
    problem_text,
)
from qpsmtpd.logins.introspection import (
    Endpoint,
    Grant,
    check_endpoint,
    introspect,
    parse_endpoint,
)

#: Tokens that each worker remembers; then it forgets the one that was used last of all.
MOST_TOKENS = 10_000

_GIVEN_UP = b"*"


@dataclass(frozen=True, kw_only=True)
class AuthOauthOptions(LoginOptions):
    """Options of auth/auth_oauth."""

    url: str = opt(positional=True, check=check_endpoint, doc="The introspection endpoint.")
    client_id: str = opt(doc="The name that the server knows us by.")
    secret_file: Path = opt(doc="File whose first line is our secret; mode 0640 or less.")
    claim: str = opt("username", doc="What names the user: username, email, sub or another claim.")
    domain: Domain | None = opt(None, doc="The domain of names that have none.")
    scope: tuple[str, ...] = opt((), doc="The scopes that a token needs, all of them.")
    audience: str = opt("", doc="Whom a token has to be for; without it, anybody.")
    cache: Seconds = opt(
        Seconds(60), least=0, most=3600, doc="How long an answer holds; 0 asks each time."
    )
    xoauth2: bool = opt(False, doc="Whether XOAUTH2 is offered as well.")
    configuration: str = opt("", doc="The URL that a refused program is told, for new tokens.")
    ca: Path | None = opt(
        None, doc="Certificates of who vouches for the server; without it, those of the system."
    )


class _InvalidTokenError(Exception):
    """The token does not let the client in."""

    def __init__(self, problem: Problem, reason: str) -> None:
        super().__init__(reason)
        self.problem = problem


class AuthOauth(Plugin[AuthOauthOptions]):
    """Logins by tokens, in the opinion of an authorization server."""

    async def start(self) -> None:
        self._endpoint, self._context = await asyncio.to_thread(self._read)
        self._breaker = Breaker(self.services.clock, "introspection", str(self._endpoint.place))
        #: By the token's digest: what it is worth, and until when that holds.
        self._known: OrderedDict[bytes, tuple[Grant, float]] = OrderedDict()

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the endpoint answers, and knows us."""
        endpoint, context = self._read()

        async def greet(wire: ScannerWire) -> str:
            await introspect(wire, endpoint, context, "qpsmtpd-doctor", self.options.claim)
            return "an introspection endpoint"

        yield await check_back_end(system, self.name, endpoint.place, greet)

    def sasl_mechanisms(self) -> Sequence[str]:
        return (OAUTHBEARER, XOAUTH2) if self.options.xoauth2 else (OAUTHBEARER,)

    async def hook_auth_exchange(
        self, session: Session, exchange: AuthExchange
    ) -> Challenge | Verdict | None:
        if exchange.mechanism not in self.sasl_mechanisms():
            return None
        if exchange.refused:
            return WRONG
        if exchange.response == _GIVEN_UP:
            return None
        if exchange.response is None:
            return Challenge("")
        try:
            exchange.user = await self._user(exchange)
        except ScannerError as error:
            return temporary(str(error))
        except _InvalidTokenError as error:
            self.log.info("refused mechanism=%s: %s", exchange.mechanism, error)
            exchange.refused = True
            return Challenge.of(self._told(exchange.mechanism, error.problem))
        return accept()

    async def _user(self, exchange: AuthExchange) -> str:
        """The user that a token lets in.  Raises _InvalidTokenError and ScannerError."""
        try:
            bearer = parse_bearer(exchange.data, exchange.mechanism)
        except ValueError as error:
            raise _InvalidTokenError("invalid_request", str(error)) from None
        return self._checked(bearer, await self._grant(bearer.token))

    def _checked(self, bearer: Bearer, grant: Grant | None) -> str:
        options = self.options
        if grant is None:
            raise _InvalidTokenError("invalid_token", f"not active user={bearer.user!r}")
        if grant.expires is not None and grant.expires <= self.services.clock.now():
            raise _InvalidTokenError("invalid_token", f"expired user={grant.user!r}")
        if options.audience and options.audience not in grant.audience:
            raise _InvalidTokenError("invalid_token", f"for somebody else user={grant.user!r}")
        if not grant.scope.issuperset(options.scope):
            raise _InvalidTokenError("insufficient_scope", f"scope too small user={grant.user!r}")
        if not grant.user or not grant.user.isprintable():
            raise _InvalidTokenError("invalid_token", f"names nobody by {options.claim}")
        user = self._whole(grant.user)
        if bearer.user and address_key(self._whole(bearer.user)) != address_key(user):
            reason = f"of another user={user!r}, not {bearer.user!r}"
            raise _InvalidTokenError("invalid_token", reason)
        return user

    def _whole(self, user: str) -> str:
        """The name with its domain."""
        domain = self.options.domain
        return f"{user}@{domain}" if domain and "@" not in user else user

    async def _grant(self, token: str) -> Grant | None:
        """What a token is worth, from memory if possible.  Raises ScannerError."""
        digest, clock = hashlib.sha256(token.encode()).digest(), self.services.clock
        known = self._known.pop(digest, None)
        if known is None or known[1] <= clock.monotonic():
            grant = await self._ask(token)
            if grant is None:
                return None
            known = grant, clock.monotonic() + self.options.cache
        if self.options.cache:
            self._known[digest] = known
            if len(self._known) > MOST_TOKENS:
                self._known.popitem(last=False)
        return known[0]

    async def _ask(self, token: str) -> Grant | None:
        if not self._breaker.may_try():
            raise ScannerError(f"down: {self._breaker.reason}")
        with self._breaker.attempt():
            return await within(self.options.timeout, self._introspect(token))

    async def _introspect(self, token: str) -> Grant | None:
        async with connected(self._endpoint.place) as wire:
            claim = self.options.claim
            return await introspect(wire, self._endpoint, self._context, token, claim)

    def _told(self, mechanism: str, problem: Problem) -> bytes:
        scope, configuration = " ".join(self.options.scope), self.options.configuration
        return problem_text(mechanism, problem, scope, configuration)

    def _read(self) -> tuple[Endpoint, ssl.SSLContext | None]:
        """The endpoint, with our secret, and the context of its TLS.  Raises ConfigError."""
        options, config = self.options, self.services.config
        secret = password_of(self.name, "secret_file", options.secret_file, config)
        endpoint = parse_endpoint(options.url, options.client_id, secret)
        return endpoint, context_of(
            self.name, "verify" if endpoint.tls else "off", options.ca, config
        )
