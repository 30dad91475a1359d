# SPDX-License-Identifier: MIT
"""Domains in their canonical form, which every list, key and lookup uses.

The canonical form of a domain is in lower case, without a final dot, its labels as A-labels (RFC
5890 section 2.3.2.1). Before a label is encoded it is mapped as browsers do (UTS 46, without the
transitional mappings): one case, full-width and other compatibility characters replaced, accents
composed, ideographic full stops are dots, invisible characters dropped. So

    example.com   EXAMPLE.com.   ｅｘａｍｐｌｅ．ｃｏｍ
    xn--bcher-kva.example   bücher.example   BÜCHER。example

are one domain each. What names different domains in IDNA 2008 stays different: `straße.example` is
not `strasse.example`, as it was in IDNA 2003 (RFC 3490); otherwise mail for a domain that is not
ours would pass for ours.

An address literal has one form, too: `[192.0.2.1]`, `[ipv6:2001:db8::1]`; an IPv4-mapped address is
IPv4. Text that cannot be a domain keeps its characters, in lower case and without final dots.
Nothing here raises an exception, and no input takes longer than ten milliseconds.

All this uses only the standard library, so that it does not depend on the version of python3-idna,
or on whether it is installed (python3-dnspython only recommends it). A property test compares the
two.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import unicodedata
from typing import NamedTuple

from qpsmtpd.mail.ip import IPAddress, parse_ip

#: RFC 5321 section 4.5.3.1.2, RFC 1035 section 2.3.4.
MAX_DOMAIN = 255
MAX_LABEL = 63

_PREFIX = "xn--"
# A label of more characters has an A-label of more than 63.
_MAX_U_LABEL = MAX_LABEL - len(_PREFIX)
# Even a domain of U-labels with all accents decomposed is shorter.
_MAX_MAPPED = 1000

#: A label of ASCII, with underscores, as a regular expression.
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_is_ascii_domain = re.compile(rf"{LABEL}(?:\.{LABEL})*").fullmatch
# RFC 5891 section 4.2.3.1: no hyphen at an end, nor in the third and fourth place.
_is_u_label = re.compile(r"(?!-)(?!..--)[\w\W]+(?<!-)").fullmatch
_is_common = re.compile("[A-Za-z0-9_-]").fullmatch

_literal = re.compile(r"\[(?:ipv6:)?([0-9a-f:.]+)(?:%[^\]]*)?\]", re.IGNORECASE).fullmatch
_strict_literal = re.compile(r"\[(ipv6:)?([0-9a-f:.]+)\]", re.IGNORECASE | re.ASCII).fullmatch
_number = r"(?:0x[0-9a-f]*|[0-9]+)"
_is_numeric = re.compile(rf"{_number}(?:\.{_number})+", re.IGNORECASE).fullmatch

#: IDNA 2008 knows them (RFC 5892 section 2.6), though they have a case or are invisible.
_KEPT = frozenset("\xdf\u03c2\u200c\u200d")
_CAPITAL_SHARP_S = "\u1e9e"
_IDEOGRAPHIC_FULL_STOP = "\u3002"
#: Unicode's Default_Ignorable_Code_Point, but for the two joiners in _KEPT.
_invisible = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


class Domain(str):
    """A domain in its canonical form, whatever spelling it is made from; a type for options."""

    __slots__ = ()

    def __new__(cls, text: str) -> Domain:
        return super().__new__(cls, canonical_domain(text))


class Spellings(NamedTuple):
    """The ways in which a name is written, for regular expressions (lists/patterns.py).

    canonical: the canonical form, and with U-labels where it has A-labels. written: what a client
    wrote, if that is neither of them.
    """

    canonical: tuple[str, ...]
    written: tuple[str, ...] = ()


def canonical_domain(text: str) -> str:
    """The canonical form of a domain or address literal in any spelling."""
    if text.isascii() and text.islower() and text[0] != "[" and text[-1] != ".":
        return text
    text = text.rstrip(".")
    return _canonical(text) if len(text) <= _MAX_MAPPED else text.lower()


def u_label_form(domain: str) -> str:
    """A canonical domain with its A-labels as U-labels, for people and their expressions."""
    if _PREFIX not in domain or len(domain) > MAX_DOMAIN:
        return domain
    return ".".join(map(_u_label, domain.split(".")))


def domain_spellings(text: str) -> Spellings:
    """The spellings of a domain that a client wrote as `text`."""
    domain = canonical_domain(text)
    if domain == text and _PREFIX not in text:
        return Spellings((domain,))
    canonical = tuple(dict.fromkeys((domain, u_label_form(domain))))
    return Spellings(canonical, () if text.lower() in canonical else (text,))


def literal_address(text: str) -> IPAddress | None:
    """The address in an address literal in any spelling, even without its tag; else None."""
    match = _literal(text)
    try:
        return parse_ip(match[1]) if match else None
    except ValueError:
        return None


def looks_like_address(text: str) -> bool:
    """Whether a name without brackets is an IP address, or numbers with dots between them.

    None of these is a host name (RFC 3696 section 2: no top-level domain is a number), and some
    programs read even `127.1` and `0x7f.0.0.1` as addresses.
    """
    return bool(_is_numeric(text)) or (":" in text and literal_address(f"[{text}]") is not None)


def is_domain(text: str) -> bool:
    """Whether this is the domain of a mailbox (RFC 5321 section 4.1.2, RFC 6531 section 3.2).

    U-labels must keep their meaning on the way through the DNS: compatibility characters (a
    full-width dot becomes a real one there), invisible ones and spaces would let one name pass for
    another. Underscores and domains of one label exist in practice.
    """
    if text.isascii():
        return len(text) <= MAX_DOMAIN and bool(_is_ascii_domain(text))
    if len(text) > MAX_DOMAIN or unicodedata.normalize("NFKC", text) != text:
        return False
    return all(map(_is_label, text.split("."))) and len(canonical_domain(text)) <= MAX_DOMAIN


def is_literal(text: str) -> bool:
    """Whether this is an IPv4 or IPv6 address literal as RFC 5321 section 4.1.3 defines it."""
    literal = _strict_literal(text)
    if literal is None:
        return False
    try:
        _ = ipaddress.IPv6Address(literal[2]) if literal[1] else ipaddress.IPv4Address(literal[2])
    except ValueError:
        return False
    return _leaves_two_groups(literal[2])


@functools.lru_cache(maxsize=1024)
def _canonical(text: str) -> str:
    name = text.lower() if text.isascii() else _mapped(text).rstrip(".")
    literal = literal_address(name) if name.startswith("[") else None
    if literal is not None:
        return f"[{literal}]" if literal.version == 4 else f"[ipv6:{literal}]"
    if name.isascii() or len(name) > MAX_DOMAIN:
        return name
    return ".".join(map(_a_label, name.split(".")))


def _mapped(text: str) -> str:
    """Text in one case, composed, without what is invisible and what only looks different."""
    folded = "".join(map(_folded, _invisible.sub("", text)))
    return unicodedata.normalize("NFKC", folded).replace(_IDEOGRAPHIC_FULL_STOP, ".")


def _folded(character: str) -> str:
    if character in _KEPT:
        return character
    if character == _CAPITAL_SHARP_S:
        return character.lower()
    return unicodedata.normalize("NFKC", character).casefold()


def _a_label(label: str) -> str:
    if label.isascii() or len(label) > _MAX_U_LABEL:
        return label
    return _PREFIX + label.encode("punycode").decode("ascii")


@functools.lru_cache(maxsize=1024)
def _u_label(label: str) -> str:
    """A label as U-label; itself when it is not the A-label of one."""
    if not label.startswith(_PREFIX):
        return label
    try:
        decoded = label.removeprefix(_PREFIX).encode().decode("punycode")
        return decoded if _canonical(decoded) == label else label
    except (ValueError, OverflowError):
        return label


def _is_label(label: str) -> bool:
    if label.isascii():
        return bool(_is_ascii_domain(label))
    return (
        bool(_is_u_label(label))
        and all(map(_may_be_in_label, label))
        and len(canonical_domain(label)) <= MAX_LABEL
    )


def _may_be_in_label(character: str) -> bool:
    if character.isascii():
        return bool(_is_common(character))
    # Scripts of India and Iran need the two joiners; the ideographic full stop separates labels.
    if character in _KEPT:
        return True
    return (
        character != _IDEOGRAPHIC_FULL_STOP
        and unicodedata.category(character)[0] not in "CZ"
        and not _invisible.match(character)
    )


def _leaves_two_groups(address: str) -> bool:
    """Whether "::" stands for two groups or more, if it is there."""
    # An IPv4 address at the end fills two of the eight.
    explicit = sum(map(bool, address.split(":"))) + ("." in address)
    return "::" not in address or explicit <= 6
