# SPDX-License-Identifier: MIT
"""Fields: a header field as it stands in packets, and as it stands in a message.

In packets the lines of a value end with LF.  The space after the colon is part of the value only if
that was agreed on (`exact`).
"""

from __future__ import annotations

import re

from qpsmtpd.mail.headers import HeaderField
from qpsmtpd.milter.codec import MAX_DATA, BadPacketError
from qpsmtpd.milter.packets import Header

#: Names and values share a packet, with two NUL.
_MOST_OF_FIELD = MAX_DATA - 2

_is_name = re.compile(rb"[!-9;-~]+[ \t]*").fullmatch
_ends_early = re.compile(rb"\n(?![ \t])").search


def header_packet(field: HeaderField, *, exact: bool) -> Header:
    """A field as it is sent.

    What does not fit into a packet of libmilter is cut.
    """
    name, _, value = field.raw.partition(b":")
    name = name.rstrip(b" \t")[:_MOST_OF_FIELD]
    value = value.rstrip(b"\r\n").replace(b"\r\n", b"\n").replace(b"\0", b"?")
    if not exact:
        value = value.removeprefix(b" ")
    return Header(name, value[: _MOST_OF_FIELD - len(name)])


def field_of(packet: Header, *, exact: bool) -> bytes:
    """The field that was sent, with its CRLF.  Raises BadPacketError if it is more than one."""
    name, value = packet.name, packet.value.removesuffix(b"\n")
    if not _is_name(name):
        raise BadPacketError(f"{name!r} is not the name of a header field")
    if b"\n" in value:
        if _ends_early(value):
            raise BadPacketError(f"the field {name!r} has a line that does not continue it")
        value = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return b"%b:%b%b\r\n" % (name, b"" if exact else b" ", value)
