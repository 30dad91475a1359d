# SPDX-License-Identifier: MIT
"""LDAP: a user is searched for, and then bound to the directory with the password (RFC 4513).

Recipients are only searched for.

The library (python3-ldap3) blocks, so it runs in a thread; when the time is up its connections are
shut down, which ends whatever it waits for.  It is imported only when it is used, being optional.
Referrals are not followed: the password is for this server only.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from qpsmtpd.scanners.wire import ScannerError

PORT = 389
LDAPS_PORT = 636

#: Result codes (RFC 4511 section 4.1.9).
_SUCCESS = 0
_SIZE_LIMIT_EXCEEDED = 4
#: Those of a bind that speak of name and password: inappropriateAuthentication (the entry has no
#: password) and invalidCredentials.
_WRONG = (48, 49)


@dataclass(frozen=True, kw_only=True)
class Directory:
    """Where users are, and how they are found.

    attribute: that of the name, for logins.  user, password: who searches; "" is nobody in
    particular.  timeout: seconds for each wait.
    """

    host: str
    port: int
    base: str
    attribute: str
    tls: Literal["off", "require", "verify"]
    ca: str | None
    timeout: float
    user: str = ""
    password: str = field(default="", repr=False)


def is_installed() -> bool:
    """Whether the library is there."""
    return find_spec("ldap3") is not None


def escaped(text: str) -> str:
    """A text as a value in a filter (RFC 4515)."""
    from ldap3.utils.conv import escape_filter_chars

    value: str = escape_filter_chars(text)
    return value


class Talk:
    """One login, or one search, in a thread.  `give_up` may be called by another."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        # The library loses those of connections that fail.
        self._sockets: list[socket.socket] = []
        self._given_up = False

    def log_in(self, name: str, password: str) -> bool:
        """Whether a login is right; it blocks.  Raises ScannerError."""
        if not password:
            return False  # that would be a bind as nobody, which succeeds (RFC 4513 section 5.1.2)
        with self._talking():
            found = self._search(name)
            return found is not None and self._bind(found, password)

    def has_any(self, search_filter: str) -> bool:
        """Whether a filter (RFC 4515) finds an entry; it blocks.  Raises ScannerError."""
        with self._talking():
            names, code = self._entries(search_filter, most=1)
            if not names and code != _SUCCESS:
                raise ScannerError(f"does not answer the search (code {code})")
            return bool(names)

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except ScannerError:
            raise
        except Exception as error:
            # Of any kind: this is the library's, on what a server says that may have gone mad.
            raise ScannerError(f"the directory fails: {type(error).__name__}") from None
        finally:
            for opened in self._sockets:
                opened.close()

    def find_base(self) -> None:
        """Make sure that users can be searched for; it blocks.  Raises ScannerError."""
        self.log_in("qpsmtpd-doctor", "-")

    def give_up(self) -> None:
        """End all connections, so that nothing waits for them any more."""
        self._given_up = True
        for opened in self._sockets:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def _search(self, name: str) -> str | None:
        """The distinguished name of the one entry with this name; None if there is none."""
        names, code = self._entries(f"({self._directory.attribute}={escaped(name)})", most=2)
        if len(names) > 1 or code == _SIZE_LIMIT_EXCEEDED:
            raise ScannerError("has more than one entry with this name")
        if code != _SUCCESS:
            raise ScannerError(f"does not answer the search (code {code})")
        return names[0] if names else None

    def _entries(self, search_filter: str, most: int) -> tuple[list[str], int]:
        """The distinguished names of entries, and the result code."""
        directory = self._directory
        connection = self._connect(directory.user, directory.password)
        if directory.user and (code := _bound(connection)) != _SUCCESS:
            raise ScannerError(f"does not let {directory.user} search (code {code})")
        connection.search(directory.base, search_filter, attributes=["1.1"], size_limit=most)
        names = [e["dn"] for e in connection.response or () if e["type"] == "searchResEntry"]
        code = connection.result["result"]
        _close(connection)
        return names, code

    def _bind(self, name: str, password: str) -> bool:
        connection = self._connect(name, password)
        code = _bound(connection)
        _close(connection)
        if code not in (_SUCCESS, *_WRONG):
            raise ScannerError(f"cannot tell now (code {code})")
        return code == _SUCCESS

    def _connect(self, user: str, password: str) -> Any:
        """An open connection that is not yet bound."""
        import ldap3

        directory = self._directory
        validate = ssl.CERT_REQUIRED if directory.tls == "verify" else ssl.CERT_NONE
        implicit = directory.tls != "off" and directory.port == LDAPS_PORT
        server = ldap3.Server(
            directory.host,
            directory.port,
            use_ssl=implicit,
            tls=ldap3.Tls(validate=validate, ca_certs_file=directory.ca),
            get_info=ldap3.NONE,
            connect_timeout=directory.timeout,
        )
        connection = ldap3.Connection(
            server,
            user or None,
            password or None,
            authentication=ldap3.SIMPLE if user else ldap3.ANONYMOUS,
            auto_referrals=False,
            receive_timeout=math.ceil(directory.timeout),  # it takes whole seconds
            read_only=True,
        )
        with self._keeping_socket(connection):
            connection.open(read_server_info=False)
        if directory.tls != "off" and not implicit:
            with self._keeping_socket(connection):
                if not connection.start_tls(read_server_info=False):
                    raise ScannerError("does not have TLS")
        return connection

    @contextlib.contextmanager
    def _keeping_socket(self, connection: Any) -> Iterator[None]:
        """Keep the socket that is opened or wrapped here, even if that fails."""
        try:
            yield
        finally:
            if connection.socket is not None:
                self._sockets.append(connection.socket)
        if self._given_up:
            raise ScannerError("took too long")


def _bound(connection: Any) -> int:
    """The result code of a bind."""
    connection.bind(read_server_info=False)
    code: int = connection.result["result"]
    return code


def _close(connection: Any) -> None:
    with contextlib.suppress(Exception):
        connection.unbind()
