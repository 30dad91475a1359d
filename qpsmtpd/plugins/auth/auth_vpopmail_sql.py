# SPDX-License-Identifier: MIT
"""auth/auth_vpopmail_sql: check logins with vpopmail's table in MySQL or MariaDB.

    auth/auth_vpopmail_sql [cram_md5 yes]

Three files say where it is, each in one line, `vpopmail_mysql_dsn`, `vpopmail_mysql_user` and
`vpopmail_mysql_pass`:

    vpopmail_mysql_dsn   dbi:mysql:dbname=vpopmail;host=127.0.0.1
    vpopmail_mysql_user  vpopmailuser
    vpopmail_mysql_pass  vpoppasswd

These are also the values for files that are not there. Without `host=`, or with `host=localhost`,
the server's Unix socket is used, /run/mysqld/mysqld.sock or `mysql_socket=`. A user of the database
that may only read (`GRANT SELECT`) is enough.

For each login (PLAIN, LOGIN: RFC 4954) the row of the table `vpopmail` is read in which pw_name is
the user and pw_domain the domain, both in lower case; the name has to be the whole address. Other
names of a domain are not known there. A user in the table is let in with the right password and
refused with a wrong one, whatever plugins after this one would say. For another user, or a name
without a domain, the next plugin is asked. Nobody is let in with the flags NO_SMTP or NO_RELAY in
pw_gid (`vmoduser -s` and `-r`). Limits of domains, which vpopmail may keep elsewhere, do not count.

With `cram_md5 yes`, CRAM-MD5 (RFC 2195) is offered as well. That is right only if the column
pw_clear_passwd has all passwords (--enable-clear-passwd), for most programs prefer it: a user
without one could not log in.

A server on another machine has to have TLS and a certificate that is valid for its name, from an
authority of the system or of the file `mysql_ssl_ca_file=`, for whoever could stand in for it would
let himself in. Before that is certain the password is not sent, nor is it ever sent as it is
(mysql_clear_password). On this machine TLS is used with `mysql_ssl=1`.

A server that is down, does not answer within `timeout`, or answers with an error is no wrong
password: the answer is 454 4.7.0, and the client tries again later.

It needs python3-pymysql (Debian's name). Without that the line is an error.

Differences from the Perl version: a server that was down was a wrong password there; TLS elsewhere;
NO_SMTP and NO_RELAY count; CRAM-MD5 is an option; of DBI's drivers there are mysql and MariaDB.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.api import (
    AuthAttempt,
    ConfigError,
    Finding,
    Plugin,
    Session,
    System,
    Verdict,
    opt,
)
from qpsmtpd.logins import LoginOptions, ScannerError, context_of, is_here, within
from qpsmtpd.logins.dsn import DataSource, parse_dsn
from qpsmtpd.logins.mysql import MySqlAccess, MySqlServer, Talk, as_number, is_installed
from qpsmtpd.logins.vpopmail import Account, account_of_row, judge_account

DSN = "vpopmail_mysql_dsn"
USER = "vpopmail_mysql_user"
PASSWORD_FILE = "vpopmail_mysql_pass"  # noqa: S105  (a file)

#: Seconds for the question of the doctor.
_DOCTORS_PATIENCE = 5.0


@dataclass(frozen=True, kw_only=True)
class AuthVpopmailSqlOptions(LoginOptions):
    """Options of auth/auth_vpopmail_sql."""

    cram_md5: bool = opt(
        False, doc="Whether to offer CRAM-MD5, as the table has all passwords in clear text."
    )


class AuthVpopmailSql(Plugin[AuthVpopmailSqlOptions]):
    """Logins, by what vpopmail keeps of its users in a database."""

    files = {
        DSN: "Where the database is, as Perl's DBI has it.",
        USER: "The user of the database.",
        PASSWORD_FILE: "The password of that user; only the daemon should be able to read it.",
    }

    async def start(self) -> None:
        self._access = await self._read_access()

    def unusable_mechanisms(self) -> Sequence[str]:
        return () if self.options.cram_md5 else ("CRAM-MD5",)

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the database has the table."""
        self._access = await self._read_access()
        subject = f"{self.name} {self._access.server}"
        try:
            await within(_DOCTORS_PATIENCE, self._find("qpsmtpd-doctor", "invalid"))
        except ScannerError as error:
            yield Finding.error(subject, str(error), "Nobody can log in until it works.")
        else:
            yield Finding.ok(subject, "answers")

    async def hook_auth_plain(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self._judge(session, attempt)

    async def hook_auth_login(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self._judge(session, attempt)

    async def hook_auth_cram_md5(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self._judge(session, attempt)

    async def _judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        timeout = self.options.timeout
        return await judge_account(
            self.log, self.services, session, attempt, self._find, timeout=timeout
        )

    async def _find(self, name: str, domain: str) -> Account | None:
        talk = Talk(self._access)
        try:
            return await self.services.run_blocking(_account, talk, name, domain)
        finally:
            talk.give_up()

    async def _read_access(self) -> MySqlAccess:
        """What the files describe.  Raises ConfigError."""
        if not is_installed():
            raise ConfigError(self.name, "needs python3-pymysql, which is not installed")
        config = self.services.config
        dsn = await config.value(DSN, "dbi:mysql:dbname=vpopmail;host=127.0.0.1")
        user = await config.value(USER, "vpopmailuser")
        password = await config.value(PASSWORD_FILE, "vpoppasswd")
        try:
            source = parse_dsn(dsn)
        except ValueError as error:
            raise ConfigError(DSN, f"must be: {error}") from None
        return await asyncio.to_thread(self._access_to, source, user, password)

    def _access_to(self, source: DataSource, user: str, password: str) -> MySqlAccess:
        file = self.services.config.path(PASSWORD_FILE)
        if file.is_file() and file.stat().st_mode & stat.S_IRWXO:
            self.log.warning("everybody can read the password: file=%s", file)
        server = MySqlServer(source.host, source.port, source.database, user)
        private = server.is_socket or is_here(source.host)
        mode: Literal["off", "verify"] = "verify" if source.tls or not private else "off"
        context = context_of(self.name, mode, source.ca, self.services.config)
        return MySqlAccess(server, password, context, self.options.timeout)


def _account(talk: Talk, name: str, domain: str) -> Account | None:
    """The user with this name; it blocks.  Raises ScannerError."""
    # Of columns that vpopmail may have been built without, nobody knows beforehand.
    query = (
        "SELECT * FROM vpopmail "  # noqa: S608  (they are numbers)
        f"WHERE pw_name = {as_number(name)} AND pw_domain = {as_number(domain)}"
    )
    with talk.asking() as ask:
        rows = ask(query)
    if len(rows) > 1:
        raise ScannerError("has more than one user with this name")
    return account_of_row(rows[0]) if rows else None
