# SPDX-License-Identifier: MIT
"""The envelope of a transaction as commands for a next hop, with the parameters it offers."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from qpsmtpd.mail import dsn, passedon
from qpsmtpd.mail.capabilities import (
    announce_limit,
    offer_extension,
    offers_extension,
    withdraw_extension,
)
from qpsmtpd.mail.session import Recipient, Session, Transaction
from qpsmtpd.nexthop import hoplimits
from qpsmtpd.nexthop.hoplimits import least, read_limits

BINARY = "BINARYMIME"
#: Characters of what follows the keyword of a next hop, for clients.
_LONGEST = 100


def needs_utf8(tx: Transaction, recipients: Iterable[Recipient]) -> bool:
    """Whether the message can go only to a next hop with SMTPUTF8 (RFC 6531).

    SMTPUTF8 on a message that is all ASCII does not count: many clients always say it.
    """
    if not tx.utf8:
        return False
    addresses = [recipient.address for recipient in recipients]
    if tx.reverse_path is not None:
        addresses.append(tx.reverse_path)
    headers = bytes(tx.message.headers) if tx.message is not None else b""
    return not (headers.isascii() and all(address.is_ascii for address in addresses))


def message_size(tx: Transaction) -> int:
    """Octets of the message as it is handed over."""
    assert tx.message is not None
    return len(bytes(tx.message.headers)) + tx.message.body.size


def takes_binary(extensions: Collection[str]) -> bool:
    """Whether a next hop with these keywords takes messages whose body has no lines (RFC 3030)."""
    return BINARY in extensions and "CHUNKING" in extensions


def offer_extensions(session: Session, hops: Iterable[Mapping[str, str] | None]) -> None:
    """Offer what all next hops can take to a client that says EHLO, and nothing that one cannot.

    hops: the keywords of each with their parameters; None if they are not known yet.
    """
    known = list(hops)
    if any(hop is not None and "SMTPUTF8" not in hop for hop in known):
        withdraw_extension(session, "SMTPUTF8")
    keywords = [hop or {} for hop in known]
    if all(dsn.KEYWORD in hop for hop in keywords):
        offer_dsn(session)
    if offers_extension(session, "CHUNKING") and all(map(takes_binary, keywords)):
        offer_extension(session, BINARY)
    for extension in passedon.PASSED_ON:
        if extension.keyword != passedon.REQUIRETLS or session.tls is not None:
            _offer_alike(session, extension.keyword, keywords)
    limits = [read_limits(hop.get(hoplimits.KEYWORD, "")) for hop in keywords]
    announce_limit(session, "RCPTMAX", least(each.recipients for each in limits))
    announce_limit(session, "RCPTDOMAINMAX", least(each.domains for each in limits))


def _offer_alike(session: Session, keyword: str, hops: Sequence[Mapping[str, str]]) -> None:
    """Offer what all next hops offer with the same parameters, such as the longest delay."""
    found = {hop.get(keyword) for hop in hops}
    text = found.pop() if len(found) == 1 else None
    if text is not None and len(text) <= _LONGEST and text.isascii() and text.isprintable():
        offer_extension(session, f"{keyword} {text}".rstrip())


def lacking(tx: Transaction, extensions: Collection[str]) -> str:
    """The keyword of what the client has asked for and a next hop does not offer; "" if none."""
    needed = passedon.keywords_of(tx.mail_parameters) if tx.mail_parameters else set()
    return min(needed.difference(extensions), default="")


def offer_dsn(session: Session) -> None:
    """Offer DSN to a client that says EHLO, since the next hop takes its parameters."""
    offer_extension(session, dsn.KEYWORD)


def mail_command(tx: Transaction, extensions: Mapping[str, str], *, logged_in: bool = False) -> str:
    """MAIL with all parameters that the next hop has offered.

    logged_in: we are, so that AUTH may say who has submitted the message (RFC 4954 section 5):
    <> unless the client has logged in with us.
    """
    words = [f"MAIL FROM:{tx.reverse_path.path if tx.reverse_path else '<>'}"]
    if "SIZE" in extensions and tx.message is not None:
        words.append(f"SIZE={message_size(tx)}")
    body = tx.body_type
    can_take = takes_binary(extensions) if body == BINARY else "8BITMIME" in extensions
    if body in (BINARY, "8BITMIME") and can_take:
        words.append(f"BODY={body}")
    if "SMTPUTF8" in extensions and tx.utf8:
        words.append("SMTPUTF8")
    if logged_in and "AUTH" in tx.mail_parameters:
        submitter = tx.mail_parameters["AUTH"] or ""
        known = tx.session.auth_user and submitter.isascii()
        words.append(f"AUTH={submitter if known else '<>'}")
    if tx.mail_parameters:
        words += _passed_on(tx, extensions)
        words += _dsn(tx.mail_parameters, ("RET", "ENVID"), extensions)
    return " ".join(words)


def _passed_on(tx: Transaction, extensions: Mapping[str, str]) -> Iterator[str]:
    for name, extension in passedon.PARAMETERS.items():
        if name not in tx.mail_parameters or extension.keyword not in extensions:
            continue
        value = tx.mail_parameters[name] or ""
        if name == "BY":
            value = passedon.time_left(value, time.monotonic() - tx.started)
        yield f"{name}={value}" if value else name


def rcpt_command(recipient: Recipient, extensions: Mapping[str, str]) -> str:
    """RCPT with the parameters of DSN, where offered."""
    words = [f"RCPT TO:{recipient.address.path}"]
    return " ".join(words + _dsn(recipient.parameters, ("NOTIFY", "ORCPT"), extensions))


def _dsn(
    parameters: Mapping[str, str | None], names: Sequence[str], extensions: Mapping[str, str]
) -> list[str]:
    """The parameters of DSN that the next hop can take; it does without the others."""
    if dsn.KEYWORD not in extensions:
        return []
    words = [f"{name}={parameters[name]}" for name in names if parameters.get(name)]
    return [word for word in words if word.isascii() or "SMTPUTF8" in extensions]
