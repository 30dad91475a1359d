# SPDX-License-Identifier: MIT
"""auth/auth_ldap_bind: check logins with an LDAP directory.

    auth/auth_ldap_bind ldap_base dc=example,dc=com

or, in the file `ldap`, one option a line (where names may have spaces in them):

    ldap_host ldap.example.com
    ldap_base ou=My People,dc=example,dc=com

For each login (PLAIN, LOGIN: RFC 4954), the plugin searches below `ldap_base` for the entry whose
attribute `ldap_auth_filter_attr` is the name (what stands before the @, unless
`ldap_whole_name` is yes), and binds to the directory as this entry with the password. If it may,
the user is let in. If there is no such entry, or the password is wrong, the next plugin is asked.
The search is anonymous, unless `ldap_bind_dn` and `ldap_password_file` say who searches.

A server on another machine has to have TLS, with port 636 from the start, else by StartTLS, and a
certificate that is valid for its name: whoever could stand in for it would get all passwords, and
could let himself in. With `ldap_tls require` the certificate is not looked at, and with `off`
passwords cross the network in the clear. On this machine the default is `off`.

A directory that is down, does not answer within `ldap_timeout`, has more than one such entry, or
answers with any other error does not make the password wrong: the answer is 454 4.7.0, and the
client tries again later. Referrals are not followed.

It needs python3-ldap3 (Debian's name). Without that the line is an error.

Differences from the Perl version: a directory that was down was a wrong password there; options on
the line work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from qpsmtpd.api import (
    AuthAttempt,
    ConfigError,
    Finding,
    Seconds,
    Session,
    System,
    Verdict,
    matching,
    opt,
    with_defaults,
)
from qpsmtpd.logins import Login, ScannerError, judge
from qpsmtpd.logins.directory import NAMES, DirectoryOptions, read_directory
from qpsmtpd.logins.ldap import Directory, Talk
from qpsmtpd.logins.passwordplugin import PasswordPlugin

FILE = "ldap"


@dataclass(frozen=True, kw_only=True)
class AuthLdapBindOptions(DirectoryOptions):
    """Options of auth/auth_ldap_bind."""

    ldap_timeout: Seconds = opt(
        Seconds(5),
        least=0.1,
        most=110,
        doc="How long one login may take. It has to be less than the hook_timeout of the line.",
    )
    ldap_auth_filter_attr: str = opt(
        "uid",
        check=matching(lambda text: text.replace("-", "").isalnum(), "the name of an attribute"),
        doc="The attribute that has the name of a user.",
    )
    ldap_whole_name: bool = opt(
        False, doc="Whether that attribute has the whole name, with @ and domain, as mail has."
    )


class AuthLdapBind(PasswordPlugin[AuthLdapBindOptions]):
    """Logins, in the opinion of an LDAP directory."""

    files = {"ldap": "Options, one a line, that the line of the plugin does not name."}

    async def start(self) -> None:
        self._directory = await self._read_directory()

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the directory answers a search."""
        options = self.options
        subject = f"{self.name} {options.ldap_host}:{options.ldap_port}"
        try:
            talk = Talk(await self._read_directory())
            await asyncio.to_thread(talk.find_base)
        except (ConfigError, ScannerError) as error:
            yield Finding.error(subject, str(error), "Nobody can log in until it works.")
        else:
            yield Finding.ok(subject, "answers searches")

    async def judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        timeout = self.options.ldap_timeout
        return await judge(self.log, session, attempt, self._ask, timeout=timeout)

    async def _ask(self, login: Login) -> bool:
        name = login.user.lower()
        if not self.options.ldap_whole_name:
            name = name.partition("@")[0]
        talk = Talk(self._directory)
        try:
            return await self.services.run_blocking(talk.log_in, name, login.password)
        finally:
            talk.give_up()

    async def _read_directory(self) -> Directory:
        """The directory that options and files describe.  Raises ConfigError."""
        entries = await self.services.config.entries(FILE)
        self.options = with_defaults(self.options, entries, NAMES)
        options = self.options
        if not options.ldap_base:
            raise ConfigError(self.name, f"needs ldap_base, here or in the file {FILE}")
        return await read_directory(
            self.name,
            options,
            self.services.config,
            timeout=options.ldap_timeout,
            attribute=options.ldap_auth_filter_attr,
        )
