# SPDX-License-Identifier: MIT
"""auth/auth_flat_file: check logins against a file of users and passwords.

The file `flat_auth_pw` has a line `user@domain:password` for each user. The name may be in upper or
lower case. The password may contain colons, and is in clear text, as CRAM-MD5 needs it. Only the
daemon should be able to read the file: a warning is logged at start if everybody can.

A user in the file is let in with the right password (PLAIN, LOGIN, CRAM-MD5: RFC 4954, RFC 2195)
and refused with a wrong or missing one, whatever plugins after this one would say. For a user who
is not in the file, or a name without a domain, the next plugin is asked. The client gets the same
reply after the same time whether the user is known or not (auth_failure_pause).

A line that is not of the form `user@domain:password` is an error, at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from qpsmtpd.api import (
    AuthAttempt,
    ConfigError,
    Entry,
    NoOptions,
    Plugin,
    Session,
    Verdict,
    accept,
    address_key,
    deny,
    password_matches,
    read_each,
)

FILE = "flat_auth_pw"


class AuthFlatFile(Plugin[NoOptions]):
    """Knows users by name and clear-text password."""

    files = {"flat_auth_pw": "Users and passwords, as user@domain:password."}

    async def start(self) -> None:
        entries = await self.services.config.entries(FILE)
        self._passwords = dict(read_each(entries, _user_and_password))
        await asyncio.to_thread(self._warn_of_readable_files, entries)

    async def hook_auth_plain(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return self._check(attempt)

    async def hook_auth_login(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return self._check(attempt)

    async def hook_auth_cram_md5(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return self._check(attempt)

    def _check(self, attempt: AuthAttempt) -> Verdict | None:
        password = self._passwords.get(address_key(attempt.user))
        # Passwords are not empty, so an unknown user never matches; the work is done all the same.
        matches = password_matches(attempt, password or "")
        if password is None:
            return None
        if matches:
            return accept()
        self.log.info("wrong password user=%r mechanism=%s", attempt.user, attempt.mechanism)
        return deny("Wrong user name or password", status="5.7.8")

    def _warn_of_readable_files(self, entries: Sequence[Entry]) -> None:
        for name in sorted({entry.where.rpartition(":")[0] for entry in entries}):
            path = self.services.config.path(name)
            if path.is_file() and path.stat().st_mode & 0o004:
                self.log.warning("everybody can read the passwords: file=%s", path)


def _user_and_password(entry: Entry) -> tuple[str, str]:
    user, _, password = entry.text.partition(":")
    name, _, domain = user.rpartition("@")
    if not (name and domain and password):
        # Not the line itself: it may hold a password.
        raise ConfigError(entry.where, "must be: user@domain:password")
    return address_key(user), password
