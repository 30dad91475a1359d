# SPDX-License-Identifier: MIT
"""The host that a link leads to, whatever its disguise: what browsers make of its authority.

That is the part of a URI behind `//` (RFC 3986 section 3.2): a user may precede the host, any of
its characters may be percent-encoded, a domain may have U-labels or full-width characters, and an
IPv4 address may be written in one to four numbers that are decimal, octal or hexadecimal (as in
inet_aton(3); WHATWG URL section 3.5).
"""

from __future__ import annotations

import ipaddress
import re

from qpsmtpd.mail.domain import MAX_DOMAIN, canonical_domain
from qpsmtpd.mail.ip import IPAddress, parse_ip

#: A domain in its canonical form, or an address.
LinkHost = str | IPAddress

#: What is undone as often may be read by a browser behind redirectors that undo it as well.
_MOST_ROUNDS = 3

_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_HOST = re.compile(r"[a-z0-9_.-]+")
_is_domain = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+").fullmatch
_is_top = re.compile(r"[a-z]{2,63}|xn--[a-z0-9-]{1,59}", re.ASCII).fullmatch
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_DROPPED = str.maketrans("", "", "\t\r\n")

_is_number = re.compile(r"0[xX]([0-9a-fA-F]{0,40})|(0[0-7]{0,40})|([1-9][0-9]{0,12})").fullmatch
#: So many digits has an address in one number; with fewer, it is more likely something else.
_DIGITS_OF_ADDRESS = 7
_ADDRESS_END = 1 << 32

#: Networks that lead nobody to a stranger; of some, lists have test entries (RFC 5782 section 5).
_OUR_OWN = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
]


def percent_decoded(text: str) -> str:
    """A text with its percent-encodings undone, also those that encode others."""
    for _ in range(_MOST_ROUNDS):
        if "%" not in text or (decoded := _ENCODED.sub(_decoded, text)) == text:
            break
        text = decoded
    return text


def _decoded(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace")


def parse_authority(text: str) -> list[LinkHost]:
    """The hosts that this may lead to: none, one; two if it is unclear where it ends.

    Text may follow it without a blank, as is usual in Chinese: then one is the host in ASCII.
    """
    host = percent_decoded(text).translate(_DROPPED).rpartition("@")[2]
    if host.startswith("["):
        return _literal(host)
    host = host.partition(":")[0]
    found = [_host(canonical_domain(host))]
    if other := _NOT_ASCII.search(host):
        found.append(_host(host[: other.start()].lower()))
    return [each for each in dict.fromkeys(found) if each]


def parse_domain(text: str) -> str:
    """The text, if it is a domain of the Internet in lower case; else ""."""
    if len(text) > MAX_DOMAIN or not _is_domain(text):
        return ""
    return text if _is_top(text.rpartition(".")[2]) else ""


def parse_numbers(text: str) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is written in one to four numbers; None if it is not one."""
    parts = text.split(".", 4)
    values = [_number(part) for part in parts]
    if len(parts) > 4 or (len(parts) == 1 and len(text) < _DIGITS_OF_ADDRESS):
        return None
    total = 0
    for place, value in enumerate(values):
        # The last number fills what the others leave.
        room = _ADDRESS_END >> 8 * place if place == len(values) - 1 else 256
        if value is None or value >= room:
            return None
        total = total * room + value
    return ipaddress.IPv4Address(total)


def _number(text: str) -> int | None:
    match = _is_number(text)
    if match is None:
        return None
    if match[1] is not None:
        return int(match[1] or "0", 16)
    return int(match[2], 8) if match[2] else int(match[3])


def _host(name: str) -> LinkHost:
    """What the beginning of a name stands for; "" if that is not a host."""
    match = _HOST.match(name)
    host = match[0].rstrip(".-_") if match else ""
    if address := parse_numbers(host):
        return "" if _is_ours(address) else address
    return parse_domain(host)


def _literal(text: str) -> list[LinkHost]:
    try:
        address = parse_ip(text[1:].partition("]")[0])
    except ValueError:
        return []
    return [] if _is_ours(address) else [address]


def _is_ours(address: IPAddress) -> bool:
    return any(address in network for network in _OUR_OWN)
