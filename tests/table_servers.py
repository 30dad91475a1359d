# SPDX-License-Identifier: MIT
"""Debian's PostgreSQL, and Postfix's postmap, each in a system of its own that ends with the test.

The database knows one user: `user@example.test`.
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
