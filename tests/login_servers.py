# SPDX-License-Identifier: MIT
"""Debian's Dovecot and slapd, each in a system of its own that ends with the test.

They listen on loopback, and on a Unix socket that is seen from outside of the system.  Both know
one user: `user@example.test` with the password PASSWORD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import trustme

from tests.debian_system import System, layer_tar, unpacked
from tests.ports import free_port
from tests.scanner_servers import RealScanner

USER = "user@example.test"
PASSWORD = 'pässword {1}"\\ x'
USERS = "/srv/users"

_DOVECOT_2_3 = """\
protocols = imap
listen = 127.0.0.1
log_path = /tmp/dovecot.log
ssl = required
ssl_cert = </srv/cert.pem
ssl_key = </srv/key.pem
auth_failure_delay = 0
mail_location = maildir:/tmp/mail/%u
passdb {
  driver = passwd-file
  args = scheme=plain username_format=%u /srv/users
}
userdb {
  driver = static
  args = uid=mail gid=mail home=/tmp/home/%u
}
service auth {
  unix_listener /run/scanner.sock {
    mode = 0666
  }
}
"""
_DOVECOT_2_4 = """\
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols {
  imap = yes
}
listen = 127.0.0.1
log_path = /tmp/dovecot.log
ssl = required
ssl_server_cert_file = /srv/cert.pem
ssl_server_key_file = /srv/key.pem
auth_failure_delay = 0
mail_driver = maildir
mail_path = /tmp/mail/%{user}
passdb passwd-file {
  default_password_scheme = plain
  passwd_file_path = /srv/users
}
userdb static {
  fields {
    uid = mail
    gid = mail
    home = /tmp/home/%{user}
  }
}
service auth {
  unix_listener /run/scanner.sock {
    mode = 0666
  }
}
"""
_IMAP_PORTS = """\
service imap-login {
  inet_listener imap {
    port = PORT
  }
  inet_listener imaps {
    port = 0
  }
}
"""
_DOVECOT = {"bookworm": _DOVECOT_2_3, "trixie": _DOVECOT_2_4}

_SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile /tmp/slapd.pid
TLSCertificateFile /srv/cert.pem
TLSCertificateKeyFile /srv/key.pem
database mdb
suffix "dc=example,dc=test"
directory /srv/db
access to attrs=userPassword by anonymous auth
access to * by * read
"""
_ENTRIES = """\
dn: dc=example,dc=test
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: uid=user,dc=example,dc=test
objectClass: inetOrgPerson
uid: user
cn: A User
sn: User
mail: user@example.test
userPassword: PASSWORD
"""


@dataclass
class RealServer:
    """A server, its TCP port on 127.0.0.1, and the certificates that vouch for it."""

    process: RealScanner
    port: int
    ca: str


@contextmanager
def running_server(
    release: str,
    packages: Sequence[str],
    files: dict[str, str],
    prepare: Sequence[str],
    command: Sequence[str],
    kind: Callable[[System, Sequence[str]], RealScanner] = RealScanner,
) -> Iterator[RealServer]:
    """A server of these packages; in files and commands, PORT becomes its port.

    prepare: what is to be done before it starts, with its certificate in /srv/cert.pem, key.pem.
    """
    ca, port = trustme.CA(), free_port()
    certificate = ca.issue_cert("127.0.0.1")
    files = {
        **files,
        "/srv/cert.pem": certificate.cert_chain_pems[0].bytes().decode(),
        "/srv/key.pem": certificate.private_key_pem.bytes().decode(),
    }
    with unpacked(layer_tar(release, packages)) as system:
        for path, text in files.items():
            system.write(path, text.replace("PORT", str(port)))
        # They have users of their own, and put their sockets there.
        (system.root / "run").chmod(0o777)
        system.run("sh", "-ec", "; ".join(prepare).replace("PORT", str(port)))
        ca.cert_pem.write_to_path(str(system.root / "srv/ca.pem"))
        words = [word.replace("PORT", str(port)) for word in command]
        process = kind(system, words)
        try:
            process.start()
            yield RealServer(process, port, str(system.root / "srv/ca.pem"))
        finally:
            process.kill()


@contextmanager
def real_dovecot(release: str) -> Iterator[RealServer]:
    """Dovecot, with the socket for authentication, and IMAP with STARTTLS."""
    users = f"{USER}:{PASSWORD.replace(':', '')}::::::\n"
    files = {"/srv/dovecot.conf": _DOVECOT[release] + _IMAP_PORTS, USERS: users}
    prepare = ("mkdir -p /tmp/mail /tmp/home /run/dovecot", "chmod 1777 /tmp/mail /tmp/home")
    command = ("dovecot", "-F", "-c", "/srv/dovecot.conf")
    packages = ("dovecot-imapd", "dovecot-core")
    with running_server(release, packages, files, prepare, command) as server:
        yield server


@contextmanager
def real_slapd() -> Iterator[RealServer]:
    """OpenLDAP, which only lets those search and bind who ask nicely."""
    files = {
        "/srv/slapd.conf": _SLAPD,
        "/srv/entries": _ENTRIES.replace("PASSWORD", PASSWORD.strip()),
    }
    prepare = ("mkdir /srv/db", "slapadd -f /srv/slapd.conf -l /srv/entries")
    urls = "ldap://127.0.0.1:PORT ldapi://%2Frun%2Fscanner.sock"
    command = ("slapd", "-d", "0", "-f", "/srv/slapd.conf", "-h", urls)
    with running_server("bookworm", ("slapd", "ldap-utils"), files, prepare, command) as server:
        yield server
