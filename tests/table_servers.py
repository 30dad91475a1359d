# SPDX-License-Identifier: MIT
"""Debian's PostgreSQL, MariaDB, and Postfix's postmap, each in a system of its own that ends with
the test.

The databases know one user: `user@example.test`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.debian_system import System, layer_tar, unpacked
from tests.login_servers import RealServer, running_server
from tests.scanner_servers import RealScanner

ROLE = "qpsmtpd"
DATABASE = "mail"
PASSWORD = "geheim"

#: What vpopmail keeps of PASSWORD.
VPOPMAIL_HASH = "$1$abcdefgh$eKehL.s8tG6zTf8hBtmEF."

_CONFIGURATION = """\
listen_addresses = '127.0.0.1'
port = PORT
unix_socket_directories = '/run'
shared_buffers = 4MB
max_connections = 20
ssl = on
ssl_cert_file = '/srv/cert.pem'
ssl_key_file = '/srv/key.pem'
"""
_ACCESS = """\
local all postgres peer
local all all scram-sha-256
hostssl all all 127.0.0.1/32 scram-sha-256
"""
_TABLE = f"""\
CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}';
CREATE TABLE users (address TEXT PRIMARY KEY, active BOOL);
INSERT INTO users VALUES ('user@example.test', true), ('gone@example.test', false);
GRANT SELECT ON users TO {ROLE};
"""
_AS_POSTGRES = "setpriv --reuid postgres --regid postgres --clear-groups"
_BIN = "/usr/lib/postgresql/*/bin"


@dataclass
class RealPostgreSql(RealScanner):
    """It has its socket in /run, by its port."""

    @property
    def place(self) -> str:
        """Its socket."""
        return str(next((self.system.root / "run").glob(".s.PGSQL.*[0-9]"), "/none"))

    def _answers(self) -> bool:
        # It takes connections before it answers them: after it was killed, it recovers first.
        log = self.system.root / "tmp/output"
        return "ready to accept connections" in log.read_text()


@contextmanager
def real_postgresql(release: str) -> Iterator[RealServer]:
    """PostgreSQL, with TLS and passwords."""
    files = {"/srv/conf": _CONFIGURATION, "/srv/access": _ACCESS, "/srv/table": _TABLE}
    prepare = (
        "chown postgres /srv/key.pem /srv/cert.pem /srv/conf",
        "chmod 600 /srv/key.pem",
        "install -d -o postgres -m 700 /srv/data",
        f"{_AS_POSTGRES} {_BIN}/initdb -D /srv/data --no-locale -E UTF8 >/dev/null",
        "cat /srv/conf >>/srv/data/postgresql.conf",
        "cat /srv/access >/srv/data/pg_hba.conf",
        f"echo CREATE DATABASE {DATABASE} | {_AS_POSTGRES} {_BIN}/postgres --single -D /srv/data"
        " postgres >/dev/null",
        # Without -j a line is a statement.
        f"{_AS_POSTGRES} {_BIN}/postgres --single -D /srv/data {DATABASE} </srv/table >/dev/null",
    )
    start = f"rm -f /srv/data/postmaster.pid; exec {_AS_POSTGRES} {_BIN}/postgres -D /srv/data"
    packages = ("postgresql", "postgresql-client")
    command = ("sh", "-c", start)
    with running_server(release, packages, files, prepare, command, RealPostgreSql) as server:
        yield server


@dataclass
class RealMariaDb(RealScanner):
    """It has its socket in /run."""

    @property
    def place(self) -> str:
        """Its socket."""
        return str(self.system.root / "run/mariadb.sock")


_MARIADB = """\
[mariadbd]
bind-address = 127.0.0.1
port = PORT
socket = /run/mariadb.sock
datadir = /srv/data
user = mysql
ssl-cert = /srv/cert.pem
ssl-key = /srv/key.pem
innodb-buffer-pool-size = 16M
character-set-server = latin1
skip-name-resolve
"""
_MARIADB_TABLES = f"""\
CREATE DATABASE IF NOT EXISTS {DATABASE};
CREATE USER IF NOT EXISTS {ROLE}@'localhost' IDENTIFIED BY '{PASSWORD}';
CREATE USER IF NOT EXISTS {ROLE}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL;
GRANT SELECT ON {DATABASE}.* TO {ROLE}@'localhost', {ROLE}@'127.0.0.1';
USE {DATABASE};
CREATE TABLE IF NOT EXISTS users (address VARCHAR(90) PRIMARY KEY, active BOOL);
REPLACE INTO users VALUES ('user@example.test', true), ('gone@example.test', false);
CREATE TABLE IF NOT EXISTS vpopmail (
  pw_name VARCHAR(64) NOT NULL, pw_domain VARCHAR(96) NOT NULL, pw_passwd VARCHAR(128),
  pw_uid INT, pw_gid INT, pw_gecos VARCHAR(64), pw_dir VARCHAR(160), pw_shell VARCHAR(20),
  pw_clear_passwd VARCHAR(16), PRIMARY KEY (pw_name, pw_domain)
);
REPLACE INTO vpopmail (pw_name, pw_domain, pw_passwd, pw_gid) VALUES
  ('user', 'example.test', '{VPOPMAIL_HASH}', 0),
  ('quiet', 'example.test', '{VPOPMAIL_HASH}', 2048);
"""


@contextmanager
def real_mariadb(release: str) -> Iterator[RealServer]:
    """MariaDB, with TLS and passwords, a table of recipients and vpopmail's."""
    files = {"/srv/conf": _MARIADB, "/srv/tables": _MARIADB_TABLES}
    prepare = (
        "chown mysql /srv/key.pem /srv/cert.pem",
        "chmod 600 /srv/key.pem",
        "mariadb-install-db --defaults-file=/srv/conf >/dev/null",
    )
    command = ("mariadbd", "--defaults-file=/srv/conf", "--init-file=/srv/tables")
    with running_server(release, ("mariadb-server",), files, prepare, command, RealMariaDb) as it:
        yield it


@contextmanager
def postfix_system(release: str) -> Iterator[System]:
    """A system with Postfix's programs."""
    preseed = "postfix postfix/main_mailer_type select Local only\n"
    with unpacked(layer_tar(release, ("postfix",), preseed)) as system:
        yield system


def postmap(system: System, table: str, key: str) -> str:
    """What Postfix finds in a table; "" if it finds nothing.  Raises RuntimeError if it fails."""
    command: Sequence[str] = ("postmap", "-q", key, table)
    return system.run("sh", "-c", '"$@" || [ $? = 1 ]', "sh", *command)
