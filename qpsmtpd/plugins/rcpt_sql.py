# SPDX-License-Identifier: MIT
"""rcpt_sql: refuse recipients that a query does not find in a database.

    rcpt_sql database /var/lib/mail/users.sqlite query SELECT 1 FROM users WHERE address = %s

or, in the file `rcpt_sql`, one option a line:

    database postgresql://qpsmtpd@db.example.com/mail
    password_file /etc/qpsmtpd/secrets/database
    query SELECT 1 FROM users WHERE login = %u AND domain = %d AND active

On the line, `query` comes last: all words after it are the query. In it `%s` stands for the address
of the recipient, `%u` for what is before its @ and `%d` for the domain, in lower case, an
international domain as `xn--...`. They are parameters of the query and never part of its text;
quotes around one, as Postfix has them, are left out. (In MySQL, texts are put together by CONCAT,
not by ||.) A recipient is known if the query has a row whose first column is not null, false, 0 or
empty. One that is not gets 550 5.1.1 No such user here.

The database is a file of SQLite, which is only read, a server of PostgreSQL (which needs
python3-asyncpg, Debian's name), or one of MySQL or MariaDB (python3-pymysql). Without a host the
server's socket on this machine is used: PostgreSQL's in /run/postgresql or the directory `?host=`,
MySQL's at /run/mysqld/mysqld.sock or `?socket=`. A server on another machine has to have TLS and a
certificate that is valid for its name. Only PostgreSQL's may do without: with `tls require` the
certificate is not looked at, and with `tls off` anybody in between can listen. Each worker keeps up
to `connections` open; those to MySQL are closed after each recipient.

Only recipients that other plugins have accepted are looked up, wherever the line is, and only those
in our own domains (the files `rcpthosts`, `morercpthosts.cdb` and `me`), or in those of the option
`domains`. So nobody can write to other domains because they are in the database. For several
queries write `rcpt_sql:1`, `rcpt_sql:2` and so on, each with its `domains`; if a domain is in more
than one, all but the last have `unknown next`.

While the database is down, does not answer in time or says that the query is wrong, recipients
get 451 4.3.0, so that the client tries again later, or are taken with `on_error pass`. It is asked
again after a second, and then less and less often, at least every ten seconds; the log says when it
is down and when it works again. A table that is empty by accident is not such an error: name an
address that it certainly has as `canary`.

Differences from the Perl version: the Perl version has no such plugin.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qpsmtpd.api import (
    OUR_DOMAINS,
    ConfigError,
    Finding,
    Plugin,
    Recipient,
    System,
    Transaction,
    Verdict,
    opt,
    our_domains,
    with_defaults,
)
from qpsmtpd.logins import context_of, is_here, mysql, password_of
from qpsmtpd.logins.mysql import MySqlAccess, MySqlServer
from qpsmtpd.recipients import (
    Backend,
    RecipientTable,
    TableOptions,
    check_backend,
    postgresql,
)
from qpsmtpd.recipients.databases import (
    PostgreSqlServer,
    Query,
    compile_query,
    database_place,
)
from qpsmtpd.recipients.mysql import MySqlTable
from qpsmtpd.recipients.postgresql import PostgreSqlTable
from qpsmtpd.recipients.sqlite import SqliteTable

FILE = "rcpt_sql"


@dataclass(frozen=True, kw_only=True)
class RcptSqlOptions(TableOptions):
    """Options of rcpt_sql."""

    database: str = opt(
        "",
        check=database_place,
        doc="Where the database is: /PATH of a SQLite file, "
        "postgresql://USER@HOST[:PORT]/DATABASE, or mysql://USER@HOST[:PORT]/DATABASE.",
    )
    query: str = opt(
        "", check=compile_query, doc="What finds a recipient; the last option of a line."
    )
    password_file: Path | None = opt(
        None, doc="File whose first line is the password for the server; mode 0640 or less."
    )
    tls: Literal["off", "require", "verify"] | None = opt(
        None,
        doc="Whether the server has to have TLS, and with a valid certificate; by default verify, "
        "or off for a server on this machine.",
    )
    ca: Path | None = opt(
        None, doc="Certificates of who vouches for the server; without it, those of the system."
    )

    @staticmethod
    def rewrite(words: list[str]) -> list[str]:
        """The query, which has blanks in it, as one word."""
        at = next((n for n, word in enumerate(words) if word.partition("=")[0] == "query"), None)
        if at is None or not words[at + 1 :]:
            return words
        query = " ".join(words[at:]).removeprefix("query").removeprefix("=").strip()
        return [*words[:at], f"query={query}"]


class RcptSql(Plugin[RcptSqlOptions]):
    """Recipients, in the opinion of a database."""

    files = {**OUR_DOMAINS, FILE: "Options, one a line, that the line of the plugin does not name."}

    async def start(self) -> None:
        ours = await our_domains(self.services)
        backend = await self._backend()
        self._table = RecipientTable(self, self.options, [backend], ours)

    async def stop(self) -> None:
        await self._table.close()

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the database answers the query."""
        backend = await self._backend()
        yield await check_backend(self.name, self.options, backend)

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return await self._table.judge(tx, recipient)

    async def _backend(self) -> Backend:
        """What options and files describe.  Raises ConfigError."""
        entries = await self.services.config.entries(FILE)
        options = self.options = with_defaults(self.options, entries, ("database", "query"))
        if not options.database or not options.query:
            raise ConfigError(self.name, f"needs database and query, here or in the file {FILE}")
        place, query = database_place(options.database), compile_query(options.query)
        if isinstance(place, Path):
            return SqliteTable(place, query, self.services, options.timeout)
        if isinstance(place, PostgreSqlServer) and not postgresql.is_installed():
            raise ConfigError(self.name, "needs python3-asyncpg, which is not installed")
        if isinstance(place, MySqlServer) and not mysql.is_installed():
            raise ConfigError(self.name, "needs python3-pymysql, which is not installed")
        return await asyncio.to_thread(self._server, place, query)

    def _server(self, server: PostgreSqlServer | MySqlServer, query: Query) -> Backend:
        options, config = self.options, self.services.config
        here = server.is_socket or is_here(server.host)
        mode = options.tls or ("off" if here else "verify")
        if isinstance(server, MySqlServer) and not here and mode != "verify":
            problem = "MySQL on another machine has to have TLS: without the option tls, or verify"
            raise ConfigError(self.name, problem)
        password = password_of(self.name, "password_file", options.password_file, config)
        context = context_of(self.name, mode, options.ca, config)
        timeout = options.timeout
        if isinstance(server, MySqlServer):
            access = MySqlAccess(server, password, context, timeout)
            return MySqlTable(access, query, self.services)
        return PostgreSqlTable(server, query, password=password, context=context, timeout=timeout)
