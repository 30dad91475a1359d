# SPDX-License-Identifier: MIT
"""Data source names of Perl's DBI for MySQL and MariaDB, as the Perl version has them in a file.

dbi:mysql:dbname=vpopmail;host=127.0.0.1
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.logins.mysql import PORT, SOCKET

DSN_FORMS = (
    "dbi:mysql:dbname=NAME;host=HOST, perhaps with ;port=PORT, ;mysql_socket=/PATH, ;mysql_ssl=1 "
    "and ;mysql_ssl_ca_file=/PATH"
)

_DRIVERS = ("mysql", "mariadb")
_NAMES = {"database": "dbname", "db": "dbname", "hostname": "host"}
_KNOWN = {"dbname", "host", "port", "socket", "ssl", "ssl_ca_file", "ssl_verify_server_cert"}


@dataclass(frozen=True, slots=True)
class DataSource:
    """host: a name, an address, or the path of a Unix socket.

    tls: whether TLS is wanted wherever the server is.  ca: who vouches for it, None: the system's.
    """

    database: str
    host: str
    port: int
    tls: bool
    ca: Path | None


def parse_dsn(text: str) -> DataSource:
    """What a name says.  Raises a ValueError that says what would be right.

    As the C library has it, no host and `localhost` mean the Unix socket.
    """
    scheme, driver, rest = (*text.strip().split(":", 2), "", "")[:3]
    if scheme.lower() != "dbi" or driver.lower() not in _DRIVERS:
        raise ValueError(DSN_FORMS)
    values = dict(_setting(part) for part in rest.split(";") if part.strip())
    port = values.get("port", "") or str(PORT)
    if not values.get("dbname") or not values.keys() <= _KNOWN:
        raise ValueError(DSN_FORMS)
    if not (port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536):
        raise ValueError(DSN_FORMS)
    host, path = values.get("host", ""), values.get("socket", "")
    if host.lower() in ("", "localhost"):
        host = path or SOCKET
    if ("/" in host or path) and not host.startswith("/"):
        raise ValueError(DSN_FORMS)
    ca = values.get("ssl_ca_file", "")
    tls = bool(ca) or values.get("ssl", "0") not in ("", "0")
    return DataSource(values["dbname"], host, int(port), tls, Path(ca) if ca else None)


def _setting(part: str) -> tuple[str, str]:
    """A name, without what only says which driver it is for, and its value."""
    name, equals, value = part.partition("=")
    if not equals:
        return "dbname", name.strip()
    name = name.strip().lower()
    for driver in _DRIVERS:
        name = name.removeprefix(f"{driver}_")
    return _NAMES.get(name, name), value.strip()
