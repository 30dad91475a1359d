# SPDX-License-Identifier: MIT
"""View: what a handler is shown of our session and transaction, as values for its thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qpsmtpd.api import Endpoint, Session, TlsInfo, Transaction

#: What aiosmtpd shows as the address in MAIL FROM:<>.
NULL_PATH = "<>"

#: What a socket calls an address: (IP, port), for IPv6 (IP, port, flow, scope).
SocketName = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class EnvelopeView:
    """A transaction, the way aiosmtpd's Envelope has it."""

    id: str
    mail_from: str
    mail_options: tuple[str, ...]
    smtp_utf8: bool
    rcpt_tos: tuple[str, ...]
    rcpt_options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session, the way aiosmtpd's Session has it.

    proxy: the socket name of the proxy that passed the connection on, None without one.
    ssl: None without TLS.  user: who logged in, "" while nobody has.
    envelope: None between transactions.
    """

    peer: SocketName
    local: SocketName
    proxy: SocketName | None
    host_name: str | None
    extended_smtp: bool
    ssl: Mapping[str, Any] | None
    user: str
    envelope: EnvelopeView | None


def view_of(session: Session) -> SessionView:
    """What there is to see now."""
    peer, local = socket_name(session.client), socket_name(session.local)
    transaction = session.transaction
    return SessionView(
        peer=peer,
        local=local,
        proxy=socket_name(session.proxy) if session.proxy else None,
        host_name=session.hello_host if session.hello else None,
        extended_smtp=session.hello == "ehlo",
        ssl=_ssl(session.tls, peer, local) if session.tls else None,
        user=session.auth_user,
        envelope=_envelope(transaction) if transaction else None,
    )


def socket_name(endpoint: Endpoint) -> SocketName:
    """The address as the socket would name it."""
    if ":" in endpoint.ip:
        return endpoint.ip, endpoint.port, 0, 0
    return endpoint.ip, endpoint.port


def _ssl(tls: TlsInfo, peer: SocketName, local: SocketName) -> dict[str, Any]:
    """What is known of the extra information of a TLS transport; clients show no certificates."""
    return {
        "peername": peer,
        "sockname": local,
        "peercert": {},
        "cipher": (tls.cipher, tls.version, None),
        "compression": None,
    }


def _envelope(transaction: Transaction) -> EnvelopeView:
    recipients = transaction.recipients
    return EnvelopeView(
        id=transaction.id,
        mail_from=transaction.sender or NULL_PATH,
        mail_options=options_of(transaction.mail_parameters),
        smtp_utf8=transaction.utf8,
        rcpt_tos=tuple(map(str, recipients)),
        rcpt_options=tuple(o for r in recipients for o in options_of(r.parameters)),
    )


def options_of(parameters: Mapping[str, str | None]) -> tuple[str, ...]:
    """ESMTP parameters as aiosmtpd has them: in upper case, except values whose case matters."""
    return tuple(_options(parameters.items()))


def _options(parameters: Iterable[tuple[str, str | None]]) -> Iterable[str]:
    for name, value in parameters:
        if value is None:
            yield name
        else:
            yield f"{name}={value.upper() if name == 'BODY' else value}"
