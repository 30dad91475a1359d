# SPDX-License-Identifier: MIT
"""XCLIENT and XFORWARD: somebody else speaks for the client (Postfix's XCLIENT_README and
XFORWARD_README).

A mail proxy says by XCLIENT whose session it passes on.  From then on everything is as if that
client had connected itself: there is a new session with a new greeting, and all hooks are asked.

A mail system that has its messages filtered says by XFORWARD, before each, where it comes from.
The transaction that follows is then that client's, and has a session of its own for as long as it
lasts; the session of the mail system waits.  So filters judge the client that has sent the message,
and it may relay only if it could do so itself.

Only networks that the settings name may say these; to others the commands are unknown.  Who may is
decided by who is at the other end of the connection, whatever has been said since.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping

from qpsmtpd.lists.hosts import HostList
from qpsmtpd.logs.records import bind
from qpsmtpd.mail.address import PathError, decode_xtext, xtext_octets
from qpsmtpd.mail.ip import Endpoint, canonical_ip, parse_ip
from qpsmtpd.mail.session import ReverseLookup, ReverseNames, Session
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.proxied import Proxied
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

UNAVAILABLE = "[UNAVAILABLE]"
TEMPUNAVAIL = "[TEMPUNAVAIL]"
#: What a login is called whose mechanism we do not know.
MECHANISM = "XCLIENT"
_MOST_PORT = 65535

_is_name = re.compile(r"[A-Za-z0-9._-]{1,255}").fullmatch
_is_number = re.compile(r"[0-9]{1,5}").fullmatch
_is_protocol = re.compile(r"E?SMTP", re.IGNORECASE).fullmatch
_is_any_protocol = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
_is_source = re.compile(r"LOCAL|REMOTE", re.IGNORECASE).fullmatch
_LONGEST = 255


def _is_text(value: str) -> bool:
    return value.isprintable() and 0 < len(value) <= _LONGEST


def _is_address(value: str) -> bool:
    try:
        _ip(value)
    except ValueError:
        return False
    return True


def _is_port(value: str) -> bool:
    return bool(_is_number(value)) and int(value) <= _MOST_PORT


def _ip(value: str) -> str:
    """The address of ADDR: IPv6 has a prefix.  Raises ValueError."""
    text = value[5:] if value[:5].upper() == "IPV6:" else value
    if "%" in text:
        raise ValueError("an address of the network has no zone")
    return canonical_ip(text)


def _is_anything(_value: str) -> bool:
    """What a client has said in HELO is judged when it is asked about, as if we had heard it."""
    return True


#: The attributes with what their values have to be, in the order in which they are announced.
Attributes = Mapping[str, Callable[[str], object]]
_COMMON: Attributes = {
    "ADDR": _is_address,
    "NAME": _is_name,
    "PORT": _is_port,
    "HELO": _is_anything,
}
XCLIENT: Attributes = {
    **_COMMON,
    "PROTO": _is_protocol,
    "LOGIN": _is_text,
    "DESTADDR": _is_address,
    "DESTPORT": _is_port,
    "REVERSE_NAME": _is_name,
}
XFORWARD: Attributes = {
    **_COMMON,
    "PROTO": _is_any_protocol,
    "IDENT": _is_text,
    "SOURCE": _is_source,
}


def parse_attributes(argument: str, known: Attributes) -> dict[str, str]:
    """The values by their names, decoded; UNAVAILABLE or TEMPUNAVAIL where nothing is known.

    Raises ValueError for what is not a list of known attributes, each of them once.
    """
    found: dict[str, str] = {}
    for word in argument.split(" "):
        name, equals, value = word.partition("=")
        name = name.upper()
        if not word:
            continue
        if not equals or name not in known or name in found:
            raise ValueError(f"{name!r} is not an attribute, or there twice")
        found[name] = _value(value, known[name])
    if not found:
        raise ValueError("there is no attribute")
    return found


def _value(text: str, is_right: Callable[[str], object]) -> str:
    if not text:
        raise ValueError("an attribute without a value")
    try:
        if is_right is _is_anything:
            value = xtext_octets(text).decode("utf-8", "surrogateescape")
        else:
            value = decode_xtext(text)
    except PathError as error:
        raise ValueError(str(error)) from None
    if value.upper() in (UNAVAILABLE, TEMPUNAVAIL):
        return value.upper()
    if not is_right(value):
        raise ValueError("a value that its attribute cannot have")
    return value


def may_speak(connection: Connection, named: HostList) -> bool:
    """Whether the other end of the connection is one of those that may speak for clients."""
    proxied = connection.proxied
    speaker = connection.session.client if proxied is None else proxied.speaker
    return parse_ip(speaker.ip) in named


async def xclient(connection: Connection, argument: str) -> Reply | None:
    """XCLIENT: the session is that of another client, which is to be greeted."""
    if connection.session.transaction is not None:
        return replies.IN_TRANSACTION
    try:
        given = parse_attributes(argument, XCLIENT)
    except ValueError as error:
        log.info("XCLIENT refused ip=%s: %s", connection.session.client.ip, error)
        return replies.BAD_ATTRIBUTE
    proxied = _proxied(connection)
    # A long command may come in two; but what was said of one client is not true of the next.
    facts = given if "ADDR" in given else {**proxied.client, **given}
    client = _endpoint(facts, "ADDR", "PORT", proxied.speaker)
    if client is None:
        return replies.CLIENT_UNKNOWN
    connections = connection.wire.count_as(client.ip)
    if isinstance(connections, Reply):
        return connections
    local = _endpoint(facts, "DESTADDR", "DESTPORT", proxied.local) or proxied.local
    before = connection.session
    await connection.end_session()
    session = _new_session(connection, before, client, local, facts)
    log.debug("proxy ip=%s passes on client=%s", proxied.speaker.ip, client)
    session.connections_from_client = connections
    if (login := facts.get("LOGIN", UNAVAILABLE)) != UNAVAILABLE:
        session.auth_user, session.auth_mechanism = login, MECHANISM
        session.relay_client = True
    proxied.client, proxied.forwarded, proxied.greeting_due = facts, {}, True
    return None


async def xforward(connection: Connection, argument: str) -> Reply:
    """XFORWARD: the next transaction is that of another client."""
    if connection.session.transaction is not None:
        return replies.IN_TRANSACTION
    try:
        given = parse_attributes(argument, XFORWARD)
    except ValueError as error:
        log.info("XFORWARD refused ip=%s: %s", connection.session.client.ip, error)
        return replies.BAD_ATTRIBUTE
    proxied = _proxied(connection)
    proxied.forwarded = {**proxied.forwarded, **given}
    return replies.OK


def begin_forwarded(connection: Connection, proxied: Proxied) -> bool:
    """Give the transaction that is about to begin a session of its client's own.

    False if that client is not known: then it is whoever has the session already.
    """
    facts, own = proxied.forwarded, connection.session
    client = _endpoint(facts, "ADDR", "PORT", None)
    if client is None:
        return False
    session = _new_session(connection, own, client, own.local, facts)
    proxied.own = own
    log.info("forwarded ip=%s by=%s ident=%r", client.ip, own.client, facts.get("IDENT", ""))
    # What the other end was offered, and has chosen, is true of the connection.
    session.hello, session.hello_host = own.hello, ""
    return True


async def end_forwarded(connection: Connection, proxied: Proxied) -> None:
    """The transaction is over: whoever has forwarded it goes on with the session of its own."""
    if proxied.own is None:
        return
    await connection.end_session()
    connection.session, proxied.own = proxied.own, None
    proxied.forwarded = {}
    bind(connection.session)


def _proxied(connection: Connection) -> Proxied:
    if connection.proxied is None:
        session = connection.session
        connection.proxied = Proxied(session.client, session.local)
    return connection.proxied


def _new_session(
    connection: Connection,
    before: Session,
    client: Endpoint,
    local: Endpoint,
    facts: Mapping[str, str],
) -> Session:
    """A session for this client, which is that of the connection from now on."""
    assert connection.proxied is not None
    lookup = _lookup(facts) or connection.wire.reverse_lookup(client.ip)
    # Whether it talks too early is up to whoever speaks for it.
    session = Session(client, local, reverse_lookup=lookup)
    session.proxy = connection.proxied.speaker
    session.lmtp, session.tls = before.lmtp, before.tls
    session.capabilities = list(before.capabilities)
    session.max_connections_from_client = before.max_connections_from_client
    connection.session = session
    bind(session)
    return session


def _endpoint(
    facts: Mapping[str, str], address: str, port: str, default: Endpoint | None
) -> Endpoint | None:
    """The endpoint that two attributes make; None if it is not known."""
    if (value := facts.get(address)) is None:
        return default
    if value in (UNAVAILABLE, TEMPUNAVAIL):
        return None
    number = facts.get(port, "0")
    return Endpoint(_ip(value), int(number) if number.isdecimal() else 0)


def _lookup(facts: Mapping[str, str]) -> ReverseLookup | None:
    """The look-up that finds what NAME says; None if it says nothing."""
    if (name := facts.get("NAME")) is None:
        return None
    confirmed = None if name in (UNAVAILABLE, TEMPUNAVAIL) else name
    claimed = facts.get("REVERSE_NAME", UNAVAILABLE)
    claimed_name = confirmed if claimed in (UNAVAILABLE, TEMPUNAVAIL) else claimed
    names = ReverseNames(confirmed, claimed_name, certain=name != TEMPUNAVAIL)

    async def lookup() -> ReverseNames:
        return names

    return lookup
