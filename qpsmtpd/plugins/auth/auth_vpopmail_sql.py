# SPDX-License-Identifier: MIT
"""auth/auth_vpopmail_sql: check logins with vpopmail's table in MySQL or MariaDB.

    auth/auth_vpopmail_sql [cram_md5 yes]

Three files say where it is, each in one line, `vpopmail_mysql_dsn`, `vpopmail_mysql_user` and
`vpopmail_mysql_pass`:

    vpopmail_mysql_dsn   dbi:mysql:dbname=vpopmail;host=127.0.0.1
    vpopmail_mysql_user  vpopmailuser
    vpopmail_mysql_pass  vpoppasswd

These are also the defaults if a file does not exist. Without `host=`, or with `host=localhost`, the
server's Unix socket is used: /run/mysqld/mysqld.sock, or the one that `mysql_socket=` names. The
user of the database needs no right but to read the table (`GRANT SELECT`).

For each login (PLAIN, LOGIN: RFC 4954) the row of the table `vpopmail` is read in which pw_name is
the user and pw_domain the domain, both in lower case; the name must be the whole address. Other
names of a domain are not in the table. A user with the right password is let in, and one with a
wrong password is refused without asking any plugin after this one. If the table does not have the
user, or the name has no domain, the next plugin is asked. Users with the flags NO_SMTP or NO_RELAY
in pw_gid (`vmoduser -s` and `-r`) are refused. Limits of domains, which vpopmail may keep
elsewhere, do not count.

With `cram_md5 yes`, CRAM-MD5 (RFC 2195) is offered as well. Most mail programs prefer it, so use it
only if the column pw_clear_passwd has all passwords (--enable-clear-passwd): a user without one
could not log in.

A server on another machine must have TLS and a certificate that is valid for its name, from an
authority that the system or the file `mysql_ssl_ca_file=` trusts: anybody who could pose as the
server could log in. The password is not sent before the certificate has been verified, and never in
clear text (mysql_clear_password). On this machine TLS is used with `mysql_ssl=1`.

If the server is down, does not answer within `timeout`, or answers with an error, the answer is
454 4.7.0 and not that the password is wrong: the client tries again later.

It needs python3-pymysql (Debian's name). Without that the line is an error.

Differences from the Perl version: a server that is down is not taken for a wrong password; TLS to
other machines; NO_SMTP and NO_RELAY count; CRAM-MD5 is an option; of DBI's drivers there are mysql
and MariaDB.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from typing import Literal

from qpsmtpd.api import (
    ConfigError,
    Finding,
    System,
)
from qpsmtpd.logins import ScannerError, context_of, is_here, within
from qpsmtpd.logins.dsn import DataSource, parse_dsn
from qpsmtpd.logins.mysql import MySqlAccess, MySqlServer, Talk, as_number, is_installed
from qpsmtpd.logins.vpopmail import Account, account_of_row
from qpsmtpd.logins.vpopmailplugin import VpopmailOptions, VpopmailPlugin

DSN = "vpopmail_mysql_dsn"
USER = "vpopmail_mysql_user"
PASSWORD_FILE = "vpopmail_mysql_pass"  # noqa: S105  (a file)

#: Seconds for the question of the doctor.
_DOCTORS_PATIENCE = 5.0


class AuthVpopmailSql(VpopmailPlugin[VpopmailOptions]):
    """Logins, by what vpopmail keeps of its users in a database."""

    files = {
        DSN: "Where the database is, as Perl's DBI has it.",
        USER: "The user of the database.",
        PASSWORD_FILE: "The password of that user; only the daemon should be able to read it.",
    }

    async def start(self) -> None:
        self._access = await self._read_access()

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the database has the table."""
        self._access = await self._read_access()
        subject = f"{self.name} {self._access.server}"
        try:
            await within(_DOCTORS_PATIENCE, self.find("qpsmtpd-doctor", "invalid"))
        except ScannerError as error:
            yield Finding.error(subject, str(error), "Nobody can log in until it works.")
        else:
            yield Finding.ok(subject, "answers")

    async def find(self, name: str, domain: str) -> Account | None:
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
