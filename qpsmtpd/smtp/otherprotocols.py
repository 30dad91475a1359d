# SPDX-License-Identifier: MIT
"""Lines that show that a client does not speak SMTP.

Somebody may have another program talk to us: a browser, or any service that fetches URLs, sends an
HTTP request whose body is an SMTP session, and is perhaps a client that may relay.  So the first
such line ends the connection.  What programs that do speak SMTP may send by mistake (blank lines,
unknown verbs, the answers of an AUTH that was refused, a late dot) is none of that.
"""

from __future__ import annotations

import re

#: Methods of HTTP (and WebDAV), RTSP and SIP, which are the first word of a request.
_METHOD_NAMES = """
    ACK ANNOUNCE BYE CANCEL CONNECT COPY DELETE DESCRIBE GET HEAD INVITE LOCK MKCALENDAR MKCOL MOVE
    NOTIFY OPTIONS PATCH PLAY POST PRACK PRI PROPFIND PROPPATCH PUBLISH PUT REFER REGISTER REPORT
    SEARCH SETUP SUBSCRIBE TEARDOWN TRACE UNLOCK
"""
_METHODS = frozenset(_METHOD_NAMES.split())

#: First words of a session by other protocols.
_OPENINGS = {
    "CAPA": "POP3",
    "APOP": "POP3",
    "STLS": "POP3",
    "USER": "POP3, FTP or IRC",
    "PASS": "POP3, FTP or IRC",
    "NICK": "IRC",
    "CAP": "IRC",
    "JOIN": "IRC",
    "CNXN": "ADB",
    "JRMI": "Java RMI",
    "GIOP": "CORBA",
    "EVAL": "Redis",
    "SLAVEOF": "Redis",
    "CONFIG": "Redis",
    "FLUSHALL": "Redis",
}
#: The first octet of what is not text: control characters other than those that a person may type,
#: and 0x80, with which SSL 2 begins and no text in UTF-8.
BINARY = bytes(set(range(0x20)) - set(b"\b\t\n\r\x1b") | {0x80})
_BINARY = frozenset(BINARY.decode("ascii", "surrogateescape"))

_is_banner = re.compile(r"(SSH|RFB|HTTP|RTSP|SIP|GNUTELLA|MGLNDD|T3)[-/ _][\d.*]", re.I).match
_is_version = re.compile(r".* (HTTP|RTSP|SIP|ICAP)/\d(\.\d)?", re.I).fullmatch
_is_field_name = re.compile(r"[\w!#$%&'*+.^`|~-]+:", re.ASCII).match
_is_tagged = re.compile(
    r"[a-z]*[0-9]+(\.[0-9]+)? (LOGIN|CAPABILITY|AUTHENTICATE|STARTTLS|ID|NOOP|LOGOUT)\b", re.I
).match
_is_base64 = re.compile(r"[A-Za-z0-9+/]+={0,2}").fullmatch


def protocol_of(text: str) -> str:
    """The protocol of a line that is not a command of SMTP; "" if it might be a mistake in one."""
    if not text or text[0] in " \t" or text in (".", "*"):
        return ""
    if text[0] in _BINARY:
        return _binary(text)
    word = text.partition(" ")[0].upper()
    if word in _METHODS or _is_version(text):
        return "HTTP or SIP"
    if word in _OPENINGS:
        return _OPENINGS[word]
    if banner := _is_banner(text):
        return banner[1].upper()
    if _is_field_name(text):
        return "header field"
    if _is_tagged(text):
        return "IMAP"
    if text[0].isalpha() or not text[0].isascii() or not text[0].isprintable():
        return ""
    if _is_base64(text):
        return ""
    return "unknown protocol"


def _binary(text: str) -> str:
    """The protocol of a line that begins with an octet of BINARY."""
    if text.startswith(("\x16\x03", "\udc80")):
        return "TLS"
    if text.startswith("\x03\0"):
        return "RDP"
    return "binary"
