# SPDX-License-Identifier: MIT
"""Macros: what a milter is told about client and message beside the commands themselves.

Names, meaning and stages are those of Postfix (MILTER_README), after Sendmail: a milter that works
behind Postfix finds here what it is used to.  Where Postfix names transports, we say "smtp": what
becomes of a message is decided behind us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qpsmtpd.mail.address import PathError, ReversePath, decode_xtext
from qpsmtpd.mail.session import Recipient, Session, Transaction
from qpsmtpd.mail.verdict import Verdict
from qpsmtpd.milter.negotiation import Stage
from qpsmtpd.plugin.base import fit_status

#: The macros of each stage, unless the milter chooses others.
USUAL: Mapping[Stage, tuple[str, ...]] = {
    Stage.CONNECT: ("j", "{daemon_name}", "{daemon_addr}", "v", "_"),
    Stage.HELO: ("{tls_version}", "{cipher}", "{cipher_bits}"),
    Stage.MAIL: (
        "i",
        "{auth_type}",
        "{auth_authen}",
        "{auth_author}",
        "{mail_addr}",
        "{mail_host}",
        "{mail_mailer}",
    ),
    Stage.RCPT: ("i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
    Stage.DATA: ("i",),
    Stage.END_OF_HEADERS: ("i",),
    Stage.END_OF_MESSAGE: ("i",),
}

_TRANSPORT = "smtp"
_RESOLVED = {"pass": "OK", "fail": "FORGED", "permerror": "FAIL", "temperror": "TEMP", "": "OK"}


@dataclass(frozen=True, slots=True)
class Server:
    """Who we are: our host name, and program and version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What the macros are about; without a transaction, those of messages have no value.

    refusal: of the recipient by somebody else; the milter is told why in place of where it goes.
    """

    server: Server
    session: Session
    tx: Transaction | None = None
    recipient: Recipient | None = None
    refusal: Verdict | None = None

    def values(self, names: Sequence[str]) -> tuple[tuple[bytes, bytes], ...]:
        """The macros of these names that have a value, as they are sent."""
        known = ((name, _VALUES.get(name.strip("{}"))) for name in names)
        found = ((name, value(self)) for name, value in known if value is not None)
        return tuple((name.encode(), octets(text)) for name, text in found if text)


def octets(text: str) -> bytes:
    """Text as a milter gets it: no NUL, which would end it."""
    return text.replace("\0", "?").encode("utf-8", "surrogateescape")


def client_name(session: Session) -> str:
    """The client's name if its addresses confirm it, as `resolve_client_name` has found."""
    return session.client_name or "unknown"


def _reverse_name(session: Session) -> str:
    return session.client_name or session.reverse_name or "unknown"


def _whole_client(scene: Scene) -> str:
    session = scene.session
    name = _reverse_name(session)
    forged = "" if client_name(session) == name else " (may be forged)"
    return f"{name} [{session.client.ip}]{forged}"


def _submitter(scene: Scene) -> str:
    """Whose message it is, as the client says (RFC 4954 section 5)."""
    value = "" if scene.tx is None else scene.tx.mail_parameters.get("AUTH") or ""
    try:
        return "" if value == "<>" else decode_xtext(value)
    except PathError:
        return ""


def _domain(address: ReversePath) -> str:
    return (address and address.domain) or ""


def _of_mail(value: Callable[[Transaction], str]) -> Callable[[Scene], str]:
    return lambda scene: "" if scene.tx is None else value(scene.tx)


def _of_rcpt(value: Callable[[Recipient], str]) -> Callable[[Scene], str]:
    return lambda scene: "" if scene.recipient is None else value(scene.recipient)


def _of_refusal(
    value: Callable[[Verdict], str], otherwise: Callable[[Scene], str]
) -> Callable[[Scene], str]:
    return lambda scene: otherwise(scene) if scene.refusal is None else value(scene.refusal)


def _of_tls(attribute: str) -> Callable[[Scene], str]:
    return lambda scene: str(getattr(scene.session.tls, attribute, "") or "")


_VALUES: Mapping[str, Callable[[Scene], str]] = {
    "_": _whole_client,
    "j": lambda scene: scene.server.name,
    "v": lambda scene: scene.server.version,
    "i": _of_mail(lambda tx: tx.id),
    "daemon_name": lambda scene: scene.server.name,
    "daemon_addr": lambda scene: scene.session.local.ip,
    "daemon_port": lambda scene: str(scene.session.local.port),
    "if_name": lambda scene: scene.server.name,
    "if_addr": lambda scene: scene.session.local.ip,
    "client_addr": lambda scene: scene.session.client.ip,
    "client_port": lambda scene: str(scene.session.client.port),
    "client_name": lambda scene: client_name(scene.session),
    "client_ptr": lambda scene: _reverse_name(scene.session),
    "client_resolve": lambda scene: _RESOLVED[scene.session.iprev],
    "client_connections": lambda scene: str(scene.session.connections_from_client),
    "tls_version": _of_tls("version"),
    "cipher": _of_tls("cipher"),
    "cipher_bits": _of_tls("bits"),
    "auth_type": lambda scene: scene.session.auth_mechanism,
    "auth_authen": lambda scene: scene.session.auth_user,
    "auth_author": _submitter,
    "mail_addr": _of_mail(lambda tx: tx.sender),
    "mail_host": _of_mail(lambda tx: _domain(tx.reverse_path)),
    "mail_mailer": _of_mail(lambda tx: _TRANSPORT),
    "rcpt_addr": _of_refusal(lambda refusal: refusal.text or "Recipient refused", _of_rcpt(str)),
    "rcpt_host": _of_refusal(
        lambda refusal: fit_status(refusal.status or "5.7.1", refusal.decision),
        _of_rcpt(lambda recipient: _domain(recipient.address)),
    ),
    "rcpt_mailer": _of_refusal(lambda _: "error", _of_rcpt(lambda _: _TRANSPORT)),
}
