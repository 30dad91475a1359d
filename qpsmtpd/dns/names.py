# SPDX-License-Identifier: MIT
"""Names of the DNS: their text, and the octets of a question (RFC 1035 section 3.1).

In wire format a name is a row of labels, each preceded by its length, with an empty one at the end.
"""

from __future__ import annotations

import functools
import socket

MAX_OCTETS = 255
MAX_LABEL = 63

_LENGTH_OCTETS = {length: bytes([length]) for length in range(1, MAX_LABEL + 1)}

#: The labels of IPv4 addresses, by octet, and what follows them (RFC 1035 section 3.5).
_NUMBERS = [b"%c%d" % (len(str(octet)), octet) for octet in range(256)]
_IN_ADDR_ARPA = b"\x07in-addr\x04arpa\0"

# The master file format, as dnspython writes it: these would have another meaning there.
_ESCAPED = b'"().;\\@$'
_PLAIN = bytes(octet for octet in range(0x21, 0x7F) if octet not in _ESCAPED)
_PLAIN_WITH_DOTS = _PLAIN + b"."
#: Turns the lengths of labels into dots: what precedes "-" does not occur in host names.
_LENGTHS = bytes(range(1, ord("-")))
_WITH_DOTS = bytes.maketrans(_LENGTHS, b"." * len(_LENGTHS))
_TEXTS = [
    f"\\{chr(octet)}"
    if octet in _ESCAPED
    else (chr(octet) if octet in _PLAIN else f"\\{octet:03d}")
    for octet in range(256)
]


def encode_name(name: str) -> bytes | None:
    """A name in wire format and lower case; None when the DNS cannot be asked about it."""
    # A longer text is not a name, and must not fill the memory of those that were encoded.
    return _encode(name) if len(name) <= MAX_OCTETS else None


@functools.lru_cache(maxsize=4096)
def _encode(name: str) -> bytes | None:
    try:
        octets = name.encode("ascii") if name.isascii() else _a_labels(name)
        # Lower case comes first: a length octet of 65 would be taken for a letter.
        labels = octets.lower().removesuffix(b".").split(b".")
        parts = [_LENGTH_OCTETS[len(label)] + label for label in labels]
    except (KeyError, UnicodeError):
        return None
    wire = b"".join(parts) + b"\0"
    return wire if len(wire) <= MAX_OCTETS else None


def _a_labels(name: str) -> bytes:
    """A name whose U-labels became A-labels (RFC 5890).  Raises UnicodeError."""
    # Imported when it is needed, which is seldom: it takes a tenth of all that a start takes.
    import dns.name

    known = dns.name.have_idna_2008
    idna = dns.name.IDNA_2008_Practical if known else dns.name.IDNA_2003_Practical
    try:
        return b".".join(
            label.encode("ascii") if label.isascii() else idna.encode(label)
            for label in name.split(".")
        )
    except dns.exception.DNSException as error:
        raise UnicodeError(str(error)) from None


def text_of(name: bytes) -> str:
    """The text of a name in wire format, without the final dot; the root is "".

    Octets that do not occur in host names are escaped as in a master file (RFC 1035 section 5.1),
    so that the text has neither blanks nor control characters.
    """
    labels = []
    at = 0
    while length := name[at]:
        label = name[at + 1 : at + 1 + length]
        plain = not label.translate(None, _PLAIN)
        labels.append(label.decode("ascii") if plain else "".join(map(_TEXTS.__getitem__, label)))
        at += 1 + length
    return ".".join(labels)


def plain_text_of(name: bytes) -> str | None:
    """As `text_of`; None if the name is unusual, or if this is not exactly one name.

    Unusual are octets that do not occur in host names, long labels (45 octets), and the root.
    A compressed name is not a name without its message.
    """
    octets = name[1:-1].translate(_WITH_DOTS)
    if octets.translate(None, _PLAIN_WITH_DOTS):
        return None
    text = octets.decode("ascii")
    # It may have been the text of a label that became a dot.  Whoever is asked for this name next
    # needs it encoded as well.
    return text if encode_name(text) == name.lower() else None


def encode_reverse_name(ip: str) -> bytes | None:
    """`reverse_name` in wire format; None when `ip` is not an IP address."""
    try:
        a, b, c, d = map(_NUMBERS.__getitem__, socket.inet_pton(socket.AF_INET, ip))
    except (OSError, ValueError):
        name = reverse_name(ip)
        return None if name is None else encode_name(name)
    return d + c + b + a + _IN_ADDR_ARPA


def reverse_name(ip: str) -> str | None:
    """The name that leads from an IP address to its names; None when `ip` is not one."""
    try:
        if ":" not in ip:
            return "{3}.{2}.{1}.{0}.in-addr.arpa".format(*socket.inet_pton(socket.AF_INET, ip))
        nibbles = socket.inet_pton(socket.AF_INET6, ip.partition("%")[0]).hex()
    except (OSError, ValueError):
        return None
    return ".".join(reversed(nibbles)) + ".ip6.arpa"
