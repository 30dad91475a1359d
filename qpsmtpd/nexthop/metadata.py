# SPDX-License-Identifier: MIT
"""XCLIENT and XFORWARD: telling a Postfix next hop who the client is.

XCLIENT makes the next hop treat us as that client; XFORWARD only informs its log.  Both
are described in Postfix's XCLIENT_README and XFORWARD_README.  Values are xtext (RFC 3461
section 4) and a command is kept below 512 octets.
"""

from __future__ import annotations

from collections.abc import Mapping

from qpsmtpd.mail.address import encode_xtext
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import Session, Transaction

UNKNOWN = "[UNAVAILABLE]"
NOT_KNOWN_NOW = "[TEMPUNAVAIL]"
_MAX_COMMAND = 500
_MAX_VALUE = 255


def xclient_commands(session: Session, offered: str) -> list[str]:
    """The XCLIENT commands of a session, with the attributes that the next hop offers.

    The client's names are those that the session has: see `Session.resolve_client_name`.
    """
    unnamed = None if session.client_name_certain else NOT_KNOWN_NOW
    return _commands(
        "XCLIENT",
        offered,
        {
            "NAME": session.client_name or unnamed,
            "REVERSE_NAME": session.reverse_name,
            "ADDR": _address(session.client),
            "PORT": str(session.client.port or "") or None,
            "HELO": session.hello_host or None,
            "PROTO": _protocol(session),
            "LOGIN": session.auth_user or None,
            "DESTADDR": _address(session.local),
            "DESTPORT": str(session.local.port or "") or None,
        },
    )


def hello_of(session: Session) -> str:
    """The client's name for our EHLO, "" without one; what cannot stand there is a question mark.

    So does Postfix log such a name, and what it refuses then it would refuse the client as well.
    """
    name = session.hello_host.encode("ascii", "replace").decode()[:_MAX_VALUE]
    return "".join(c if "!" <= c <= "~" else "?" for c in name)


def xforward_commands(tx: Transaction, offered: str) -> list[str]:
    """The XFORWARD commands of a transaction, with the attributes that the next hop offers."""
    session = tx.session
    return _commands(
        "XFORWARD",
        offered,
        {
            "NAME": session.client_name,
            "ADDR": _address(session.client),
            "PORT": str(session.client.port or "") or None,
            "HELO": session.hello_host or None,
            "PROTO": _protocol(session),
            "IDENT": tx.id,
            "SOURCE": "LOCAL" if session.client_is_local else "REMOTE",
        },
    )


def _address(endpoint: Endpoint) -> str:
    return f"IPV6:{endpoint.ip}" if ":" in endpoint.ip else endpoint.ip


def _protocol(session: Session) -> str:
    return "SMTP" if session.hello == "helo" else "ESMTP"


def _commands(verb: str, offered: str, values: Mapping[str, str | None]) -> list[str]:
    commands = [verb]
    for attribute in dict.fromkeys(offered.upper().split()):
        if attribute not in values:
            continue
        word = f" {attribute}={_xtext(values[attribute] or UNKNOWN)}"
        if len(commands[-1]) + len(word) > _MAX_COMMAND:
            commands.append(verb)
        commands[-1] += word
    return commands if commands != [verb] else []


def _xtext(value: str) -> str:
    """The value as xtext; bytes that are not UTF-8 (lone surrogates) become question marks."""
    return encode_xtext(value[:_MAX_VALUE].encode("utf-8", "replace").decode())
