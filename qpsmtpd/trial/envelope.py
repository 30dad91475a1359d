# SPDX-License-Identifier: MIT
"""The envelope of a message that is tried: as it was given, or as its own trace tells.

A message in a mailbox says how it came: the topmost Received field that names a client from outside
is that of the server which took it in.  What stands above came later, and is taken off.  Fields of
those who deliver (Return-Path, Delivered-To and the like) have the envelope.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import NamedTuple

from qpsmtpd.mail.headers import Headers

#: Fields in which mail systems write the recipient, best first.
_RECIPIENT_FIELDS = ("x-original-to", "envelope-to", "delivered-to", "x-envelope-to")
_TRACE = frozenset((*_RECIPIENT_FIELDS, "return-path", "received"))
#: Received fields that are looked at, and characters of each.
_MOST_HOPS = 20
_MOST_TEXT = 2000
#: A client nobody knows (RFC 5737).
UNKNOWN_CLIENT = "192.0.2.1"

_address_of_client = re.compile(r"[\[(](?:IPv6:)?([0-9A-Fa-f:.]{3,45})[\])]")
_helo = re.compile(r"helo=([^\s()\[\]]{1,255})", re.IGNORECASE)
_recipient = re.compile(r"\bfor <([^<>\s]{1,320})>")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One message and its envelope.

    sender: "" is the null reverse-path.  message: with CRLF.
    old_helo: the client says HELO.  tls, user: whether it uses TLS, and who logs in.
    """

    name: str
    ip: str
    port: int = 40000
    helo: str
    sender: str
    recipients: tuple[str, ...]
    message: bytes
    old_helo: bool = False
    tls: bool = False
    user: str = ""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the command line says about all messages; None is what their traces are to say."""

    ip: str | None = None
    helo: str | None = None
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    old_helo: bool = False
    tls: bool = False
    user: str = ""


class Trace(NamedTuple):
    """What a message tells about its way; "" and () where it tells nothing.

    own: how many fields on top were added after it came.
    """

    ip: str = ""
    helo: str = ""
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    own: int = 0


def attempt_of(name: str, message: bytes, given: Given) -> Attempt:
    """The attempt to send a message.  Raises ValueError if nobody says to whom."""
    message = with_crlf(message)
    end = message.find(b"\r\n\r\n")
    section, rest = (message, b"") if end < 0 else (message[: end + 2], message[end + 2 :])
    trace = read_trace(section)
    recipients = given.recipients or trace.recipients
    if not recipients:
        raise ValueError("neither the message nor --to says to whom it went")
    ip = given.ip or trace.ip or UNKNOWN_CLIENT
    sender = given.sender if given.sender is not None else trace.sender
    attempt = Attempt(
        name=name,
        ip=ip,
        helo=given.helo or trace.helo or f"[{ip}]",
        sender=_printable(sender or ""),
        recipients=tuple(map(_printable, recipients)),
        message=message,
        old_helo=given.old_helo,
        tls=given.tls,
        user=given.user,
    )
    if given.ip is not None or not trace.own:
        # Whoever says where it came from tries the message as it is.
        return attempt
    return replace(attempt, message=_without(section, trace.own) + rest)


def read_trace(section: bytes) -> Trace:
    """What a header section, with CRLF, tells.  Anybody may have written it."""
    headers = Headers.parse(section)
    trace = Trace()
    hops = 0
    for number, field in enumerate(headers.fields()):
        name, value = field.name.lower(), field.value[:_MOST_TEXT]
        if name == "return-path" and trace.sender is None:
            trace = trace._replace(sender=value.strip().strip("<>"))
        elif name in _RECIPIENT_FIELDS and "@" in value:
            trace = _with_recipient(trace, value.strip().strip("<>"))
        elif name == "received":
            hops += 1
            trace = _read_hop(trace, value, number)
        if trace.ip or hops >= _MOST_HOPS:
            break
    if not trace.recipients:
        for address in _addresses(headers.peek("To")[:_MOST_TEXT]):
            trace = _with_recipient(trace, address)
    return trace


def _read_hop(trace: Trace, value: str, number: int) -> Trace:
    """What one Received field tells; only the first one of a client from outside counts."""
    if (found := _recipient.search(value)) and not trace.recipients:
        trace = _with_recipient(trace, found[1])
    source = value.partition(" by ")[0]
    client = next(filter(_is_outside, _address_of_client.findall(source)), "")
    if not client:
        return trace
    helo = _helo.search(source)
    words = source.split()
    name = helo[1] if helo else words[1] if len(words) > 1 else ""
    return trace._replace(ip=str(ip_address(client)), helo=name.strip("()"), own=number + 1)


def _is_outside(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return not (address.is_private or address.is_loopback) or _is_example(text)


def _is_example(text: str) -> bool:
    """Addresses of documentation count as any other: they are in examples and tests."""
    return text.startswith(("192.0.2.", "198.51.100.", "203.0.113.", "2001:db8:"))


def _with_recipient(trace: Trace, address: str) -> Trace:
    if "@" not in address or address in trace.recipients:
        return trace
    return trace._replace(recipients=(*trace.recipients, address))


def _addresses(value: str) -> list[str]:
    """The first address in a To field, if it is a plain one."""
    words = value.replace("<", " ").replace(">", " ").replace(",", " ").split()
    return [word for word in words if "@" in word[1:-1] and '"' not in word][:1]


def _without(section: bytes, own: int) -> bytes:
    """The header section without its first `own` fields."""
    headers = Headers.parse(section)
    for _ in range(own):
        headers.remove_at(0)
    return bytes(headers)


def _printable(address: str) -> str:
    """An address that fits into a command."""
    return "".join(char for char in address if char.isprintable() and char not in "<>")


def with_crlf(message: bytes) -> bytes:
    """The message as it would come over the wire: whatever its line ends are, they become CRLF."""
    return message.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def parse_recipients(texts: Sequence[str]) -> tuple[str, ...]:
    """What `--to` was given, several times or with commas."""
    return tuple(word for text in texts for word in text.replace(",", " ").split())
