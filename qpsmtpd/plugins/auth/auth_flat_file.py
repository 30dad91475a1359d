# SPDX-License-Identifier: MIT
"""auth/auth_flat_file: check logins against a file of users and passwords.

The file `flat_auth_pw` has a line for each user, with the password in clear text or, better, with
what is kept of it for SCRAM (RFC 5802), a verifier:

    user@example.org:password
    user@example.org:SCRAM-SHA-256$10000:SALT$STOREDKEY:SERVERKEY

`qpsmtpd scram-verifier user@example.org` asks for a password and prints such a line; PostgreSQL
writes verifiers in the same form. Who gets hold of the file cannot log in with a verifier, nor find
the password but by trying. The name may be in upper or lower case. A password in clear text may
contain colons. Only the daemon should be able to read the file: a warning is logged at start if
everybody can.

A user in the file is let in with the right password and refused with a wrong or missing one,
whatever plugins after this one would say. For a user who is not in the file, or a name without a
domain, the next plugin is asked. The client gets the same reply after the same time whether the
user is known or not (auth_failure_pause).

PLAIN and LOGIN (RFC 4954) are always possible. CRAM-MD5 (RFC 2195) needs clear text, so it is
offered while all passwords are. With the first verifier it is not offered any more, but
SCRAM-SHA-256 is (RFC 7677), for all users of the file. Most programs prefer SCRAM to PLAIN where
they may choose, and no other plugin can judge it: beside users of another plugin, leave passwords
in clear text, or move all users here. A user who does not exist gets a challenge like all others.

SCRAM-SHA-256-PLUS also shows that nobody is in between client and server, by the channel binding
tls-unique (RFC 5929). It is offered under TLS 1.2 only: TLS 1.3 has another one (tls-exporter, RFC
9266), which Python cannot compute. tls-unique can be trusted if client and server have negotiated
the extended master secret (RFC 7627), as OpenSSL does unless the client cannot.

A line that is not of one of these forms is an error, at start.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from qpsmtpd.api import (
    AuthAttempt,
    AuthExchange,
    Challenge,
    ConfigError,
    Entry,
    NoOptions,
    Plugin,
    Session,
    Verdict,
    accept,
    address_key,
    made_of,
    password_matches,
    read_each,
)
from qpsmtpd.logins import WRONG
from qpsmtpd.logins.scram import made_up
from qpsmtpd.logins.scramlogin import MECHANISMS, ScramLogins, SharedSecret
from qpsmtpd.logins.verifier import (
    SALT,
    SCHEME,
    USUAL_ITERATIONS,
    Verifier,
    make_verifier,
    parse_verifier,
)

FILE = "flat_auth_pw"


class AuthFlatFile(Plugin[NoOptions]):
    """Knows users by name and password, or by verifiers."""

    files = {"flat_auth_pw": "Users and passwords, as user@domain:password or :VERIFIER."}

    async def start(self) -> None:
        entries = await self.services.config.entries(FILE)
        pairs = await made_of(entries, lambda lines: read_each(lines, _user_and_secret))
        self._secrets = dict(pairs)
        self._scram = ScramLogins(self.log, self._verifier)
        self._secret = SharedSecret(self.services.store.scoped(self.name))
        verifiers = [each for each in self._secrets.values() if isinstance(each, Verifier)]
        self._has_verifiers = bool(verifiers)
        self._has_clear_text = len(verifiers) < len(self._secrets)
        # What made-up verifiers look like: those of most users.
        kinds = Counter((each.iterations, len(each.salt)) for each in verifiers)
        self._kind = kinds.most_common(1)[0][0] if kinds else (USUAL_ITERATIONS, SALT)
        await asyncio.to_thread(self._warn_of_readable_files, entries)

    def sasl_mechanisms(self) -> Sequence[str]:
        return MECHANISMS if self._has_verifiers else ()

    def unusable_mechanisms(self) -> Sequence[str]:
        return ("CRAM-MD5",) if self._has_verifiers else ()

    async def hook_auth_plain(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self._check(attempt)

    async def hook_auth_login(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self._check(attempt)

    async def hook_auth_cram_md5(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self._check(attempt)

    async def hook_auth_exchange(
        self, session: Session, exchange: AuthExchange
    ) -> Challenge | Verdict | None:
        if exchange.mechanism not in MECHANISMS:
            return None
        return await self._scram.step(session, exchange)

    async def _check(self, attempt: AuthAttempt) -> Verdict | None:
        secret = self._secrets.get(address_key(attempt.user))
        matches = await self._matches(attempt, secret)
        if secret is None:
            return None
        if matches:
            return accept()
        self.log.info("wrong password user=%r mechanism=%s", attempt.user, attempt.mechanism)
        return WRONG

    async def _matches(self, attempt: AuthAttempt, secret: str | Verifier | None) -> bool:
        # For an unknown user the work is done all the same.
        if isinstance(secret, str) or not self._has_verifiers:
            return password_matches(attempt, secret if isinstance(secret, str) else "")
        if attempt.password is None:
            return False  # CRAM-MD5, which needs more than a verifier
        verifier = secret or made_up(bytes(32), "", *self._kind)
        return await self.services.run_blocking(verifier.matches, attempt.password)

    async def _verifier(self, user: str) -> Verifier:
        """The verifier of a user; a made-up one if there is no such user."""
        key = address_key(user)
        secret = self._secrets.get(key)
        made = made_up(await self._secret.get(), key, *self._kind)
        if self._has_clear_text:
            # For all users, as otherwise the time would tell who exists.
            clear = secret if isinstance(secret, str) else "-"
            derived = await self.services.run_blocking(_derived, clear, made)
            made = derived if isinstance(secret, str) else made
        return secret if isinstance(secret, Verifier) else made

    def _warn_of_readable_files(self, entries: Sequence[Entry]) -> None:
        for name in sorted({entry.where.rpartition(":")[0] for entry in entries}):
            path = self.services.config.path(name)
            if path.is_file() and path.stat().st_mode & 0o004:
                self.log.warning("everybody can read the passwords: file=%s", path)


def _derived(password: str, like: Verifier) -> Verifier:
    """The verifier of a password with the salt of another one; that one if there can be none."""
    try:
        return make_verifier(password, like.salt, like.iterations)
    except ValueError:
        return like


def _user_and_secret(entry: Entry) -> tuple[str, str | Verifier]:
    user, _, password = entry.text.partition(":")
    name, _, domain = user.rpartition("@")
    if not (name and domain and password):
        # Not the line itself: it may hold a password.
        raise ConfigError(entry.where, "must be: user@domain:password")
    if not password.startswith(f"{SCHEME}$"):
        return address_key(user), password
    try:
        return address_key(user), parse_verifier(password)
    except ValueError as error:
        raise ConfigError(entry.where, f"a verifier must be: {error}") from None
