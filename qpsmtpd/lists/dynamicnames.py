# SPDX-License-Identifier: MIT
"""Dynamic names: whether a client's name looks as if a provider had made it from the address.

Such names, `host-192-0-2-7.pool.example.net` or `c0000207.dyn.example.net`, belong to homes and
phones, and rarely to a mail server.  They are a sign, not a proof.
"""

from __future__ import annotations

import itertools
import re

from qpsmtpd.mail.ip import IPAddress

#: Words in the labels below the provider's own domain.
_is_of_many = re.compile(
    r"adsl|broadband|cable|catv|cust|customers?|dhcp|dial|dialin|dialup|dip|docsis|dsl|dyn|dynamic|"
    r"dynamicip|fios|ftt[bchx]|gprs|home|hsd|ipdyn|lte|mobile|modem|nat|pools?|ppp|pppoe|residential|"
    r"sdsl|unassigned|vdsl|wimax|wireless|wlan|xdsl"
).fullmatch
_STATIC = frozenset({"static", "fixed"})

#: Labels of the provider's own domain, whose words mean nothing.
_OWN = 2

#: Nibbles of an IPv6 address that a name made of it has.
_NIBBLES = 8

_numbers = re.compile(r"\d+", re.ASCII).findall
_words = re.compile(r"[a-z]+", re.ASCII).findall
_separators = re.compile(r"[.:_-]+")


def looks_dynamic(name: str, address: IPAddress) -> bool:
    """Whether the name of this address looks like one of many; one that says "static" does not."""
    labels = name.lower().rstrip(".").split(".")
    below = ".".join(labels[:-_OWN])
    words = set(_words(below))
    if words & _STATIC:
        return False
    return any(map(_is_of_many, words)) or _has_address(below, address)


def _has_address(text: str, address: IPAddress) -> bool:
    """Whether a text was made of the address: of its last two octets, or in hexadecimal."""
    number = f"{int(address):0{address.max_prefixlen // 4}x}"
    if number[-_NIBBLES:] in _separators.sub("", text):
        return True
    if address.version == 6:
        return False
    third, fourth = str(address).split(".")[2:]
    found = [digits.lstrip("0") or "0" for digits in _numbers(text)]
    pairs = set(itertools.pairwise(found))
    return bool({(third, fourth), (fourth, third)} & pairs) or _padded(address) in text


def _padded(address: IPAddress) -> str:
    """192.0.2.7 as 192000002007."""
    return "".join(octet.zfill(3) for octet in str(address).split("."))
